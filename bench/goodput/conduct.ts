/** How the loops behave beside goodput: quiet when nothing changes, back after an overload, and what they cost. */
import { batching } from '../../plugins/optimizers/batching/index.ts'
import { priority } from '../../plugins/optimizers/priority/index.ts'
import { throttle } from '../../plugins/optimizers/throttle/index.ts'
import type { Plugin } from '../../src/index.ts'
import { readPlant } from '../../src/sim/plants/parameters.ts'
import { valueAt, type KnobHistory } from '../../src/sim/settling.ts'
import { simulate } from '../../src/sim/simulate.ts'
import { generate } from '../../src/sim/workload/workload.ts'
import type { Setting } from './settings.ts'
import { mean, median } from './statistics.ts'

const plugins = (): Plugin[] => [throttle(), priority(), batching()]

export interface Steady {
  readonly setting: string
  /** Of the knob that moves most, once settled; worst seed. */
  readonly movesPerMinute: number
  /**
   * Where a knob went to in the hour: its mean over the last sixth against that over the second, in the mean of the seeds. What
   * only goes up and down differs in sign from seed to seed. Of the knob with the largest; with its standard error.
   */
  readonly drift: number
  readonly driftError: number
  /** Farthest that a ten-minute mean was from the hour's, any knob, any seed. */
  readonly band: number
}

const HOUR_MS = 3_600_000
const WINDOW_MS = HOUR_MS / 6
const SAMPLE_MS = 10_000

/** An hour at 80% load, for each seed. The first ten minutes are for settling. */
export async function steady(setting: Setting, seeds: readonly number[]): Promise<Steady> {
  let movesPerMinute = 0
  let band = 0
  const changes = new Map<string, number[]>()
  for (const seed of seeds) {
    const made = generate([{ name: 'steady', durationS: HOUR_MS / 1_000, perS: 0.8 * setting.capacityPerS, mix: setting.mix }], seed)
    const { knobs } = await simulate({ ...made, plant: setting.plant, classes: setting.classes, plugins: plugins(), seed })
    for (const [name, history] of Object.entries(knobs)) {
      const means = [1, 2, 3, 4, 5].map((window) => meanOver(history, window * WINDOW_MS))
      const hour = mean(means)
      movesPerMinute = Math.max(movesPerMinute, history.filter(({ atMs }) => atMs > WINDOW_MS).length / 50)
      if (hour > 0) band = Math.max(band, ...means.map((one) => Math.abs(one / hour - 1)))
      const [first = 0, last = 0] = [means[0], means.at(-1)]
      if (first !== last) changes.set(name, [...(changes.get(name) ?? []), (last - first) / first])
    }
  }
  let [drift, driftError] = [0, 0]
  for (const moved of changes.values()) {
    const all = [...moved, ...new Array<number>(seeds.length - moved.length).fill(0)]
    const value = mean(all)
    if (Math.abs(value) <= Math.abs(drift)) continue
    drift = value
    driftError = Math.sqrt(mean(all.map((one) => (one - value) ** 2)) / Math.max(1, seeds.length - 1))
  }
  return { setting: setting.name, movesPerMinute, drift, driftError, band }
}

function meanOver(history: KnobHistory, fromMs: number): number {
  let sum = 0
  for (let atMs = fromMs; atMs < fromMs + WINDOW_MS; atMs += SAMPLE_MS) sum += valueAt(history, atMs)
  return (sum * SAMPLE_MS) / WINDOW_MS
}

/** Goodput from 30 s after the end of a threefold overload whose clients come back twice; the least of the seeds. */
export async function recovery(setting: Setting, seeds: readonly number[]): Promise<{ setting: string; goodput: number }> {
  const phase = (name: string, durationS: number, load: number): Parameters<typeof generate>[0][number] => ({ name, durationS, perS: load * setting.capacityPerS, mix: setting.mix })
  const goodput: number[] = []
  for (const seed of seeds) {
    const made = generate([phase('before', 15, 0.6), phase('overload', 20, 3), phase('grace', 30, 0.7), phase('after', 30, 0.7)], seed)
    const { phases } = await simulate({ ...made, plant: setting.plant, classes: setting.classes, plugins: plugins(), seed })
    goodput.push(phases[3]?.goodput ?? 0)
  }
  return { setting: setting.name, goodput: Math.min(...goodput) }
}

const PER_S = 1_000
const SECONDS = 30
const ROUNDS = 5

/** CPU that the loops take at 1,000 requests a second, as a share of a core: the same run with them and without, in turns. Signals are fed in both. */
export async function controlCost(): Promise<number> {
  const plant = readPlant({ kind: 'batch-server', slots: 4, maxBatch: 64, baseMs: 5, perWorkMs: 0.5 })
  const made = generate([{ name: 'steady', durationS: SECONDS, perS: PER_S, mix: [{ share: 1, work: 1 }] }], 1)
  const cpuS = async (loops: 'on' | 'off'): Promise<number> => {
    const from = process.cpuUsage()
    await simulate({ ...made, plant, plugins: plugins(), loops, seed: 1 })
    const { user, system } = process.cpuUsage(from)
    return (user + system) / 1e6
  }
  await cpuS('on')
  const differences: number[] = []
  for (let i = 0; i < ROUNDS; i++) {
    const [first, second] = i % 2 === 0 ? (['on', 'off'] as const) : (['off', 'on'] as const)
    const [a, b] = [await cpuS(first), await cpuS(second)]
    differences.push(first === 'on' ? a - b : b - a)
  }
  return median(differences) / SECONDS
}
