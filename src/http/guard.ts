/** A handler that already exists becomes a backend of batch size 1: queued, limited, traced, told when its client leaves. */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { ServerResponse } from 'node:http'
import { context, trace } from '@opentelemetry/api'
import type { Backend } from '../core/backend.ts'
import type { Call } from '../core/call.ts'
import { FlyballError, toFlyballError } from '../core/errors.ts'
import { replyOf, type Reply } from '../core/reply.ts'
import { callerOf, type CallerOptions } from './caller.ts'
import { Capture, HTTP } from './capture.ts'
import { drained } from './drained.ts'
import type { Edge } from './edge.ts'
import { traceContextOf } from './gateway.ts'
import type { EdgeNext, EdgeRequest, HttpHandler } from './http-types.ts'
import { callHeaders, forwardableHeaders, retryHeaders } from './reply-headers.ts'
import { writeRaw } from './write-raw.ts'

export interface GuardOptions extends CallerOptions {
  /** Name of the operation, and of the backend that the handler becomes: each guard has its own. */
  operation: string
  /** Requests in the handler at once. Default 64. */
  slots?: number
  /**
   * What identifies the answer; with it, and a cache plugin, answers are cached and concurrent equal requests share one run
   * of the handler. Without it nothing ever is: cookie users would get each other's pages. The tenant is always part of it.
   * Null or undefined: not this one. An answer is fetched again when it has expired, never before in the background: a
   * request has one response to write.
   */
  key?: (req: EdgeRequest) => string | null | undefined
  cacheClass?: (req: EdgeRequest) => string | undefined
  /** Cost of one request. Default 1. */
  work?: (req: EdgeRequest) => number
  /** Longest wait before the handler starts, ms from the arrival of the request. Later: `deadline_exceeded`. */
  timeoutMs?: number
  /** `x-flyball-*` and `server-timing` on answers that the guard writes itself (those with a `key`). Default true. */
  responseHeaders?: boolean
}

/** Defaults of `wrap`, too: a handler rarely says how much it bears. */
const DEFAULT_SLOTS = 64

const signals = new WeakMap<object, AbortSignal>()

/** Inside a guarded handler: aborts when nobody waits for the answer any more. Undefined outside of one. */
export function flyballSignal(req: object): AbortSignal | undefined {
  return signals.get(req)
}

interface Guarded {
  readonly req: EdgeRequest
  readonly res: ServerResponse
  readonly caught: boolean
  /** Runs the rest of the host's chain, in the request's own async context. */
  readonly enter: (fn: () => void) => void
  readonly next: EdgeNext
  capture?: Capture
  entered: boolean
}

/** Refusals go to `next(error)`: the error carries `status` and `headers`, which Express's own handler honours. */
export function guard(edge: Edge, options: GuardOptions): HttpHandler {
  const { governor } = edge
  const { operation } = options
  governor.addBackend(guardBackend(operation, options.slots ?? DEFAULT_SLOTS))

  return function flyballGuard(req, res, next) {
    if (!next) throw new TypeError('guard: it stands before a handler; mount it with Express')
    const key = options.key?.(req) ?? null
    const guarded: Guarded = { req, res, caught: key !== null, enter: AsyncLocalStorage.snapshot(), next, entered: false }
    serve(guarded, key).catch((thrown: unknown) => refuse(guarded, toFlyballError(thrown)))
  }

  function refuse({ res, capture, entered, next }: Guarded, error: FlyballError): void {
    // Once the handler has begun, the response is its own affair; a client that left needs none.
    if (res.destroyed || (entered && !capture)) return
    if (capture?.sent) return void res.destroy()
    capture?.restore()
    next(presentable(error))
  }

  async function serve(guarded: Guarded, key: string | null): Promise<void> {
    const { req, res } = guarded
    const caller = callerOf(req, options, edge.tenantKey)
    const receivedMs = edge.received.of(req) ?? governor.clock.monoMs()
    const timeoutMs = Math.min(caller.timeoutMs ?? Number.POSITIVE_INFINITY, options.timeoutMs ?? Number.POSITIVE_INFINITY)
    const cacheClass = options.cacheClass?.(req)
    const call = governor.call({
      operation,
      model: operation,
      tenant: caller.tenant,
      input: guarded,
      cacheKey: key,
      once: true,
      work: options.work?.(req) ?? 1,
      receivedMs,
      traceContext: traceContextOf(req),
      ...(caller.class === undefined ? {} : { class: caller.class }),
      ...(caller.priority === undefined ? {} : { priority: caller.priority }),
      ...(caller.retries === undefined ? {} : { retries: caller.retries }),
      ...(Number.isFinite(timeoutMs) ? { deadlineMs: receivedMs + timeoutMs } : {}),
      ...(cacheClass === undefined ? {} : { cacheClass }),
    })
    res.on('close', () => {
      if (!res.writableFinished) call.abort(new FlyballError('cancelled'))
    })
    const reply = await governor.send(call)
    if (reply.protocol !== HTTP) {
      // The handler has written its own response; reading to the end settles the call.
      for await (const _ of reply.body);
      return
    }
    const headers = (): string[] => {
      const kept = forwardableHeaders(reply.rawHeaders)
      return options.responseHeaders === false ? kept : callHeaders(call, governor.clock.monoMs(), kept)
    }
    await writeRaw(guarded.capture?.sink ?? res, reply, headers, () => drained(res))
  }
}

function guardBackend(name: string, slots: number): Backend {
  return {
    name,
    provider: 'handler',
    inProcess: true,
    private: true,
    models: [name],
    limits: { slots, maxBatch: 1, batching: 'none' },
    run: (calls) => calls.map((call) => run(call)),
    async close() {},
  }
}

function run(call: Call): Promise<Reply> {
  const guarded = call.input as Guarded
  const { req, res } = guarded
  // Express's chain holds one response per request: there is no other that a refresh could be written to.
  if (guarded.entered || call.facts.get('background') === true) return Promise.reject(new FlyballError('backend_failed', { message: 'A handler runs once per request.', reason: 'handler_runs_once' }))
  signals.set(req, call.signal)
  guarded.entered = true
  if (!guarded.caught) {
    return new Promise((resolve) => {
      // The slot is busy until the response is out, or its client gone.
      res.on('close', () => resolve(replyOf([], { status: res.statusCode })))
      enter(guarded, call)
    })
  }
  const capture = new Capture(res)
  guarded.capture = capture
  call.signal.addEventListener('abort', () => capture.drop(), { once: true })
  enter(guarded, call)
  return Promise.race([
    capture.head,
    new Promise<never>((_, reject) => call.signal.addEventListener('abort', () => reject(toFlyballError(call.signal.reason, 'cancelled')), { once: true })),
  ])
}

/** The handler's own spans nest under the attempt; the host's async context (request ids and such) stays the request's. */
function enter(guarded: Guarded, call: Call): void {
  guarded.enter(() => context.with(trace.setSpan(context.active(), call.span), () => guarded.next()))
}

/** Express's default handler prints the stack unless NODE_ENV says production; a refusal has none worth printing. */
function presentable(error: FlyballError): FlyballError {
  const flat = retryHeaders(error)
  const headers: Record<string, string> = {}
  for (let i = 0; i + 1 < flat.length; i += 2) headers[flat[i] as string] = flat[i + 1] as string
  error.stack = `${error.name}: ${error.message}`
  return Object.assign(error, { headers, expose: true })
}
