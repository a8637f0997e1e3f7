/** One request, from the edge that made it to its settlement. */
import type { Span } from '@opentelemetry/api'
import type { CanonicalRequest } from '../protocols/canonical.ts'
import type { Clock } from './clock.ts'
import { FlyballError } from './errors.ts'
import type { Outcome, Settlement, Timings, Usage } from './settlement.ts'
import type { SloClass } from './slo.ts'

/** The request as it came over the wire, for backends that speak the same protocol. */
export interface WireRequest {
  readonly protocol: string
  readonly method: string
  /** Path within the protocol's namespace: `/chat/completions`. */
  readonly path: string
  readonly rawHeaders: readonly string[]
  /** The exact body bytes; absent when another middleware parsed the body first, or when the call was translated. */
  readonly bytes?: Uint8Array
}

export interface CallInit {
  /** `chat`, `completions`, `embeddings`, `messages`, or a name of your own. */
  operation: string
  model: string
  slo: SloClass
  /** Whose call this is: a hash of the credential unless the host maps it. Cache entries and budgets never cross it. */
  tenant: string
  stream: boolean
  /** The parsed request in `wire.protocol`'s own shape, or the argument of a wrapped function. */
  input: unknown
  /** Expected cost before it is known: tokens, or items. Used for ordering, fairness and batch envelopes. */
  work: number
  /** Largest number of output tokens it may produce, if known: reserved against output budgets. */
  maxOutputTokens?: number
  /** Smaller goes first. Defaults to the class's. */
  priority?: number
  /** How often its caller was turned away with it before, where the caller says so. Default 0. */
  retries?: number
  /** Name of the backend that was chosen for it. Default: the one that serves its model. */
  backend?: string
  /** Why it is made: an attempt's. */
  purpose?: string
  /** Monotonic ms after which nobody wants the answer any more. */
  deadlineMs?: number
  wire?: WireRequest
  /** The request in the hub's terms, worked out when a backend of another protocol asks. Throws `unsupported_field`. */
  canonical?: () => CanonicalRequest
  /** The caller's abort. */
  signal?: AbortSignal
  /** Monotonic ms at which the request's head arrived. */
  receivedMs?: number
  span: Span
  /** Cache class, when an edge or config names one; loops keep TTLs by it. */
  cacheClass?: string
  /** What identifies the answer, beside tenant and operation. `null`: never cache. Undefined: a cache derives it from `input`. */
  cacheKey?: string | null
  /** It can be served only once (it writes a response of its own): no retry, no refresh in the background. */
  once?: boolean
}

export interface Call {
  readonly id: string
  readonly operation: string
  readonly model: string
  readonly class: string
  readonly slo: SloClass
  readonly tenant: string
  readonly priority: number
  /** How often its caller was turned away with it before: nobody who came back is in time by the caller's own clock. */
  readonly retries: number
  /** The backend that was chosen for it, by name; undefined: the one that serves its model. */
  readonly backend: string | undefined
  /** `serve`, or what an attempt says of itself. */
  readonly purpose: string
  readonly cacheClass: string | undefined
  readonly cacheKey: string | null | undefined
  /** It can be served only once: no retry, no refresh in the background. */
  readonly once: boolean
  readonly stream: boolean
  /** With `wire` and `canonical` let go of once the call has settled, when it came over the wire: a prompt is not kept for nothing. */
  readonly input: unknown
  readonly work: number
  readonly maxOutputTokens: number | undefined
  readonly deadlineMs: number | undefined
  readonly wire: WireRequest | undefined
  readonly canonical: (() => CanonicalRequest) | undefined
  /** Made when somebody asks for it; `onAbort` does without. */
  readonly signal: AbortSignal
  /** Why the call was aborted; undefined while it has not been. */
  readonly abortReason: FlyballError | undefined
  /** Runs `fn` once when the call is aborted, at once if it has been; returns what takes it back. Cheaper than a signal. */
  onAbort(fn: () => void): () => void
  readonly span: Span
  readonly timings: Timings
  readonly usage: Usage
  /** Small facts for telemetry and response headers, as `flyball.*` attributes. At most 32; never prompt text. */
  readonly facts: ReadonlyMap<string, string | number | boolean>
  note(name: string, value: string | number | boolean): void
  /** Present on attempts: the logical call they serve. */
  readonly parent: Call | undefined
  /** Undefined until settled. */
  readonly settlement: Settlement | undefined
  /** Moves a waiting call forward: somebody more urgent wants the same. Smaller goes first; a larger value changes nothing. */
  raisePriority(priority: number): void
  /** Runs once when the call settles; at once if it already has. Must not throw. */
  onSettle(fn: (settlement: Settlement) => void): void
}

const MAX_FACTS = 32
const NO_FACTS: ReadonlyMap<string, string | number | boolean> = new Map()

/**
 * The core's own view of a call: it can settle and abort it. Invariant: settles exactly once; listeners run once each,
 * in order; `signal` is aborted on every outcome but `ok`, so that whatever still works for the call stops.
 */
export class LiveCall implements Call {
  readonly id: string
  readonly operation: string
  readonly model: string
  readonly class: string
  readonly slo: SloClass
  readonly tenant: string
  priority: number
  readonly retries: number
  readonly backend: string | undefined
  readonly purpose: string
  readonly cacheClass: string | undefined
  readonly cacheKey: string | null | undefined
  readonly once: boolean
  readonly stream: boolean
  input: unknown
  readonly work: number
  readonly maxOutputTokens: number | undefined
  readonly deadlineMs: number | undefined
  wire: WireRequest | undefined
  canonical: (() => CanonicalRequest) | undefined
  readonly span: Span
  timings: Timings
  usage: Usage = { inputTokens: 0, outputTokens: 0 }
  readonly parent: Call | undefined
  settlement: Settlement | undefined
  /** Status of the reply, once there is one. */
  status: number | undefined
  /** Its own body counts its tokens and back-pressure: what an attempt counted is not added. */
  countsItself = false
  /** Set by the lane while the call waits. An object, not a function: see `#unlink`. */
  waiter: { moved(): void } | undefined
  /** The call that this attempt works for; undefined for one that nobody waits for. */
  serves: LiveCall | undefined
  readonly #clock: Clock
  /** Made when somebody asks for the signal: most calls end without anybody having. */
  #controller: AbortController | undefined
  #abortListeners: (() => void)[] | undefined
  /** Set when the call has been aborted. */
  abortReason: FlyballError | undefined
  #facts: Map<string, string | number | boolean> | undefined
  #listeners: ((settlement: Settlement) => void)[] = []
  #unlink: (() => void) | undefined
  /** What works for it: as urgent as the call itself, and aborted with it unless it has a signal of its own. */
  #attempts: LiveCall[] | undefined
  #follows = false

  constructor(init: CallInit, clock: Clock, parent?: Call) {
    this.#clock = clock
    this.id = clock.id()
    this.operation = init.operation
    this.model = init.model
    this.class = init.slo.name
    this.slo = init.slo
    this.tenant = init.tenant
    this.priority = init.priority ?? init.slo.priority
    this.retries = init.retries ?? 0
    this.backend = init.backend
    this.purpose = init.purpose ?? 'serve'
    this.cacheClass = init.cacheClass
    this.cacheKey = init.cacheKey
    this.once = init.once ?? false
    this.stream = init.stream
    this.input = init.input
    this.work = init.work
    this.maxOutputTokens = init.maxOutputTokens
    this.deadlineMs = init.deadlineMs
    this.wire = init.wire
    this.canonical = init.canonical
    this.span = init.span
    this.parent = parent
    const now = clock.monoMs()
    this.timings = { receivedMs: init.receivedMs ?? now, createdMs: now, backpressureMs: 0 }
    const outer = init.signal
    if (outer) {
      const onAbort = (): void => this.abort(outer.reason)
      if (outer.aborted) onAbort()
      else {
        outer.addEventListener('abort', onAbort, { once: true })
        // Through a variable: V8 puts a function that is written straight into a property into old space, and there it
        // keeps all that it can see until the next full collection.
        const unlink = (): void => outer.removeEventListener('abort', onAbort)
        this.#unlink = unlink
      }
    } else if (parent instanceof LiveCall) {
      // Same as the parent's signal, without making one.
      this.#follows = true
      if (parent.abortReason) this.abort(parent.abortReason)
    }
    if (parent instanceof LiveCall) (parent.#attempts ??= []).push(this)
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController()
      if (this.abortReason) this.#controller.abort(this.abortReason)
    }
    return this.#controller.signal
  }

  get aborted(): boolean {
    return this.abortReason !== undefined
  }

  onAbort(fn: () => void): () => void {
    if (this.abortReason) {
      fn()
      return () => {}
    }
    const listeners = (this.#abortListeners ??= [])
    listeners.push(fn)
    return () => {
      const at = this.#abortListeners?.indexOf(fn) ?? -1
      if (at >= 0) this.#abortListeners?.splice(at, 1)
    }
  }

  get facts(): ReadonlyMap<string, string | number | boolean> {
    return this.#facts ?? NO_FACTS
  }

  note(name: string, value: string | number | boolean): void {
    const facts = (this.#facts ??= new Map())
    if (facts.size < MAX_FACTS || facts.has(name)) facts.set(name, value)
  }

  raisePriority(priority: number): void {
    if (!(priority < this.priority)) return
    this.priority = priority
    this.waiter?.moved()
    for (const attempt of this.#attempts ?? []) attempt.raisePriority(priority)
  }

  onSettle(fn: (settlement: Settlement) => void): void {
    if (this.settlement) fn(this.settlement)
    else this.#listeners.push(fn)
  }

  /** Stops whatever works for this call. Settlement follows from whoever sees the abort, not from here. */
  abort(reason?: unknown): void {
    if (this.abortReason) return
    const known = reason instanceof FlyballError ? reason : new FlyballError('cancelled', { cause: reason })
    this.abortReason = known
    const listeners = this.#abortListeners
    this.#abortListeners = undefined
    if (listeners) for (const fn of listeners) fn()
    for (const attempt of this.#attempts ?? []) if (attempt.#follows && !attempt.settlement) attempt.abort(known)
    this.#controller?.abort(known)
  }

  /** Takes over where an attempt's time and tokens went: the last attempt to settle is the one that was served. */
  adopt(attempt: LiveCall): void {
    this.#adoptMarks(attempt)
    if (!this.countsItself) {
      this.timings.backpressureMs += attempt.timings.backpressureMs
      this.usage = attempt.usage
    }
    this.status ??= attempt.status
    for (const [name, value] of attempt.facts) this.note(name, value)
  }

  /** The reply's head is here: whoever it is for can say where the time went before the body ends. */
  headArrived(status: number): void {
    this.status = status
    this.timings.headMs ??= this.#clock.monoMs()
    for (let served = this.serves; served && !served.settlement; served = served.serves) served.#adoptMarks(this)
  }

  #adoptMarks(attempt: LiveCall): void {
    const { enqueuedMs, heldMs, dispatchedMs, headMs, firstTokenMs } = attempt.timings
    if (enqueuedMs !== undefined) this.timings.enqueuedMs ??= enqueuedMs
    if (heldMs !== undefined) this.timings.heldMs = heldMs
    if (dispatchedMs !== undefined) this.timings.dispatchedMs = dispatchedMs
    if (headMs !== undefined) this.timings.headMs = headMs
    if (firstTokenMs !== undefined) this.timings.firstTokenMs = firstTokenMs
  }

  /** First caller wins; later calls are ignored and return false. */
  settle(outcome: Outcome, reason?: string): boolean {
    if (this.settlement) return false
    this.timings.endMs = this.#clock.monoMs()
    const settlement: { -readonly [K in keyof Settlement]: Settlement[K] } = { outcome, usage: this.usage, timings: this.timings }
    if (reason !== undefined) settlement.reason = reason
    if (this.status !== undefined) settlement.status = this.status
    this.settlement = settlement
    this.#unlink?.()
    if (outcome !== 'ok' && !this.abortReason) this.abort(new FlyballError('cancelled', { reason: reason ?? outcome }))
    const listeners = this.#listeners
    this.#listeners = []
    for (const fn of listeners) fn(this.settlement)
    this.#forget()
    return true
  }

  /** Whoever still holds a settled call holds no prompt with it: those are large, and nobody needs one any more. */
  #forget(): void {
    if (!this.wire) return
    this.input = undefined
    this.wire = undefined
    this.canonical = undefined
  }
}
