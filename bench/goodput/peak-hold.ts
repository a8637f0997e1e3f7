/** Goodput against offered load, no retries: what is left of the peak at three times the capacity, and who starts in time at twice. */
import { batching } from '../../plugins/optimizers/batching/index.ts'
import { priority } from '../../plugins/optimizers/priority/index.ts'
import { throttle } from '../../plugins/optimizers/throttle/index.ts'
import { simulate } from '../../src/sim/simulate.ts'
import { generate } from '../../src/sim/workload/workload.ts'
import type { Setting } from './settings.ts'
import { median } from './statistics.ts'

const LOADS = [0.6, 0.8, 1, 1.2, 1.5, 2, 3]
const SECONDS = 60
/** Not counted: the loops have just been switched on. */
const SETTLE_S = 20

export interface PeakHold {
  readonly setting: string
  readonly goodputPerS: Readonly<Record<string, number>>
  readonly peakHold3x: number
  /** At twice the capacity: interactive calls that started within 500 ms, over those that started and over those offered. */
  readonly startedInTimeAt2x: number
  readonly batchGoodputAt2x: number
}

export async function peakHold(setting: Setting, seeds: readonly number[]): Promise<PeakHold> {
  const goodputPerS: Record<string, number> = {}
  let startedInTimeAt2x = 1
  let batchGoodputAt2x = 1
  for (const load of LOADS) {
    const runs = []
    for (const seed of seeds) {
      const made = generate([{ name: 'settling', durationS: SETTLE_S, perS: load * setting.capacityPerS, mix: setting.mix }, { name: 'counted', durationS: SECONDS, perS: load * setting.capacityPerS, mix: setting.mix }], seed)
      runs.push(await simulate({ ...made, plant: setting.plant, classes: setting.classes, plugins: [throttle(), priority(), batching()], seed, client: { retries: 0 } }))
    }
    goodputPerS[String(load)] = median(runs.map((run) => (run.phases[1]?.met ?? 0) / SECONDS))
    if (load === 2) {
      startedInTimeAt2x = median(runs.map((run) => run.classes['interactive']?.startedInTime ?? 1))
      batchGoodputAt2x = median(runs.map((run) => run.classes['batch']?.goodput ?? 1))
    }
  }
  return { setting: setting.name, goodputPerS, peakHold3x: (goodputPerS['3'] ?? 0) / Math.max(...Object.values(goodputPerS)), startedInTimeAt2x, batchGoodputAt2x }
}
