/** Who goes together: how many, how much work, and whether to wait for more. Backends that batch by themselves are left alone. */
import { z } from 'zod'
import { definePlugin, LANE_SIGNALS, type BatchPlan, type Clock, type LanePolicy, type LaneView, type Waiter } from '../../../src/index.ts'
import { batchController } from './batch-controller.ts'
import { EMPTY_CURVE, joinSavingMs, learn, viewOf, type CostCurve, type CurveView } from './cost-curve.ts'
import { instruments, knobs } from './declares.ts'
import { holdMs } from './hold-rule.ts'

const options = z.strictObject({})

/** A batch may hold this much more work than as many average calls have: the average is no bound. */
const WORK_ROOM = 1.25
/** Part of its slack that a call may spend waiting for company. */
const SLACK_SHARE = 0.5
/** The curve is taken up after this many new batches: reading it is not free, and it does not change faster. */
const REFRESH_EVERY = 4
/** Memory of the arrival rate, ms: several batches long, shorter than a burst. */
const RATE_TAU_MS = 1_000

export const batching = definePlugin({
  name: 'batching',
  phase: 'lane',
  doc: 'Groups calls for backends that run batches, sized by a learned cost curve and the memory envelope.',
  options,
  declares: { knobs, instruments, controllers: { batchController } },
  create(host) {
    const seen: { lane: LaneView; state(): { speed: number; predictedMs: number } }[] = []

    function forLane(lane: LaneView): LanePolicy {
      if (lane.limits.batching !== 'merge') return { name: 'batching' }
      const scope = { backend: lane.backend }
      const maxBatch = host.knobs.maxBatch.for(scope)
      const maxDelay = host.knobs.maxDelayMs.for(scope)
      const window = host.signal(LANE_SIGNALS.batchMs.name).for(scope)
      const arrivals = decayingRate(host.clock)
      let curve: CostCurve = EMPTY_CURVE
      let view: CurveView = viewOf(curve)
      let taken = 0
      let meanWork = 1

      function refresh(): void {
        if (window.count - taken < REFRESH_EVERY) return
        for (const point of window.read({ points: true, since: taken }).points ?? []) curve = learn(curve, point.x, point.y)
        taken = window.count
        view = viewOf(curve)
      }

      function group(head: Waiter): BatchPlan {
        const maxCalls = maxBatch.value
        const maxWork = Math.max(head.work, maxCalls * meanWork * WORK_ROOM)
        let hold = 0
        if (maxDelay.value > 0 && lane.busySlots > 0 && head.key !== null) {
          refresh()
          const waiting = Math.min(lane.waiting, maxCalls)
          hold = holdMs({
            waiting,
            maxCalls,
            arrivalsPerMs: arrivals.perMs(),
            savingMs: joinSavingMs(view, waiting * meanWork, meanWork),
            maxDelayMs: maxDelay.value,
            slackMs: slackMs(head, view, waiting * meanWork, host.clock.monoMs()),
          })
        }
        return { maxCalls, maxWork, holdMs: hold }
      }

      seen.push({
        lane,
        state: () => {
          refresh()
          return { speed: curve.speed, predictedMs: view.known ? view.p95(maxBatch.value * meanWork) : Number.NaN }
        },
      })
      return {
        name: 'batching',
        group,
        runMs(calls) {
          refresh()
          return view.known ? view.lone(calls * meanWork) : undefined
        },
        onEnqueue(waiter) {
          arrivals.mark()
          meanWork += (waiter.work - meanWork) * 0.05
        },
        onDispatch(batch) {
          if (batch.calls[0]?.timings.heldMs !== undefined) host.instruments.holds.add(1, scope)
        },
      }
    }

    host.onClose(host.instruments.speed.collect((report) => { for (const { lane, state } of seen) report(state().speed, { backend: lane.backend }) }))
    host.onClose(
      host.instruments.predicted.collect((report) => {
        for (const { lane, state } of seen) {
          const { predictedMs } = state()
          if (Number.isFinite(predictedMs)) report(predictedMs / 1_000, { backend: lane.backend })
        }
      }),
    )
    host.describe(() => seen.map(({ lane, state }) => ({ backend: lane.backend, ...state() })))

    return { forLane }
  },
})

/** What the head of the queue (the most pressed, where a policy orders by target) can spare. */
function slackMs(head: Waiter, view: CurveView, work: number, nowMs: number): number {
  const { slo, timings, deadlineMs } = head.call
  const runMs = view.known ? view.p95(work) : 0
  let slack = Number.POSITIVE_INFINITY
  if (slo.startMs !== undefined) slack = timings.receivedMs + slo.startMs - nowMs
  for (const end of [slo.e2eMs, slo.ttftMs]) if (end !== undefined) slack = Math.min(slack, timings.receivedMs + end - nowMs - runMs)
  if (deadlineMs !== undefined) slack = Math.min(slack, deadlineMs - nowMs - runMs)
  return slack * SLACK_SHARE
}

function decayingRate(clock: Clock): { mark(): void; perMs(): number } {
  let weight = 0
  let atMs = clock.monoMs()
  const decay = (): void => {
    const now = clock.monoMs()
    weight *= Math.exp((atMs - now) / RATE_TAU_MS)
    atMs = now
  }
  return {
    mark() {
      decay()
      weight++
    },
    perMs() {
      decay()
      return weight / RATE_TAU_MS
    },
  }
}
