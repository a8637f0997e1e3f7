/** How many at once, who is turned away, and when a provider may be asked: policies of the lane, turned by `limit-controller.ts`. */
import { z } from 'zod'
import { definePlugin, type Backend } from '../../../src/index.ts'
import { instruments, knobs } from './declares.ts'
import { limitController } from './limit-controller.ts'
import { throttleLane, type ThrottledLane } from './throttle-lane.ts'

const budget = z.number().positive().optional()
const budgets = z.strictObject({
  /** Per minute, as the provider states them. What its headers say lowers them. */
  requests: budget,
  /** Input and output together. */
  tokens: budget,
  inputTokens: budget,
  outputTokens: budget,
})

const options = z.strictObject({
  /** A hosted provider's limits per minute, by backend name. */
  budgets: z.record(z.string(), budgets).default({}),
  /** Turn away calls that cannot start in time, and the least urgent under overload. */
  shed: z.boolean().default(true),
  /** A signal with scope backend, 0-1 (GPU use from a scrape), that counts as utilisation beside our own measure. */
  utilisationSignal: z.string().optional(),
})

export const throttle = definePlugin({
  name: 'throttle',
  phase: 'lane',
  doc: 'Concurrency limit by closed loop, provider budgets, room for urgent calls, and load shedding that starts with what cannot be in time.',
  options,
  declares: { knobs, instruments, controllers: { limitController } },
  create(host, settings) {
    const lanes: ThrottledLane[] = []
    const each = (report: (lane: ThrottledLane) => void) => (): void => lanes.forEach(report)
    const { utilisation, rejectRate, expectedWait, budgetLeft, gateSeconds } = host.instruments
    host.onClose(utilisation.collect((report) => each((lane) => report(lane.utilisation(), { backend: lane.backend }))()))
    host.onClose(rejectRate.collect((report) => each((lane) => report(lane.rejectRate(), { backend: lane.backend }))()))
    host.onClose(expectedWait.collect((report) => each((lane) => report(lane.expectedWaitMs() / 1_000, { backend: lane.backend }))()))
    host.onClose(gateSeconds.collect((report) => each((lane) => report(lane.ledger.closedMs() / 1_000, { backend: lane.backend }))()))
    host.onClose(budgetLeft.collect((report) => each((lane) => lane.ledger.left().forEach((left) => report(left.share, { backend: lane.backend, budget: left.budget })))()))
    host.describe(() => lanes.map((lane) => ({ backend: lane.backend, utilisation: lane.utilisation(), rejectRate: lane.rejectRate(), expectedWaitMs: lane.expectedWaitMs(), closedMs: lane.ledger.closedMs(), budgets: lane.ledger.left() })))

    return {
      forLane(view) {
        const scope = { backend: view.backend }
        const external = settings.utilisationSignal === undefined ? undefined : host.signal(settings.utilisationSignal).for(scope)
        let backend: Backend | undefined
        const lane = throttleLane(view, {
          clock: host.clock,
          callersQuota: (call) => (backend ??= host.backends.find(({ name }) => name === view.backend))?.callersQuota?.(call) ?? false,
          limit: () => limit.value,
          utilisationTarget: () => target.value,
          budgets: settings.budgets[view.backend] ?? {},
          shed: settings.shed,
          externalUtilisation: () => {
            const reading = external?.read({ aggregate: 'last' })
            return reading?.status === 'fresh' ? reading.value : undefined
          },
          onShed: (call, reason) => host.instruments.shed.add(1, { backend: view.backend, class: call.class, reason }),
          onDelayed: (call) => host.instruments.delayed.add(1, { backend: view.backend, class: call.class }),
        })
        const limit = host.knobs.limit.for(scope)
        const target = host.knobs.utilisationTarget.for(scope)
        lanes.push(lane)
        return lane.policy
      },
    }
  },
})
