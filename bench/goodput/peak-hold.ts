/** Goodput against offered load, no retries: what is left of the peak at three times the capacity, and who starts in time at twice. */
import { batching } from '../../plugins/optimizers/batching/index.ts'
import { priority } from '../../plugins/optimizers/priority/index.ts'
import { throttle } from '../../plugins/optimizers/throttle/index.ts'
import { simulate, type SimulationResult } from '../../src/sim/simulate.ts'
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
}

export interface StartedAt2x {
  readonly setting: string
  /** Interactive calls that started within 500 ms, over those that started. */
  readonly interactiveInTime: number
  /** Interactive calls within all their targets, over those offered: the rest were turned away, most at once. */
  readonly interactiveGoodput: number
  readonly batchGoodput: number
}

async function at(setting: Setting, load: number, seed: number): Promise<SimulationResult> {
  const perS = load * setting.capacityPerS
  const made = generate([{ name: 'settling', durationS: SETTLE_S, perS, mix: setting.mix }, { name: 'counted', durationS: SECONDS, perS, mix: setting.mix }], seed)
  return simulate({ ...made, plant: setting.plant, classes: setting.classes, plugins: [throttle(), priority(), batching()], seed, client: { retries: 0 } })
}

const over = async (seeds: readonly number[], run: (seed: number) => Promise<SimulationResult>): Promise<SimulationResult[]> => seeds.reduce<Promise<SimulationResult[]>>(async (before, seed) => [...(await before), await run(seed)], Promise.resolve([]))

export async function peakHold(setting: Setting, seeds: readonly number[]): Promise<PeakHold> {
  const goodputPerS: Record<string, number> = {}
  for (const load of LOADS) goodputPerS[String(load)] = median((await over(seeds, (seed) => at(setting, load, seed))).map((run) => (run.phases[1]?.met ?? 0) / SECONDS))
  return { setting: setting.name, goodputPerS, peakHold3x: (goodputPerS['3'] ?? 0) / Math.max(...Object.values(goodputPerS)) }
}

/** The least of the seeds. */
export async function startedAt2x(setting: Setting, seeds: readonly number[]): Promise<StartedAt2x> {
  const runs = await over(seeds, (seed) => at(setting, 2, seed))
  const least = (of: (run: SimulationResult) => number | undefined): number => Math.min(...runs.map((run) => of(run) ?? 0))
  return { setting: setting.name, interactiveInTime: least((run) => run.classes['interactive']?.startedInTime), interactiveGoodput: least((run) => run.classes['interactive']?.goodput), batchGoodput: least((run) => run.classes['batch']?.goodput) }
}
