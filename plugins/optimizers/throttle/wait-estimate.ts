/**
 * How long a call arriving now would wait, from work and capacity (Little's law) rather than from recent waits: right from
 * the first call after an idle hour, and blind to how long answers happen to be. Where calls run in batches, from when the
 * run under way ends and how many full batches go before.
 */
import { Slot, type Call, type Clock, type DispatchedBatch, type LaneView, type Waiter } from '../../../src/index.ts'

interface Line {
  readonly priority: number
  waitingWork: number
  waiting: number
  /** Decayed work arrived, for the rate. */
  arrived: number
  atMs: number
  /** The same of what was let in, and of its calls. */
  entered: number
  calls: number
  enteredMs: number
  /** Real waits over estimated ones, lately. */
  bias: number
}

/** Memory of arrival rates and service times: long against one call, short against a change of load. */
const RATE_TAU_MS = 5_000
const SERVICE_GAIN = 1 / 16
const RUN_GAIN = 1 / 4
/** Priorities kept apart; more of them share the last line. */
const MAX_LINES = 32
/** Somebody more urgent came within about this many memories: room is kept for more of them. */
const RECENT_ARRIVALS = 0.05
/** However much urgent work arrives, this share of the capacity is reckoned with for the rest: the queue has floors. */
const LEAST_SHARE = 0.1
/** What the estimate does not see (tenants that overtake, batches, aging) shows in real waits, and is learned; longer ones sooner. */
const BIAS_UP = 0.1
const BIAS_DOWN = 0.03
const LEAST_BIAS = 0.5
const MOST_BIAS = 4

export class WaitEstimate {
  readonly #lane: LaneView
  readonly #clock: Clock
  #lines: Line[] = []
  readonly #joined = new Slot<Waiter, Line>('line')
  /** Mean service ms per unit of work. */
  #msPerWork: number | undefined
  /** Mean ms of a run, where calls run in batches, and when those under way began, oldest first. */
  #runMs: number | undefined
  readonly #runs: DispatchedBatch[] = [] // capped: see runBegan

  constructor(lane: LaneView, clock: Clock) {
    this.#lane = lane
    this.#clock = clock
  }

  /** Service time of a call with this much work, ms; undefined before anything was measured. */
  serviceMs(work: number): number | undefined {
    if (this.#lane.limits.batching === 'merge') return this.#nextRunMs()
    return this.#msPerWork === undefined ? undefined : this.#msPerWork * Math.max(1, work)
  }

  /** At full load a call of so much work starts this often, ms; 0 before anything was measured. */
  startEveryMs(work: number): number {
    const { slots, batching } = this.#lane.limits
    if (batching === 'merge') return (this.#lane.runMs(this.#lane.batchCalls) ?? this.#runMs ?? 0) / (this.#lane.batchCalls * slots)
    return ((this.#msPerWork ?? 0) * Math.max(1, work)) / Math.min(slots, this.#lane.limit)
  }

  arrived(call: Call, work: number): void {
    const line = this.#line(call.priority)
    const now = this.#clock.monoMs()
    line.arrived = decayed(line.arrived, line.atMs, now) + Math.max(1, work)
    line.atMs = now
  }

  /** A raised priority must leave the line it joined: the line is remembered, not looked up again. */
  enqueued(waiter: Waiter): void {
    const line = this.#line(waiter.call.priority)
    const work = Math.max(1, waiter.work)
    const now = this.#clock.monoMs()
    line.entered = decayed(line.entered, line.enteredMs, now) + work
    line.calls = decayed(line.calls, line.enteredMs, now) + 1
    line.enteredMs = now
    line.waiting++
    line.waitingWork += work
    this.#joined.set(waiter, line)
  }

  left(waiter: Waiter): void {
    const line = this.#joined.take(waiter)
    if (!line) return
    line.waiting = Math.max(0, line.waiting - 1)
    line.waitingWork = line.waiting === 0 ? 0 : Math.max(0, line.waitingWork - Math.max(1, waiter.work))
  }

  served(work: number, ms: number): void {
    if (!(ms >= 0) || !Number.isFinite(ms)) return
    const sample = ms / Math.max(1, work)
    this.#msPerWork = this.#msPerWork === undefined ? sample : this.#msPerWork + (sample - this.#msPerWork) * SERVICE_GAIN
  }

  runBegan(batch: DispatchedBatch): void {
    if (this.#lane.limits.batching !== 'merge') return
    this.#runs.push(batch)
    // A slot is free again a little before its calls have settled. Of runs whose end nobody told the oldest goes.
    if (this.#runs.length > 2 * this.#lane.limits.slots) this.#runs.shift()
  }

  /** A member of the batch is through: so is the run. */
  runEnded(batch: DispatchedBatch, ms: number | undefined): void {
    const at = this.#runs.indexOf(batch)
    if (at < 0) return
    this.#runs.splice(at, 1)
    if (ms === undefined || !(ms >= 0) || !Number.isFinite(ms)) return
    this.#runMs = this.#runMs === undefined ? ms : this.#runMs + (ms - this.#runMs) * RUN_GAIN
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
    return this.#lines.some((line) => line.priority < priority && decayed(line.arrived, line.atMs, this.#clock.monoMs()) > RECENT_ARRIVALS)
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
    const { slots, batching } = this.#lane.limits
    return batching === 'merge' ? this.#batchedWaitMs(priority, capacityShare, aheadWork, slots) : this.#singleWaitMs(priority, capacityShare, aheadWork, slots)
  }

  #singleWaitMs(priority: number, capacityShare: number, aheadWork: number | undefined, slots: number): number {
    if (this.#msPerWork === undefined) return 0
    const lane = this.#lane
    const capacity = Math.max(1, Math.min(slots, lane.limit) * capacityShare)
    const { work, own, urgentPerMs } = this.#before(priority)
    if (work === 0 && lane.inFlight < capacity) return 0
    // Those in flight end evenly spread over a service time: the next one after 1/capacity of it.
    const share = 1 - (urgentPerMs * this.#msPerWork) / capacity
    const meanWork = lane.inFlight > 0 ? Math.max(1, lane.inFlightWork / lane.inFlight) : 1
    return (inTurn(Math.min(work, aheadWork ?? work) + meanWork, own + meanWork, share) * this.#msPerWork) / capacity
  }

  #batchedWaitMs(priority: number, capacityShare: number, aheadWork: number | undefined, slots: number): number {
    const lane = this.#lane
    const fullMs = lane.runMs(lane.batchCalls) ?? this.#runMs
    if (fullMs === undefined) return 0
    const { work, own, urgentPerMs } = this.#before(priority)
    const meanWork = lane.waiting > 0 ? Math.max(1, lane.waitingWork / lane.waiting) : 1
    const batchWork = Math.max(1, lane.batchCalls * capacityShare) * meanWork
    const share = 1 - (urgentPerMs * fullMs) / (batchWork * slots)
    const batchesAhead = Math.floor(inTurn(Math.min(work, aheadWork ?? work), own, share) / batchWork)
    return this.#freeMs() + (batchesAhead * fullMs) / slots
  }

  /** Until a slot is free. A run that takes longer than usual is expected to end any moment. */
  #freeMs(): number {
    const lane = this.#lane
    const oldest = this.#runs[this.#runs.length - lane.busySlots]
    if (lane.busySlots < lane.limits.slots || !oldest) return 0
    const runMs = lane.runMs(oldest.calls.length) ?? this.#runMs ?? 0
    return Math.max(0, oldest.dispatchedMs + runMs - this.#clock.monoMs())
  }

  /** Of the run that a call arriving now will be in: with those that wait, and with those that come until it begins. */
  #nextRunMs(): number | undefined {
    const lane = this.#lane
    const now = this.#clock.monoMs()
    const enteredPerMs = this.#lines.reduce((sum, line) => sum + decayed(line.calls, line.enteredMs, now), 0) / RATE_TAU_MS
    return lane.runMs(Math.min(lane.batchCalls, lane.waiting + 1 + enteredPerMs * this.#freeMs())) ?? this.#runMs
  }

  /** Work that waits and is not less urgent, how much of it is just as urgent, and how much more urgent work keeps being let in. */
  #before(priority: number): { work: number; own: number; urgentPerMs: number } {
    let work = 0
    let own = 0
    let urgentPerMs = 0
    const now = this.#clock.monoMs()
    for (const line of this.#lines) {
      if (line.priority > priority) continue
      work += line.waitingWork
      if (line.priority === priority) own += line.waitingWork
      else urgentPerMs += decayed(line.entered, line.enteredMs, now) / RATE_TAU_MS
    }
    return { work, own, urgentPerMs }
  }

  #line(priority: number): Line {
    const found = this.#lines.find((line) => line.priority === priority)
    if (found) return found
    if (this.#lines.length >= MAX_LINES) return this.#lines.reduce((best, line) => (Math.abs(line.priority - priority) < Math.abs(best.priority - priority) ? line : best))
    const made: Line = { priority, waiting: 0, waitingWork: 0, arrived: 0, atMs: this.#clock.monoMs(), entered: 0, calls: 0, enteredMs: this.#clock.monoMs(), bias: 1 }
    this.#lines = [...this.#lines, made].sort((a, b) => a.priority - b.priority)
    return made
  }
}

/** Work served until it is this call's turn: with what more urgent work leaves over, or with its class's floor, whichever is sooner. */
const inTurn = (ahead: number, own: number, share: number): number => Math.min(ahead / Math.max(LEAST_SHARE, share), own / LEAST_SHARE)

const decayed = (amount: number, fromMs: number, nowMs: number): number => amount * Math.exp((fromMs - nowMs) / RATE_TAU_MS)
