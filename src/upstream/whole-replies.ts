/** Replies whose body is here in full: unary ones, and upstream's errors. Nothing upstream is held for them. */
import { FlyballError } from '../core/errors.ts'
import { replyOf, type Chunk, type Delta, type Reply } from '../core/reply.ts'
import type { Protocol } from '../protocols/protocol.ts'
import type { ExchangeHead } from './http-exchange.ts'

/** Bytes unchanged. Without `operation` nobody looks into them. */
export function wholePassThrough(protocol: Protocol, operation: string | undefined, head: ExchangeHead, raw: Uint8Array): Reply {
  const { rawHeaders } = head
  if (operation === undefined || head.status >= 300 || head.status === 204) return replyOf([{ raw, tokens: 0 }], { status: head.status, rawHeaders, protocol: protocol.name })
  const side = protocol.sideReader(operation, false)
  side.push(raw)
  const { deltas, tokens } = side.end()
  let status = head.status
  for (const delta of deltas ?? []) {
    if (delta.type !== 'error') continue
    if (delta.code === 'upstream_invalid') throw new FlyballError('upstream_invalid', { message: delta.message, reason: 'not_json' })
    // An error that calls itself a success: the body stays, the status says what it is.
    status = delta.status ?? 502
  }
  const chunk: Chunk = deltas === undefined ? { raw, tokens } : { raw, tokens, deltas }
  return replyOf([chunk], { status, rawHeaders, protocol: protocol.name })
}

export function wholeCanonical(protocol: Protocol, operation: string, head: ExchangeHead, bytes: Uint8Array): Reply {
  const reader = protocol.deltaReader(operation, false)
  const deltas = [...reader.push(bytes), ...reader.end()]
  const failure = deltas.find((delta) => delta.type === 'error')
  let tokens = 0
  for (const delta of deltas) if (delta.type === 'usage') tokens = delta.usage.outputTokens
  return replyOf([{ deltas, tokens }], { status: failure ? (failure.status ?? 502) : head.status, rawHeaders: head.rawHeaders })
}

/** Longest error text that goes on to a client, characters. */
const MAX_MESSAGE = 4_096

/** Another protocol's error, as far as it can be read. */
export function canonicalError(protocol: Protocol, operation: string, head: ExchangeHead, bytes: Uint8Array): Reply {
  let error: Extract<Delta, { type: 'error' }> = { type: 'error', code: `upstream_${head.status}`, message: `The backend answered ${head.status}.` }
  try {
    const reader = protocol.deltaReader(operation, false)
    const found = [...reader.push(bytes), ...reader.end()].find((delta) => delta.type === 'error')
    if (found) error = found
  } catch {
    // Not its protocol's error. Plain words are for the caller; of a proxy's page the status says enough.
    if (/^text\/plain\b/i.test(head.headers['content-type'] ?? '') && bytes.length > 0) error = { ...error, message: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8') }
  }
  return replyOf([{ deltas: [{ ...error, message: error.message.slice(0, MAX_MESSAGE), status: head.status }], tokens: 0 }], { status: head.status, rawHeaders: head.rawHeaders })
}
