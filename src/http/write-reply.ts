/** Replies onto the wire: bytes through where both sides speak one protocol, else encoded from deltas. */
import type { ServerResponse } from 'node:http'
import type { LiveCall } from '../core/call.ts'
import type { Clock } from '../core/clock.ts'
import { FlyballError, toFlyballError, type ErrorCode } from '../core/errors.ts'
import { CANONICAL, header, type Delta, type Reply } from '../core/reply.ts'
import type { Protocol, ReplyContext, RequestFacts, StreamWriter } from '../protocols/protocol.ts'
import { drained } from './drained.ts'
import { callHeaders, forwardableHeaders } from './reply-headers.ts'
import { writeError } from './write-error.ts'
import { writeRaw } from './write-raw.ts'

export interface Exchange {
  readonly res: ServerResponse
  readonly call: LiveCall
  readonly clock: Clock
  /** The client's. */
  readonly protocol: Protocol
  readonly facts: RequestFacts
  /** Add `x-flyball-*` and `server-timing`. */
  readonly ownHeaders: boolean
  /** How to read replies in protocols other than the client's. */
  readonly protocolByName: ReadonlyMap<string, Protocol>
}

/** Resolves when the reply is written or the client is gone; rejects with a `FlyballError` while no header is out. */
export function writeReply(exchange: Exchange, reply: Reply): Promise<void> {
  if (reply.protocol === exchange.protocol.name) return passThrough(exchange, reply)
  const deltas = deltasOf(exchange, reply)
  const streams = exchange.call.stream && reply.status < 400
  return streams ? encodeStream(exchange, deltas) : encodeUnary(exchange, reply, deltas)
}

function ownHeaders(exchange: Exchange, into: string[] = []): string[] {
  return exchange.ownHeaders ? callHeaders(exchange.call, exchange.clock.monoMs(), into) : into
}

async function passThrough(exchange: Exchange, reply: Reply): Promise<void> {
  const { res, call, protocol } = exchange
  try {
    await writeRaw(res, reply, () => ownHeaders(exchange, forwardableHeaders(reply.rawHeaders)), () => drained(res))
  } catch (thrown) {
    if (!reply.stream || !res.headersSent) throw thrown
    failStream(res, toFlyballError(thrown), protocol.streamWriter(call.operation, contextOf(exchange)))
  }
}

async function encodeStream(exchange: Exchange, body: AsyncIterator<readonly Delta[]>): Promise<void> {
  const { res, call, protocol } = exchange
  const writer = protocol.streamWriter(call.operation, contextOf(exchange))
  // Proxies in front would otherwise collect the tokens into one lump.
  res.writeHead(200, ownHeaders(exchange, ['content-type', writer.contentType, 'cache-control', 'no-cache', 'x-accel-buffering', 'no']))
  res.flushHeaders()
  try {
    for (let next = await body.next(); !next.done; next = await body.next()) {
      const bytes = writer.push(next.value)
      if (bytes.length > 0 && !res.write(bytes)) await drained(res)
    }
    res.end(writer.end())
  } catch (thrown) {
    failStream(res, toFlyballError(thrown), writer)
  }
}

/** After the headers an error can only be said in band. */
function failStream(res: ServerResponse, error: FlyballError, writer: StreamWriter): void {
  if (!res.destroyed && !res.writableEnded) res.end(writer.fail(error))
}

async function encodeUnary(exchange: Exchange, reply: Reply, body: AsyncIterator<readonly Delta[]>): Promise<void> {
  const { res, call, protocol } = exchange
  const deltas: Delta[] = []
  for (let next = await body.next(); !next.done; next = await body.next()) deltas.push(...next.value)
  const failure = deltas.find((delta) => delta.type === 'error')
  if (!failure && reply.status >= 400) return writeError(res, protocol, new FlyballError(codeFor(reply.status)), ownHeaders(exchange, retryHeadersOf(reply)))
  // A 200 with an error inside is an error on the other side of us.
  const status = failure ? (failure.status ?? (reply.status >= 400 ? reply.status : 502)) : reply.status
  const bytes = Buffer.from(JSON.stringify(protocol.unary(call.operation, deltas, contextOf(exchange))))
  const headers = ['content-type', 'application/json', 'content-length', String(bytes.length)]
  res.writeHead(status, ownHeaders(exchange, failure ? [...headers, ...retryHeadersOf(reply)] : headers))
  res.end(bytes)
}

/** An upstream's advice on when to come back survives translation. */
function retryHeadersOf(reply: Reply): string[] {
  const kept: string[] = []
  for (const name of ['retry-after-ms', 'retry-after', 'x-should-retry']) {
    const value = header(reply.rawHeaders, name)
    if (value !== undefined) kept.push(name, value)
  }
  return kept
}

const CODE_BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid_request',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  405: 'method_not_allowed',
  413: 'request_too_large',
  415: 'unsupported_media_type',
  422: 'invalid_request',
  429: 'rate_limited',
  502: 'upstream_invalid',
  503: 'overloaded',
  504: 'upstream_timeout',
  529: 'overloaded',
}

/** The nearest error of our catalogue to another protocol's status. */
function codeFor(status: number): ErrorCode {
  return CODE_BY_STATUS[status] ?? (status >= 400 && status < 500 ? 'invalid_request' : 'backend_failed')
}

async function* deltasOf(exchange: Exchange, reply: Reply): AsyncGenerator<readonly Delta[]> {
  if (reply.protocol === CANONICAL) {
    for await (const chunk of reply.body) if (chunk.deltas) yield chunk.deltas
    return
  }
  const other = exchange.protocolByName.get(reply.protocol)
  if (!other) throw new FlyballError('internal', { message: `There is no codec for ${reply.protocol}.` })
  const reader = other.deltaReader(exchange.call.operation, reply.stream)
  for await (const chunk of reply.body) if (chunk.raw) yield reader.push(chunk.raw)
  yield reader.end()
}

function contextOf({ call, clock, facts, protocol }: Exchange): ReplyContext {
  return { id: `${protocol.replyIdPrefix?.(call.operation) ?? ''}${call.id}`, model: call.model, createdS: Math.floor(clock.wallMs() / 1_000), includeUsage: facts.includeUsage ?? false, encoding: facts.encoding ?? 'float' }
}
