/**
 * A backend over HTTP for any `Protocol`: bytes pass unchanged to an upstream that speaks the client's protocol, and go
 * through the hub to one that does not.
 */
import { Pool } from 'undici'
import type { Backend, BackendHealth, BackendLimits } from '../core/backend.ts'
import type { Call } from '../core/call.ts'
import { systemClock, type Clock } from '../core/clock.ts'
import { FlyballError, toFlyballError } from '../core/errors.ts'
import { CANONICAL, type Reply } from '../core/reply.ts'
import { withoutCacheControl, type CanonicalRequest } from '../protocols/canonical.ts'
import type { Protocol } from '../protocols/protocol.ts'
import { credentialOf, forwardHeaders, hasHeader, injectTrace, setHeader } from './forward-headers.ts'
import { HttpExchange, type Connections, type ExchangeHead, type ExchangeLimits, type ExchangeRequest } from './http-exchange.ts'
import { CanonicalBody, PassThroughBody, type ByteFilter } from './reply-bodies.ts'
import { canonicalError, wholeCanonical, wholePassThrough } from './whole-replies.ts'

export interface HttpBackendOptions {
  name: string
  /** With the protocol's path prefix, as the upstream's own clients take it: `https://api.openai.com/v1`. */
  baseUrl: string
  /** Replaces the client's credential. */
  apiKey?: string
  /** Let the client's own credential through. Default: only where there is no `apiKey`. */
  forwardCredential?: boolean
  /** Names that clients use. Default `'*'`: any. */
  models?: readonly string[] | '*'
  /** Calls at once. */
  slots?: number
  /** Further request headers, set over the client's. */
  headers?: Readonly<Record<string, string>>
  /** ms. Defaults: connect 10,000; head 300,000; idle 120,000; total 1,800,000. */
  timeouts?: Partial<Omit<ExchangeLimits, 'maxReplyBytes'>>
  /** Default 64 MiB. */
  maxReplyBytes?: number
  /**
   * Let translated requests lose their `cache_control` marks where the upstream has none. They change cost, never answers,
   * and some clients always set them. Default: refuse such a request, as any field that cannot be carried.
   */
  dropCacheControl?: boolean
  /** Default: the governor's. */
  clock?: Clock
}

/** What is particular about one kind of upstream. */
export interface HttpUpstream {
  readonly provider: string
  readonly protocol: Protocol
  readonly limits: Pick<BackendLimits, 'slots' | 'batching'>
  /** The header that carries a key. */
  credential(key: string): readonly [name: string, value: string]
  /** Set where the client sent none. */
  readonly defaultHeaders?: readonly (readonly [name: string, value: string])[]
  /** Relative to the base URL's origin (`/health`) or, with a leading `.`, to the base URL itself (`./models`). */
  readonly healthPath: string
  /** Relative to the base URL. */
  readonly modelsPath: string
  /** Last touches to a translated body: names that this upstream has for the same thing. */
  adapt?(body: unknown): unknown
  /** A pass-through call that must be changed on its way, such as to ask for usage. */
  amend?(call: Call): { body: Uint8Array | string; filter?: () => ByteFilter } | undefined
}

const DEFAULT_LIMITS: ExchangeLimits = { connectMs: 10_000, headMs: 300_000, idleMs: 120_000, totalMs: 1_800_000, maxReplyBytes: 64 * 1024 * 1024 }

interface Prepared {
  readonly request: ExchangeRequest
  /** The upstream's name for the operation. */
  readonly operation: string
  readonly translated: boolean
  readonly filter?: () => ByteFilter
}

export function httpBackend(upstream: HttpUpstream, options: HttpBackendOptions): Backend {
  const { protocol } = upstream
  const base = parseBaseUrl(options)
  const limits: ExchangeLimits = { ...DEFAULT_LIMITS, ...options.timeouts, maxReplyBytes: options.maxReplyBytes ?? DEFAULT_LIMITS.maxReplyBytes }
  // Pipelining stays 1 and HTTP/2 off: an aborted call closes its own socket, and one slow reader stops no neighbour.
  const pool = new Pool(base.origin, { pipelining: 1, allowH2: false, connect: { timeout: limits.connectMs } })
  const connections: Connections = { dispatcher: pool, opened: 0 }
  pool.on('connect', () => void connections.opened++)
  const credential = options.apiKey === undefined ? undefined : upstream.credential(options.apiKey)
  const forwardsCredential = options.forwardCredential ?? options.apiKey === undefined
  const extraHeaders = Object.entries(options.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value] as const)
  let clock = options.clock ?? systemClock

  const addHeaders = (headers: string[]): string[] => {
    for (const [name, value] of upstream.defaultHeaders ?? []) if (!hasHeader(headers, name)) headers.push(name, value)
    if (credential) setHeader(headers, credential[0], credential[1])
    for (const [name, value] of extraHeaders) setHeader(headers, name, value)
    return headers
  }

  function passThrough(call: Call): Prepared {
    const { wire } = call
    const path = wire?.path ?? protocol.routes.find(({ operation }) => operation === call.operation)?.path
    if (path === undefined) throw new FlyballError('not_found', { message: `${options.name} has no operation ${call.operation}.` })
    const amended = upstream.amend?.(call)
    const headers = wire ? forwardHeaders(wire.rawHeaders, forwardsCredential) : ['content-type', 'application/json']
    const body = amended?.body ?? wire?.bytes ?? toJson(call.input)
    if (wire && body !== wire.bytes) setHeader(headers, 'content-type', 'application/json')
    injectTrace(addHeaders(headers), call.span)
    return { request: { method: 'POST', path: base.path + path, headers, body }, operation: call.operation, translated: false, ...(amended?.filter ? { filter: amended.filter } : {}) }
  }

  function translate(call: Call, canonical: CanonicalRequest): Prepared {
    const { path, body } = protocol.fromCanonical(options.dropCacheControl ? withoutCacheControl(canonical) : canonical)
    const headers = ['content-type', 'application/json', 'accept', call.stream ? 'text/event-stream' : 'application/json']
    const own = forwardsCredential && call.wire ? credentialOf(call.wire.rawHeaders) : undefined
    if (own !== undefined) headers.push(...upstream.credential(own))
    injectTrace(addHeaders(headers), call.span)
    const operation = protocol.routes.find((route) => route.path === path)?.operation ?? call.operation
    return { request: { method: 'POST', path: base.path + path, headers, body: toJson(upstream.adapt ? upstream.adapt(body) : body) }, operation, translated: true }
  }

  function prepare(call: Call): Prepared {
    if (call.wire?.protocol === protocol.name || (!call.wire && !call.canonical)) return passThrough(call)
    if (!call.canonical) throw new FlyballError('internal', { message: `There is no way from ${call.wire?.protocol} to ${protocol.name}.` })
    return translate(call, call.canonical())
  }

  function start(call: Call, signal: AbortSignal): Promise<Reply> {
    let prepared: Prepared
    try {
      prepared = prepare(call)
    } catch (thrown) {
      return Promise.reject(toFlyballError(thrown, 'invalid_request'))
    }
    return new Promise((resolve, reject) => {
      let head: ExchangeHead
      const exchange = new HttpExchange(connections, prepared.request, limits, clock, { call, ...(signal === call.signal ? {} : { signal }) }, {
        onHead(received) {
          head = received
          noteHead(call, received)
          if (received.status >= 400 || !isEventStream(received)) return 'whole'
          resolve(streamReply(exchange, prepared, received))
          return 'stream'
        },
        onWhole(bytes) {
          try {
            resolve(wholeReply(prepared, head, bytes))
          } catch (thrown) {
            reject(toFlyballError(thrown, 'upstream_invalid'))
          }
        },
        onFailure: reject,
      })
    })
  }

  function streamReply(exchange: HttpExchange, { operation, translated, filter }: Prepared, head: ExchangeHead): Reply {
    const cancel = (reason?: unknown): void => exchange.abort(toFlyballError(reason, 'cancelled'))
    const common = { status: head.status, stream: true, cancel }
    if (translated) return { ...common, rawHeaders: head.rawHeaders, protocol: CANONICAL, body: new CanonicalBody(exchange, protocol.deltaReader(operation, true)) }
    const encoded = isEncoded(head)
    // The length would be wrong once an error is said in band.
    const rawHeaders = head.headers['content-length'] === undefined ? head.rawHeaders : head.rawHeaders.filter((_, i, all) => all[i - (i % 2)]?.toLowerCase() !== 'content-length')
    return { ...common, rawHeaders, protocol: protocol.name, body: new PassThroughBody(exchange, encoded ? undefined : protocol.sideReader(operation, true), encoded ? undefined : filter?.()) }
  }

  function wholeReply({ operation, translated }: Prepared, head: ExchangeHead, bytes: Uint8Array): Reply {
    if (!translated) return wholePassThrough(protocol, isEncoded(head) || operation === 'models' ? undefined : operation, head, bytes)
    if (isEncoded(head)) throw new FlyballError('upstream_invalid', { message: 'The backend sent an encoded body.' })
    return head.status >= 400 ? canonicalError(protocol, operation, head, bytes) : wholeCanonical(protocol, operation, head, bytes)
  }

  /** A plain GET, for health and models. */
  function get(path: string, signal: AbortSignal): Promise<{ status: number; bytes: Uint8Array }> {
    return new Promise((resolve, reject) => {
      let status = 0
      new HttpExchange(connections, { method: 'GET', path, headers: addHeaders([]), body: null }, { ...limits, headMs: limits.connectMs, idleMs: limits.connectMs }, clock, { signal }, {
        onHead: (head) => {
          status = head.status
          return 'whole'
        },
        onWhole: (bytes) => resolve({ status, bytes }),
        onFailure: reject,
      })
    })
  }

  const healthPath = upstream.healthPath.startsWith('.') ? base.path + upstream.healthPath.slice(1) : upstream.healthPath

  return {
    name: options.name,
    provider: upstream.provider,
    models: options.models ?? '*',
    limits: { slots: options.slots ?? upstream.limits.slots, maxBatch: 1, batching: upstream.limits.batching },
    attach: (host) => {
      clock = options.clock ?? host.clock
    },
    callersQuota: (call) => forwardsCredential && call.wire !== undefined && credentialOf(call.wire.rawHeaders) !== undefined,
    run: (calls, signal) => calls.map((call) => start(call, signal)),
    /** Opens a connection, TLS included, so that the first call need not. */
    async warm(signal) {
      await get(healthPath, signal)
    },
    async health(signal): Promise<BackendHealth> {
      try {
        const { status } = await get(healthPath, signal)
        return status < 400 ? { healthy: true } : { healthy: false, detail: `answered ${status}` }
      } catch (thrown) {
        return { healthy: false, detail: toFlyballError(thrown, 'upstream_unreachable').reason }
      }
    },
    async listModels(signal) {
      const { status, bytes } = await get(base.path + upstream.modelsPath, signal)
      if (status >= 400) throw new FlyballError('upstream_invalid', { message: `The backend answered ${status} for its models.` })
      return readModels(bytes)
    },
    close: () => pool.destroy(),
  }
}

function parseBaseUrl({ name, baseUrl }: HttpBackendOptions): { origin: string; path: string } {
  const url = URL.parse(baseUrl)
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:')) throw new TypeError(`backend ${name}: baseUrl must be an http or https URL`)
  if (url.search !== '' || url.hash !== '' || url.username !== '') throw new TypeError(`backend ${name}: baseUrl takes no query, fragment or credentials`)
  return { origin: url.origin, path: url.pathname.replace(/\/+$/, '') }
}

function toJson(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch (cause) {
    // Depth: the parser takes any, the writer does not.
    throw new FlyballError('invalid_request', { message: 'The request is nested too deeply.', cause })
  }
}

const isEventStream = ({ headers }: ExchangeHead): boolean => /^text\/event-stream\b/i.test(headers['content-type'] ?? '')

/** Compressed although we never ask for it: passes, but cannot be read. */
const isEncoded = ({ headers }: ExchangeHead): boolean => headers['content-encoding'] !== undefined && headers['content-encoding'] !== 'identity'

function noteHead(call: Call, { headers }: ExchangeHead): void {
  const id = headers['x-request-id'] ?? headers['request-id']
  if (typeof id === 'string' && id.length <= 128) call.note('upstream_request_id', id)
}

/** `{ data: [{ id }] }`, as OpenAI, Anthropic and every compatible server have it; Ollama's own page names them `models[].name`. */
function readModels(bytes: Uint8Array): readonly string[] {
  let document: { data?: unknown; models?: unknown }
  try {
    document = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')) as typeof document
  } catch (cause) {
    throw new FlyballError('upstream_invalid', { cause })
  }
  const list: unknown = document.data ?? document.models
  if (!Array.isArray(list)) throw new FlyballError('upstream_invalid')
  return list.flatMap((entry: { id?: unknown; name?: unknown } | null) => {
    const id = entry?.id ?? entry?.name
    return typeof id === 'string' ? [id] : []
  })
}

