/** Those who call: open loop (they do not wait for each other), and they may come back when they are turned away. */
import type { LiveCall } from '../core/call.ts'
import type { Clock } from '../core/clock.ts'
import { FlyballError } from '../core/errors.ts'
import type { Reply } from '../core/reply.ts'
import type { Settlement } from '../core/settlement.ts'
import type { SloClass } from '../core/slo.ts'
import type { Governor } from '../governor-contract.ts'
import type { RequestEnd } from './run-metrics.ts'
import { RunMetrics } from './run-metrics.ts'
import { workOf, type TraceRequest } from './simulated-request.ts'

export interface ClientOptions {
  /** Times that a client comes back after a 429, a 503 or a broken connection. Both official SDKs: 2. */
  readonly retries: number
  /** Wait as long as `retry-after` says. */
  readonly honourRetryAfter: boolean
  /** First wait without a `retry-after`, doubled at each further try, ms; up to a quarter less by chance. */
  readonly backoffMs: number
}

export const DEFAULT_CLIENT: ClientOptions = { retries: 2, honourRetryAfter: true, backoffMs: 500 }
const MAX_BACKOFF_MS = 8_000
/** Official SDKs take a longer `retry-after` for a mistake. */
const MAX_RETRY_AFTER_MS = 60_000
const RETRIED = /^(shed)$|^error$/

export interface ClientParts {
  readonly governor: Governor
  readonly clock: Clock
  /** The clients' own chance: what the governor draws must not change who comes back when. */
  readonly random: () => number
  readonly metrics: RunMetrics
  readonly model: string
  readonly startMs: number
  readonly options: ClientOptions
  /** Version of an answer now, where answers change. */
  readonly version?: (key: string, changeClass: string) => number
}

export class SimulatedClients {
  readonly #parts: ClientParts
  /** Requests without an end yet. */
  open = 0
  /** What ends those that wait to come back. */
  readonly #returning = new Set<() => void>()
  #over = false

  constructor(parts: ClientParts) {
    this.#parts = parts
  }

  send(request: TraceRequest): void {
    this.open++
    this.#attempt(request, this.#parts.clock.monoMs(), 0)
  }

  /** The run is over: nobody comes back, and who meant to has missed. */
  end(): void {
    this.#over = true
    for (const end of [...this.#returning]) end()
  }

  #attempt(request: TraceRequest, firstMs: number, tries: number): void {
    const { governor, clock, metrics, model } = this.#parts
    metrics.attempts++
    let abort: AbortController | undefined
    let cancelAbort: (() => void) | undefined
    if (request.abortAfterMs !== undefined) {
      abort = new AbortController()
      const controller = abort
      cancelAbort = clock.after(Math.max(0, firstMs + request.abortAfterMs - clock.monoMs()), () => controller.abort())
    }
    const call = governor.call({
      operation: 'simulated',
      model,
      tenant: request.tenant ?? '',
      // As official SDKs do, in a header.
      retries: tries,
      stream: request.stream ?? false,
      input: request,
      work: workOf(request),
      maxOutputTokens: request.maxOutputTokens ?? request.outputTokens,
      ...(request.class === undefined ? {} : { class: request.class }),
      cacheKey: request.key ?? null,
      ...(request.changeClass === undefined ? {} : { cacheClass: request.changeClass }),
      ...(abort ? { signal: abort.signal } : {}),
    })
    let value: unknown
    const ended = (error?: FlyballError): void => {
      cancelAbort?.()
      this.#ended(request, call, firstMs, tries, error, value)
    }
    governor.send(call).then(
      (reply) => read(reply, (seen) => void (value = seen)).then(() => ended(), (thrown: unknown) => ended(thrown instanceof FlyballError ? thrown : undefined)),
      (thrown: unknown) => ended(thrown instanceof FlyballError ? thrown : undefined),
    )
  }

  #ended(request: TraceRequest, call: LiveCall, firstMs: number, tries: number, error: FlyballError | undefined, value: unknown): void {
    const { clock, metrics, options } = this.#parts
    const settlement = call.settlement as Settlement
    const { outcome } = settlement
    metrics.serviceMs += serviceMsOf(settlement)
    if (outcome !== 'ok') metrics.reject(settlement.reason ?? outcome)
    if (!this.#over && RETRIED.test(outcome) && tries < options.retries) {
      const after = options.honourRetryAfter ? error?.retryAfterMs : undefined
      const waitMs = after !== undefined && after < MAX_RETRY_AFTER_MS ? after : Math.min(MAX_BACKOFF_MS, options.backoffMs * 2 ** tries) * (1 - 0.25 * this.#parts.random())
      // Whoever would come back after having gone away does not.
      if (request.abortAfterMs === undefined || clock.monoMs() + waitMs < firstMs + request.abortAfterMs) {
        const end = (): void => this.#last(request, call, firstMs, settlement, value)
        this.#returning.add(end)
        clock.after(waitMs, () => {
          if (this.#returning.delete(end)) this.#attempt(request, firstMs, tries + 1)
        })
        return
      }
    }
    this.#last(request, call, firstMs, settlement, value)
  }

  /** No further attempt. */
  #last(request: TraceRequest, call: LiveCall, firstMs: number, settlement: Settlement, value: unknown): void {
    const { metrics } = this.#parts
    const { outcome, timings } = settlement
    this.open--
    const end = endOf(request, call.slo, settlement, firstMs, this.#parts.startMs)
    if (end.met) metrics.usefulMs += serviceMsOf(settlement)
    // Callers who would leave before their targets could be missed say nothing; the same ones under every policy.
    if (leavesEarly(request, call.slo)) metrics.outcomes.set('left early', (metrics.outcomes.get('left early') ?? 0) + 1)
    else {
      metrics.end(end)
      if (end.metFromFirst) metrics.metFromFirst++
    }
    if (outcome === 'ok' && this.#parts.version && request.key !== undefined) {
      const hit = timings.dispatchedMs === undefined
      metrics.lookup(request.changeClass ?? '', hit, hit && value !== this.#parts.version(request.key, request.changeClass ?? ''))
    }
  }
}

const serviceMsOf = ({ timings: { dispatchedMs, endMs } }: Settlement): number => (dispatchedMs === undefined ? 0 : (endMs ?? dispatchedMs) - dispatchedMs)

const leavesEarly = ({ abortAfterMs }: TraceRequest, slo: SloClass): boolean => abortAfterMs !== undefined && abortAfterMs <= (slo.e2eMs ?? slo.ttftMs ?? slo.startMs ?? 0)

async function read(reply: Reply, onValue: (value: unknown) => void): Promise<void> {
  const body = reply.body[Symbol.asyncIterator]()
  for (;;) {
    const next = await body.next()
    if (next.done) return
    const deltas = next.value.deltas
    if (deltas) for (const delta of deltas) if (delta.type === 'value') onValue(delta.value)
  }
}

/**
 * Targets are measured from the arrival of the attempt that was served, as the governor measures them; latencies, and
 * `metFromFirst`, from the first attempt: a client that was sent away has waited all the same.
 */
export function endOf(request: TraceRequest, slo: SloClass, settlement: Settlement, firstMs: number, startMs: number): RequestEnd {
  const { outcome, timings, usage } = settlement
  const endMs = timings.endMs ?? firstMs
  const ok = outcome === 'ok'
  const first = timings.firstTokenMs ?? endMs
  const start = timings.dispatchedMs ?? first
  const e2eMs = endMs - firstMs - timings.backpressureMs
  const itlMs = timings.firstTokenMs !== undefined && usage.outputTokens > 1 && request.stream ? Math.max(0, endMs - first - timings.backpressureMs) / (usage.outputTokens - 1) : undefined
  let smooth = ok ? 1 : 0
  let met = ok
  let metFromFirst = ok
  const earlierMs = timings.receivedMs - firstMs
  const target = (wanted: number | undefined, got: number | undefined, earlier = 0): void => {
    if (wanted === undefined || got === undefined) return
    if (got > wanted) metFromFirst = false
    if (got - earlier <= wanted) return
    met = false
    smooth = Math.min(smooth, wanted / (got - earlier))
  }
  target(slo.startMs, start - firstMs, earlierMs)
  target(slo.ttftMs, first - firstMs, earlierMs)
  target(slo.e2eMs, e2eMs, earlierMs)
  target(slo.itlMs, itlMs)
  return {
    class: slo.name,
    tenant: request.tenant ?? '',
    arrivedMs: firstMs - startMs,
    outcome,
    met,
    metFromFirst,
    smooth,
    startedInTime: slo.startMs === undefined || timings.dispatchedMs === undefined ? undefined : start - timings.receivedMs <= slo.startMs,
    ttftMs: ok ? first - firstMs : undefined,
    itlMs: ok ? itlMs : undefined,
    e2eMs: ok ? e2eMs : undefined,
    work: workOf(request),
  }
}
