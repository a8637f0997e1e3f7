/** Who is next: urgent classes first, floors for the rest, fairness between tenants, earliest start target within one. */
import { z } from 'zod'
import { definePlugin, Slot, type Call, type LanePolicy, type LaneView, type Settlement } from '../../../src/index.ts'
import { instruments, knobs } from './declares.ts'
import { fairQueue, type FairQueue } from './fair-queue.ts'
import { TenantLedger } from './tenant-ledger.ts'

const options = z.strictObject({
  /** Share by tenant id; 1 unless named. */
  tenantWeights: z.record(z.string(), z.number().positive()).default({}),
  /** What one input token counts; embeddings and functions count their items of work. */
  inputWeight: z.number().min(0).default(1),
  /** What one output token counts: decoding costs more than reading. */
  outputWeight: z.number().min(0).default(2),
  /** Most tenants remembered. */
  maxTenants: z.int().min(1).default(10_000),
})

type Options = z.output<typeof options>

/** True cost of a settled call in the unit of fairness; undefined when it used no tokens. */
function weightedTokens({ usage }: Settlement, { inputWeight, outputWeight }: Options): number | undefined {
  return usage.inputTokens + usage.outputTokens === 0 ? undefined : usage.inputTokens * inputWeight + usage.outputTokens * outputWeight
}

export const priority = definePlugin({
  name: 'priority',
  phase: 'lane',
  doc: 'Orders the queue: class floors, then priority, then the tenant that had least, then the earliest start target.',
  options,
  declares: { knobs, instruments },
  create(host, settings) {
    const lanes: { lane: LaneView; queue: FairQueue; ledger: TenantLedger }[] = []
    const aging = host.knobs.agingS.for({})

    function forLane(lane: LaneView): LanePolicy {
      const ledger = new TenantLedger({ weights: settings.tenantWeights, maxTenants: settings.maxTenants })
      const charged = new Slot<Call, number>('charged')
      const queue = fairQueue({
        clock: host.clock,
        ledger,
        floor: (name) => host.knobs.floor.for({ class: name }).value,
        agingMs: () => aging.value * 1_000,
        onCharge: (waiter, work) => charged.set(waiter.call, work),
      })
      lanes.push({ lane, queue, ledger })
      return {
        name: 'priority',
        queue: () => queue,
        onSettle(call, settlement) {
          const actual = weightedTokens(settlement, settings)
          const estimate = charged.take(call)
          if (actual !== undefined && estimate !== undefined) ledger.correct(call.tenant, actual - estimate)
        },
      }
    }

    host.onClose(
      host.instruments.waiting.collect((report) => {
        for (const { lane, queue } of lanes) {
          const byClass = new Map<string, number>()
          for (const line of queue.classes()) byClass.set(line.class, (byClass.get(line.class) ?? 0) + line.waiting)
          for (const [name, waiting] of byClass) report(waiting, { backend: lane.backend, class: name })
        }
      }),
    )
    host.onClose(host.instruments.tenants.collect((report) => { for (const { lane, ledger } of lanes) report(ledger.size, { backend: lane.backend }) }))
    host.onClose(
      host.instruments.tenantGap.collect((report) => {
        for (const { lane, ledger } of lanes) report(Math.max(0, ...ledger.gaps(1_000).map((gap) => gap.ahead)), { backend: lane.backend })
      }),
    )
    // Tenants are hashes of credentials, but even those are nobody else's business: counts only.
    host.describe(() => lanes.map(({ lane, queue, ledger }) => ({ backend: lane.backend, classes: queue.classes(), tenants: ledger.size })))

    return { forLane }
  },
})
