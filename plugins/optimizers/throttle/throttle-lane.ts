/** The throttle's policy of one lane: everything on the request path, without the loop. */
import { FlyballError, Slot, type Call, type Clock, type LanePolicy, type LaneView, type Waiter } from '../../../src/index.ts'
import type { ShedReason } from './declares.ts'
import { patienceMs, PatienceLine, type PatiencePlace } from './patience.ts'
import { PriorityShedder } from './priority-shedder.ts'
import { ProviderLedger, type BudgetLimits } from './provider-ledger.ts'
import { ReturnTimes } from './return-times.ts'
import { WaitEstimate } from './wait-estimate.ts'

export interface ThrottleLaneOptions {
  readonly clock: Clock
  readonly limit: () => number
  readonly utilisationTarget: () => number
  readonly budgets: BudgetLimits
  readonly callersQuota: (call: Call) => boolean
  readonly shed: boolean
  /** The backend's own utilisation, 0-1, when somebody measures it. */
  readonly externalUtilisation: () => number | undefined
  readonly onShed: (call: Call, reason: ShedReason) => void
  readonly onDelayed: (call: Call) => void
}

export interface ThrottledLane {
  readonly backend: string
  readonly policy: LanePolicy
  readonly ledger: ProviderLedger
  utilisation(): number
  rejectRate(): number
  /** Of an urgent call arriving now. */
  expectedWaitMs(): number
}

/** What is kept of a call in the queue. */
interface Waiting {
  readonly waiter: Waiter
  readonly line: PatienceLine
  readonly place: PatiencePlace
}

/** A less urgent call is held back for room for this share of its patience at most. */
const HOLD_BACK_SHARE = 0.5
/** A call is let in when its expected wait is within this share of its patience: the estimate is a mean, half are longer. */
const SURE = 0.8
/** The same for one whose caller has been turned away before: late by that caller's clock whatever happens, so fresh calls come first. */
const SURE_AGAIN = 0.6
/** A call without patience (no targets) is held back for this long at most, ms: delayed, not forgotten. */
const HOLD_BACK_MS = 10_000
/** A waiting call is given up after this multiple of its start target; where others could go in its place, as soon as it cannot be in time. */
const GIVE_UP_AFTER = 2

export function throttleLane(lane: LaneView, options: ThrottleLaneOptions): ThrottledLane {
  const { clock } = options
  const ledger = new ProviderLedger(options.budgets, clock, options.callersQuota)
  const estimate = new WaitEstimate(lane, clock)
  const shedder = new PriorityShedder(clock.random)
  const lines = new Map<string, PatienceLine>() // capped by the classes of the configuration
  const waiting = new Slot<Call, Waiting>('waiting')
  const delayed = new Slot<Call, true>('delayed')
  const expected = new Slot<Call, number>('expected wait')
  const returns = new ReturnTimes(clock.random)

  function utilisation(): number {
    const { slots, batching } = lane.limits
    const own = batching === 'merge' ? lane.busySlots / slots : lane.inFlight / Math.max(1, lane.limit)
    return Math.max(own, options.externalUtilisation() ?? 0)
  }

  /** Less urgent calls may fill this much of the limit while urgent ones keep coming. */
  const capacityShareOf = (priority: number): number => (estimate.urgentLately(priority) ? options.utilisationTarget() : 1)

  function turnAway(call: Call, reason: ShedReason, waitMs: number): FlyballError {
    options.onShed(call, reason)
    const retryAfterMs = returns.next(call.tenant, waitMs, estimate.startEveryMs(call.work), clock.monoMs())
    return new FlyballError('overloaded', { reason, retryAfterMs })
  }

  /** Those who cannot be in time go first; then, if calls start late all the same, the least urgent. */
  function admit(call: Call, work: number): FlyballError | undefined {
    estimate.arrived(call, work)
    shedder.arrived(call.priority)
    if (!options.shed) return undefined
    if (lane.waiting === 0 && lane.inFlight < lane.limit) shedder.calm()
    const plainMs = estimate.waitMs(call, capacityShareOf(call.priority))
    if (plainMs > 0) expected.set(call, plainMs)
    const waitMs = Math.max(plainMs * estimate.bias(call.priority), ledger.expectedMs(call, estimate.ahead(call.priority)))
    const patience = patienceMs(call, clock.monoMs(), estimate.serviceMs(work) ?? 0)
    const sure = call.retries > 0 ? SURE_AGAIN : SURE
    if (waitMs > patience.ms * (patience.hard ? 1 : sure) && waitMs > 0) return turnAway(call, patience.hard ? 'deadline_infeasible' : 'slo_infeasible', waitMs - Math.max(0, patience.ms))
    if (shedder.turnsAway(call.priority)) return turnAway(call, 'priority_shed', waitMs)
    return undefined
  }

  /** Time until a less urgent head may go, ms: room is kept for urgent calls, but not for ever. */
  function holdBackMs(head: Waiter): number {
    const { call } = head
    if (!estimate.urgentLately(call.priority) || estimate.urgentWaiting(call.priority)) return 0
    const { slots, batching } = lane.limits
    const target = options.utilisationTarget()
    const external = options.externalUtilisation()
    const room = batching === 'merge' ? lane.busySlots < Math.max(1, Math.floor(slots * target)) : lane.inFlight < Math.max(1, Math.floor(lane.limit * target))
    if (room && (external === undefined || external < target)) return 0
    const patience = call.slo.startMs === undefined ? HOLD_BACK_MS : call.slo.startMs * HOLD_BACK_SHARE
    return Math.max(0, head.arrivedMs + patience - clock.monoMs())
  }

  function gate(head: Waiter): number {
    giveUpLate()
    const ms = Math.max(ledger.waitMs(head), holdBackMs(head))
    if (ms > 0 && !delayed.get(head.call)) {
      delayed.set(head.call, true)
      options.onDelayed(head.call)
    }
    return ms
  }

  /** Late answers are better than none, but not than answers in time: the late go when more wait than go next. */
  function giveUpLate(): void {
    if (!options.shed) return
    const now = clock.monoMs()
    const isOver = ({ call, work }: Waiter): boolean => {
      if (now - call.timings.receivedMs > (call.slo.startMs ?? Number.POSITIVE_INFINITY) * GIVE_UP_AFTER) return true
      return lane.waiting > lane.batchCalls && patienceMs(call, now, estimate.serviceMs(work) ?? 0).ms < 0
    }
    for (const line of lines.values()) {
      for (let waiter = line.over(isOver); waiter; waiter = line.over(isOver)) {
        if (!lane.evict(waiter, turnAway(waiter.call, 'waited_too_long', estimate.waitMs(waiter.call)))) continue
        shedder.started(true, 1 - waiter.call.slo.quantile)
      }
    }
  }

  function lineOf(call: Call): PatienceLine {
    let line = lines.get(call.class)
    if (!line) lines.set(call.class, (line = new PatienceLine()))
    return line
  }

  /** Out of the queue, by dispatch or otherwise; exactly once. */
  function leave(call: Call): void {
    const was = waiting.take(call)
    if (!was) return
    estimate.left(was.waiter)
    was.line.leave(was.place)
  }

  const policy: LanePolicy = {
    name: 'throttle',
    limit: options.limit,
    admit,
    gate,
    onEnqueue(waiter) {
      const line = lineOf(waiter.call)
      waiting.set(waiter.call, { waiter, line, place: line.add(waiter) })
      estimate.enqueued(waiter)
      waiter.call.onSettle(() => leave(waiter.call))
      giveUpLate()
    },
    onDispatch(batch) {
      estimate.runBegan(batch)
      for (const call of batch.calls) {
        leave(call)
        ledger.sent(call)
        const plainMs = expected.get(call)
        if (plainMs !== undefined) estimate.waited(call.priority, plainMs, batch.dispatchedMs - (call.timings.enqueuedMs ?? batch.dispatchedMs))
        const { startMs, quantile } = call.slo
        if (startMs !== undefined) shedder.started(batch.dispatchedMs - call.timings.receivedMs > startMs, 1 - quantile)
      }
      giveUpLate()
    },
    onHead(call, reply) {
      ledger.answered(call, reply)
    },
    onSettle(call, settlement, batch) {
      ledger.settled(call, settlement)
      const { endMs, backpressureMs } = settlement.timings
      // A slow reader is not a slow backend; an aborted call says nothing about how long one takes.
      const servedMs = settlement.outcome === 'ok' && endMs !== undefined ? endMs - batch.dispatchedMs - backpressureMs : undefined
      if (servedMs !== undefined) estimate.served(call.work, servedMs)
      if (settlement.outcome !== 'cancelled') estimate.runEnded(batch, servedMs)
      if (lane.waiting === 0) shedder.calm()
    },
  }

  return { backend: lane.backend, policy, ledger, utilisation, rejectRate: () => shedder.rate, expectedWaitMs: () => estimate.leastWaitMs() }
}
