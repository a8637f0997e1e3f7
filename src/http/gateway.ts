/** The HTTP edge that official clients talk to: a request becomes a call, a reply becomes a response. */
import type { ServerResponse } from 'node:http'
import { context, propagation, trace, type Context } from '@opentelemetry/api'
import type { LiveCall } from '../core/call.ts'
import { FlyballError, toFlyballError } from '../core/errors.ts'
import type { CallRequest } from '../governor-contract.ts'
import type { CanonicalRequest } from '../protocols/canonical.ts'
import type { Protocol, RequestFacts } from '../protocols/protocol.ts'
import { callerOf, type CallerOptions } from './caller.ts'
import type { Edge } from './edge.ts'
import { pathOf, type EdgeNext, type EdgeRequest, type HttpHandler } from './http-types.ts'
import { jsonBody, type JsonBodyLimits } from './json-body.ts'
import { DEFAULT_MAX_DEPTH } from './json-guard.ts'
import { ModelList } from './model-list.ts'
import { DEFAULT_MAX_BODY_BYTES } from './read-body.ts'
import { callHeaders } from './reply-headers.ts'
import { RouteTable, type RouteMatch } from './route-table.ts'
import { writeError } from './write-error.ts'
import { writeReply } from './write-reply.ts'

export interface GatewayOptions extends CallerOptions {
  /** Wire protocols served, in order of preference for clients that do not say which they speak. Default: all of ours. */
  protocols?: readonly Protocol[]
  /** Largest request body, bytes. Default 32 MiB. */
  maxBodyBytes?: number
  /** Deepest nesting of a request body. Default 100. */
  maxDepth?: number
  /** Addresses that no protocol has: a 404 in the protocol's own shape (default), or `next()`. */
  unknownRoutes?: 'refuse' | 'next'
  /** Cache class of a request, for a TTL of its own. */
  cacheClass?: (req: EdgeRequest, body: unknown) => string | undefined
  /** Tell clients who served them and where the time went (`x-flyball-*`, `server-timing`). Default true. */
  responseHeaders?: boolean
}

/** Mount it where the protocols' paths begin: `app.use('/v1', gateway)`. Throws a TypeError for options that cannot work. */
export function gateway(edge: Edge, options: GatewayOptions & { protocols: readonly Protocol[] }): HttpHandler {
  if (options.protocols.length === 0) throw new TypeError('gateway: expected at least one protocol')
  const { governor } = edge
  const { clock } = governor
  const table = new RouteTable(options.protocols)
  const models = new ModelList(governor)
  const protocolByName = new Map(options.protocols.map((protocol) => [protocol.name, protocol]))
  const limits: JsonBodyLimits = { maxBytes: options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES, maxDepth: options.maxDepth ?? DEFAULT_MAX_DEPTH }
  const ownHeaders = options.responseHeaders ?? true

  return function flyballGateway(req, res, next) {
    const match = table.match(req.method ?? 'GET', pathOf(req), req.headers)
    if (match === undefined || match === 'wrong-method') {
      if (options.unknownRoutes === 'next' && next) return next()
      return refuse(res, table.protocolOf(req.headers), new FlyballError(match === undefined ? 'not_found' : 'method_not_allowed'))
    }
    const served = match.route.operation === 'models' ? listModels(res, match) : serve(req, res, match)
    served.catch((thrown: unknown) => failed(thrown, res, match.protocol, next))
  }

  /** Before there is a call. */
  function refuse(res: ServerResponse, protocol: Protocol, error: FlyballError, headers?: string[]): void {
    edge.refused.add(1, { code: error.code })
    writeError(res, protocol, error, headers)
  }

  function failed(thrown: unknown, res: ServerResponse, protocol: Protocol, next: EdgeNext | undefined): void {
    const error = toFlyballError(thrown)
    if (error.code === 'internal') governor.log.error({ err: error.cause ?? error }, 'the gateway failed to answer')
    try {
      refuse(res, protocol, error)
    } catch (again) {
      if (next) next(again)
      else res.destroy()
    }
  }

  async function listModels(res: ServerResponse, { protocol, parameter }: RouteMatch): Promise<void> {
    const all = await models.all()
    const wanted = parameter === undefined ? all : all.filter(({ id }) => id === parameter)
    if (!protocol.models) throw new FlyballError('not_found')
    if (wanted.length === 0 && parameter !== undefined) throw new FlyballError('model_not_found', { param: 'model' })
    const [first] = wanted
    const document = parameter !== undefined && first && protocol.model ? protocol.model(first) : protocol.models(wanted)
    const body = Buffer.from(JSON.stringify(document))
    res.writeHead(200, ['content-type', 'application/json', 'content-length', String(body.length)])
    res.end(body)
  }

  async function serve(req: EdgeRequest, res: ServerResponse, match: RouteMatch): Promise<void> {
    const { protocol, route } = match
    const body = await jsonBody(req, limits)
    const facts = protocol.facts(route.operation, body.value)
    // Somebody who left while the body was read never becomes a call.
    if (res.destroyed) return
    if (isPrivate(facts.model)) throw new FlyballError('model_not_found', { param: 'model' })
    const call = governor.call(requestFor(req, match, body.value, body.bytes, facts))
    res.on('close', () => {
      if (!res.writableFinished) call.abort(new FlyballError('cancelled'))
    })
    try {
      const reply = await governor.send(call)
      await writeReply({ res, call, clock, protocol, facts, ownHeaders, protocolByName }, reply)
    } catch (thrown) {
      refuseCall(res, protocol, call, toFlyballError(thrown))
    }
  }

  /** A wrapped function expects its own arguments, not a client's request. */
  function isPrivate(model: string): boolean {
    try {
      return governor.route(model).private === true
    } catch {
      // Unknown here is for the call to say: a plugin may know the name.
      return false
    }
  }

  function refuseCall(res: ServerResponse, protocol: Protocol, call: LiveCall, error: FlyballError): void {
    // An error of the encoder comes after `send` and has settled nothing.
    call.settle(error.outcome, error.reason)
    if (error.code === 'internal') governor.log.error({ call: call.id, err: error.cause ?? error }, 'a reply could not be written')
    writeError(res, protocol, error, ownHeaders ? callHeaders(call, clock.monoMs(), []) : [])
  }

  function requestFor(req: EdgeRequest, { protocol, route }: RouteMatch, input: unknown, bytes: Uint8Array | undefined, facts: RequestFacts): CallRequest {
    const caller = callerOf(req, options, edge.tenantKey)
    const receivedMs = edge.received.of(req) ?? clock.monoMs()
    const cacheClass = options.cacheClass?.(req, input)
    const query = req.url?.indexOf('?') ?? -1
    let canonical: CanonicalRequest | undefined
    const request: CallRequest = {
      operation: facts.operation,
      model: facts.model,
      tenant: caller.tenant,
      stream: facts.stream,
      input,
      canonical: () => (canonical ??= protocol.toCanonical(route.operation, input)),
      work: facts.work,
      receivedMs,
      traceContext: traceContextOf(req),
      wire: { protocol: protocol.name, method: route.method, path: query === -1 ? route.path : route.path + (req.url as string).slice(query), rawHeaders: req.rawHeaders, ...(bytes ? { bytes } : {}) },
    }
    if (facts.maxOutputTokens !== undefined) request.maxOutputTokens = facts.maxOutputTokens
    if (caller.class !== undefined) request.class = caller.class
    if (caller.priority !== undefined) request.priority = caller.priority
    if (caller.retries !== undefined) request.retries = caller.retries
    if (caller.timeoutMs !== undefined) request.deadlineMs = receivedMs + caller.timeoutMs
    if (cacheClass !== undefined) request.cacheClass = cacheClass
    return request
  }
}

/** A span that the host's own instrumentation has open is the parent; else what the client sent; else a new trace. */
export function traceContextOf(req: EdgeRequest): Context {
  const active = context.active()
  return trace.getSpan(active) || req.headers['traceparent'] === undefined ? active : propagation.extract(active, req.headers)
}
