/** The signals that the core itself feeds, from what happens in the lanes. Backend samples only: no cache hits, no local rejects, unless said. */
import type { LiveCall } from '../core/call.ts'
import type { LaneObserver } from '../core/lane.ts'
import type { DispatchedBatch, LaneView } from '../core/lane-policy.ts'
import type { Settlement } from '../core/settlement.ts'
import { Slot } from '../core/slot.ts'
import { sloMet } from '../core/slo-met.ts'
import { signal } from './signal-spec.ts'
import type { SignalRegistry } from './registry.ts'
import type { SignalWindow } from './signal-window.ts'

const backend = ['backend'] as const

export const LANE_SIGNALS = {
  workMs: signal({ name: 'lane.work_ms', unit: 'ms', doc: 'Service time per unit of work of calls that ended well, at that work.', scope: backend, aggregate: 'quantile' }),
  itlMs: signal({ name: 'lane.itl_ms', unit: 'ms', doc: 'Time per output token while decoding, per call.', scope: backend, aggregate: 'quantile' }),
  batchMs: signal({ name: 'lane.batch_ms', unit: 'ms', doc: 'Run time of a finished batch, at its work.', scope: backend, aggregate: 'quantile' }),
  batchSize: signal({ name: 'lane.batch_size', unit: '{call}', doc: 'Calls in a dispatched batch, at its work.', scope: backend }),
  queueWaitMs: signal({ name: 'lane.queue_wait_ms', unit: 'ms', doc: 'Arrival to dispatch of dispatched calls.', scope: backend, aggregate: 'quantile' }),
  serviceMs: signal({ name: 'lane.service_ms', unit: 'ms', doc: 'Dispatch to end of calls that ended well.', scope: backend, aggregate: 'quantile' }),
  ttftMs: signal({ name: 'lane.ttft_ms', unit: 'ms', doc: 'Dispatch to first token.', scope: backend, aggregate: 'quantile' }),
  inFlight: signal({ name: 'lane.in_flight', unit: '{call}', doc: 'Calls in flight right after a dispatch.', scope: backend, aggregate: 'max' }),
  waiting: signal({ name: 'lane.waiting', unit: '{call}', doc: 'Calls waiting at an arrival.', scope: backend, aggregate: 'max' }),
  /** Counted at arrival, not at completion: otherwise overload hides the demand that caused it. */
  offered: signal({ name: 'lane.offered', unit: '{call}/s', doc: 'Calls that arrived at the lane.', scope: backend, aggregate: 'rate', capacity: 4096 }),
  offeredWork: signal({ name: 'lane.offered_work', unit: '1/s', doc: 'Work that arrived at the lane.', scope: backend, aggregate: 'rate', capacity: 4096 }),
  rejects: signal({ name: 'lane.rejects', unit: '1', doc: 'Share of settled attempts that upstream turned away (429, 503) or that timed out, at the time since dispatch.', scope: backend }),
  sloMet: signal({ name: 'lane.slo_met', unit: '1', doc: 'Share of offered calls that met their class’s targets; shed, expired and failed calls did not, cancelled ones do not count.', scope: backend, capacity: 4096 }),
} as const

type Windows = { readonly [K in keyof typeof LANE_SIGNALS]: SignalWindow }

const REJECTED = /^((upstream|in_band)_(429|503|529)|upstream_timeout)$/

/** Service time without what a slow reader added. */
export function serviceMsOf(settlement: Settlement): number | undefined {
  const { dispatchedMs, headMs, endMs, backpressureMs } = settlement.timings
  if (dispatchedMs === undefined || endMs === undefined || headMs === undefined) return undefined
  return Math.max(headMs - dispatchedMs, endMs - dispatchedMs - backpressureMs)
}

/** Declares the signals and returns the observer that feeds them. */
export function laneSignals(signals: SignalRegistry): LaneObserver {
  const declared = Object.entries(LANE_SIGNALS).map(([name, spec]) => [name, signals.declare(spec)] as const)
  const byBackend = new Map<string, Windows>()
  const windows = (lane: LaneView): Windows => {
    let found = byBackend.get(lane.backend)
    if (!found) {
      found = Object.fromEntries(declared.map(([name, one]) => [name, one.for({ backend: lane.backend })])) as unknown as Windows
      byBackend.set(lane.backend, found)
    }
    return found
  }
  const runs = new Slot<DispatchedBatch, { left: number; ok: number; endMs: number }>('run')
  return {
    onArrive(call, lane) {
      const w = windows(lane)
      w.offered.push(1)
      w.offeredWork.push(call.work)
      w.waiting.push(lane.waiting)
    },
    onDispatch(batch, lane) {
      const w = windows(lane)
      runs.set(batch, { left: batch.calls.length, ok: 0, endMs: 0 })
      w.batchSize.push(batch.calls.length, batch.work)
      w.inFlight.push(lane.inFlight)
      w.workMs.demand()
      w.batchMs.demand()
      w.rejects.demand()
      for (const call of batch.calls) w.queueWaitMs.push(batch.dispatchedMs - (call.timings.enqueuedMs ?? batch.dispatchedMs))
    },
    onSettle(call, settlement, batch, lane) {
      const w = windows(lane)
      if (settlement.outcome !== 'cancelled' && !isBackground(call)) w.sloMet.push(sloMet(call, settlement) ? 1 : 0)
      if (!batch) return
      if (settlement.outcome !== 'cancelled') w.rejects.push(REJECTED.test(settlement.reason ?? '') ? 1 : 0, (settlement.timings.endMs ?? batch.dispatchedMs) - batch.dispatchedMs)
      const serviceMs = serviceMsOf(settlement)
      if (settlement.outcome === 'ok' && serviceMs !== undefined) feedService(w, call, settlement, serviceMs, batch)
      const run = runs.get(batch)
      if (!run) return
      if (settlement.outcome === 'ok' && serviceMs !== undefined) {
        run.ok++
        run.endMs = Math.max(run.endMs, serviceMs)
      }
      // One point per batch, once all its members are through; a batch with failures says nothing about the curve.
      if (--run.left > 0) return
      runs.take(batch)
      if (run.ok === batch.calls.length) w.batchMs.push(run.endMs, batch.work)
    },
  }
}

function feedService(w: Windows, call: LiveCall, settlement: Settlement, serviceMs: number, batch: DispatchedBatch): void {
  const { usage, timings } = settlement
  const tokens = usage.outputTokens
  w.serviceMs.push(serviceMs)
  if (timings.firstTokenMs !== undefined && timings.dispatchedMs !== undefined) w.ttftMs.push(timings.firstTokenMs - timings.dispatchedMs)
  if (call.stream && tokens > 1 && timings.firstTokenMs !== undefined && timings.endMs !== undefined) {
    const itl = (timings.endMs - timings.firstTokenMs - timings.backpressureMs) / (tokens - 1)
    w.itlMs.push(Math.max(0, itl), tokens)
    w.workMs.push(Math.max(0, itl), tokens)
    return
  }
  // A batch's calls share its time: the unit cost is the batch's, not each member's.
  const work = batch.calls.length > 1 ? batch.work : tokens > 0 ? tokens : Math.max(1, call.work)
  w.workMs.push(serviceMs / Math.max(1, work), work)
}

/** Work that nobody waits for (refreshes, warm-up) has no SLO. */
function isBackground(call: LiveCall): boolean {
  return call.facts.get('background') === true
}
