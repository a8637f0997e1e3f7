/** What a lane asks its policies. A policy decides; only the lane holds queue and slots. */
import type { Call } from './call.ts'
import type { Clock } from './clock.ts'
import type { FlyballError } from './errors.ts'
import type { BackendLimits } from './backend.ts'
import type { Reply } from './reply.ts'
import type { Settlement } from './settlement.ts'

/** A call in the queue. */
export interface Waiter {
  readonly call: Call
  readonly arrivedMs: number
  /** Calls with equal keys may share a batch; null: runs alone. */
  readonly key: string | null
  readonly work: number
}

/**
 * The order of service. It passes `test/conformance/wait-queue.ts`: what goes in comes out exactly once, by `take` or by
 * `remove`.
 */
export interface WaitQueue {
  readonly size: number
  add(waiter: Waiter): void
  /** An aborted waiter leaves at once. False when it is not here. */
  remove(waiter: Waiter): boolean
  /** Who is served next. */
  first(): Waiter | undefined
  /**
   * Removes and returns up to `max` waiters that `accept` takes, in service order, `first()` first. May stop looking after a
   * bounded number of refusals.
   */
  take(max: number, accept: (waiter: Waiter) => boolean): Waiter[]
  /** Everybody, in no particular order; for sweeps and inspection. */
  waiters(): Iterable<Waiter>
  /** Waiting work that would be served before a call arriving now; an estimate. Without it: all that is not less urgent. */
  aheadWork?(call: Call): number
}

/** What a policy sees of its lane. Read it inside a hook; it is live. */
export interface LaneView {
  readonly backend: string
  readonly limits: BackendLimits
  readonly clock: Clock
  readonly waiting: number
  readonly waitingWork: number
  /** Calls handed to the backend and not settled. */
  readonly inFlight: number
  readonly inFlightWork: number
  /** Runs under way: batches for `merge`, calls otherwise. */
  readonly busySlots: number
  /** The limit in force: the least of the policies' and the backend's own. */
  readonly limit: number
  /** Most calls that go together, as of the last look at the queue; 1 where nothing is batched. */
  readonly batchCalls: number
  /** What a run of so many typical calls takes, ms; undefined when no policy knows. */
  runMs(calls: number): number | undefined
  /** Recent completions per second; undefined before any. */
  readonly completionsPerS: number | undefined
  /** Waiting work that would be served before a call arriving now; undefined when the order does not say. */
  aheadWork(call: Call): number | undefined
  /** Expected time until a call arriving now starts, ms; 0 when a slot is free. */
  drainMs(): number
  /** Look again: something the policy knows of has changed. */
  wake(): void
  waiters(): Iterable<Waiter>
  /** Turns a waiting call away. False when it is no longer waiting. */
  evict(waiter: Waiter, error: FlyballError): boolean
}

export interface BatchPlan {
  /** Largest batch, calls. */
  readonly maxCalls: number
  /** Largest batch, work. */
  readonly maxWork: number
  /** Keep the batch open for this long after its head could have gone, ms. Ignored while the backend is idle. */
  readonly holdMs: number
}

export interface DispatchedBatch {
  readonly id: string
  readonly calls: readonly Call[]
  readonly work: number
  readonly dispatchedMs: number
}

export interface LanePolicy {
  readonly name: string
  /** Most calls in flight. The lane takes the least over all policies. */
  limit?(): number
  /** At arrival: an error turns the call away. */
  admit?(call: Call, work: number): FlyballError | undefined
  /** Replaces the FIFO. At most one policy of a lane may. */
  queue?(): WaitQueue
  /** How to batch behind this head. At most one policy of a lane may. Asked only where the backend's batching is `merge`. */
  group?(head: Waiter): BatchPlan
  /** What a run of so many typical calls takes, ms, for other policies to reckon with; undefined: not known. Asked of the one that groups. */
  runMs?(calls: number): number | undefined
  /** Time until this head may go, ms; 0: now. For budgets that refill and `retry-after`. */
  gate?(head: Waiter): number
  /** A call was admitted and waits. It leaves by `onDispatch` or by settling. */
  onEnqueue?(waiter: Waiter): void
  onDispatch?(batch: DispatchedBatch): void
  /** The reply's head is here, its body is not: status and headers as the backend gave them. */
  onHead?(call: Call, reply: Reply): void
  /** After a dispatched call settled. */
  onSettle?(call: Call, settlement: Settlement, batch: DispatchedBatch): void
}
