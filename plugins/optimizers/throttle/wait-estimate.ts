/**
 * How long a call arriving now would wait, from work and capacity (Little's law) rather than from recent waits: right from
 * the first call after an idle hour, and blind to how long answers happen to be.
 */
import type { Call, Clock, LaneView, Waiter } from '../../../src/index.ts'

interface Line {
  readonly priority: number
  waitingWork: number
  waiting: number
  /** Decayed work arrived, for the rate. */
  arrived: number
  atMs: number
  /** Real waits over estimated ones, lately. */
  bias: number
}

/** Memory of arrival rates and service times: long against one call, short against a change of load. */
const RATE_TAU_MS = 5_000
const SERVICE_GAIN = 1 / 16
/** Priorities kept apart; more of them share the last line. */
const MAX_LINES = 32
/** Somebody more urgent came within about this many memories: room is kept for more of them. */
const RECENT_ARRIVALS = 0.05
/** However much urgent work arrives, this share of the capacity is reckoned with for the rest: the queue has floors. */
const LEAST_SHARE = 0.05
/** What the estimate does not see (tenants that overtake, batches, aging) shows in real waits, and is learned; longer ones sooner. */
const BIAS_UP = 0.1
const BIAS_DOWN = 0.03
const LEAST_BIAS = 0.5
const MOST_BIAS = 4

export class WaitEstimate {
  readonly #lane: LaneView
  readonly #clock: Clock
  #lines: Line[] = []
  readonly #joined = new WeakMap<Waiter, Line>()
  /** Mean service ms per unit of work. */
  #msPerWork: number | undefined

  constructor(lane: LaneView, clock: Clock) {
    this.#lane = lane
    this.#clock = clock
  }

  /** Service time of a call with this much work, ms; undefined before anything was measured. */
  serviceMs(work: number): number | undefined {
    return this.#msPerWork === undefined ? undefined : this.#msPerWork * Math.max(1, work)
  }

  arrived(call: Call, work: number): void {
    const line = this.#line(call.priority)
    this.#decay(line)
    line.arrived += Math.max(1, work)
  }

  /** A raised priority must leave the line it joined: the line is remembered, not looked up again. */
  enqueued(waiter: Waiter): void {
    const line = this.#line(waiter.call.priority)
    const work = Math.max(1, waiter.work)
    line.waiting++
    line.waitingWork += work
    this.#joined.set(waiter, line)
  }

  left(waiter: Waiter): void {
    const line = this.#joined.get(waiter)
    if (!line) return
    this.#joined.delete(waiter)
    line.waiting = Math.max(0, line.waiting - 1)
    line.waitingWork = line.waiting === 0 ? 0 : Math.max(0, line.waitingWork - Math.max(1, waiter.work))
  }

  served(work: number, ms: number): void {
    if (!(ms >= 0) || !Number.isFinite(ms)) return
    const sample = ms / Math.max(1, work)
    this.#msPerWork = this.#msPerWork === undefined ? sample : this.#msPerWork + (sample - this.#msPerWork) * SERVICE_GAIN
  }

  /** A call that was expected to wait `estimatedMs` (without the bias then in force) waited `waitedMs`. */
  waited(priority: number, estimatedMs: number, waitedMs: number): void {
    if (!(estimatedMs > 0) || !Number.isFinite(waitedMs)) return
    const line = this.#line(priority)
    const ratio = Math.min(MOST_BIAS, Math.max(LEAST_BIAS, waitedMs / estimatedMs))
    line.bias += (ratio - line.bias) * (ratio > line.bias ? BIAS_UP : BIAS_DOWN)
  }

  bias(priority: number): number {
    return this.#line(priority).bias
  }

  /** What waits and is not less urgent than this. */
  ahead(priority: number): { calls: number; work: number } {
    let calls = 0
    let work = 0
    for (const line of this.#lines) {
      if (line.priority > priority) continue
      calls += line.waiting
      work += line.waitingWork
    }
    return { calls, work }
  }

  /** More urgent calls than this wait. */
  urgentWaiting(priority: number): boolean {
    return this.#lines.some((line) => line.priority < priority && line.waiting > 0)
  }

  /** More urgent calls than this have come lately, so that more may come. */
  urgentLately(priority: number): boolean {
    return this.#lines.some((line) => line.priority < priority && this.#rate(line) * RATE_TAU_MS > RECENT_ARRIVALS)
  }

  /**
   * Expected wait of this call if it arrives now, ms, before the learned bias; 0 while nothing is known. `capacityShare`: the part of the limit that
   * it may use.
   */
  waitMs(call: Call, capacityShare = 1): number {
    return this.#waitMs(call.priority, capacityShare, this.#lane.aheadWork(call))
  }

  /** Of a call that everybody lets pass. */
  leastWaitMs(): number {
    return this.#waitMs(Number.NEGATIVE_INFINITY, 1, 0)
  }

  #waitMs(priority: number, capacityShare: number, aheadWork: number | undefined): number {
    if (this.#msPerWork === undefined) return 0
    const lane = this.#lane
    const { slots, maxBatch, batching } = lane.limits
    const parallel = batching === 'merge' ? slots * maxBatch : slots
    const capacity = Math.max(1, Math.min(parallel, lane.limit) * capacityShare)
    let ahead = 0
    let urgentPerMs = 0
    for (const line of this.#lines) {
      if (line.priority > priority) continue
      ahead += line.waitingWork
      if (line.priority < priority) urgentPerMs += this.#rate(line)
    }
    if (ahead === 0 && lane.inFlight < capacity) return 0
    // Those in flight end evenly spread over a service time: the next one after 1/capacity of it.
    const share = Math.max(LEAST_SHARE, 1 - (urgentPerMs * this.#msPerWork) / capacity)
    const meanWork = lane.inFlight > 0 ? Math.max(1, lane.inFlightWork / lane.inFlight) : 1
    return ((Math.min(ahead, aheadWork ?? ahead) + meanWork) * this.#msPerWork) / capacity / share
  }

  #line(priority: number): Line {
    const found = this.#lines.find((line) => line.priority === priority)
    if (found) return found
    if (this.#lines.length >= MAX_LINES) return this.#lines.reduce((best, line) => (Math.abs(line.priority - priority) < Math.abs(best.priority - priority) ? line : best))
    const made: Line = { priority, waiting: 0, waitingWork: 0, arrived: 0, atMs: this.#clock.monoMs(), bias: 1 }
    this.#lines = [...this.#lines, made].sort((a, b) => a.priority - b.priority)
    return made
  }

  #decay(line: Line): void {
    const now = this.#clock.monoMs()
    line.arrived *= Math.exp((line.atMs - now) / RATE_TAU_MS)
    line.atMs = now
  }

  /** Work per ms. */
  #rate(line: Line): number {
    return (line.arrived * Math.exp((line.atMs - this.#clock.monoMs()) / RATE_TAU_MS)) / RATE_TAU_MS
  }
}
