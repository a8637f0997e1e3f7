/** The list of workloads: which were looked at while tuning, and which are held out. */
import type { ClientOptions } from '../../src/sim/simulated-client.ts'
import { PHASES } from '../../src/sim/workload/phases.ts'
import { generate, type GeneratedWorkload } from '../../src/sim/workload/workload.ts'
import { batchSetting, cliffSetting, heldOutBatch, heldOutLlm, hostedSetting, llmSetting, type Setting } from './settings.ts'

export interface BenchWorkload {
  readonly name: string
  readonly setting: Setting
  /** Names in PHASES, one after another. */
  readonly phases: readonly string[]
  readonly client?: Partial<ClientOptions>
  readonly heldOut?: boolean
  /** Multiplies the durations of its phases. */
  readonly stretch?: number
  /** The changing mix, over which rivals are compared. */
  readonly mix?: boolean
}

const STORM: Partial<ClientOptions> = { retries: 5, honourRetryAfter: false, backoffMs: 200 }
const MIX = ['steady', 'bursts', 'overload', 'slowdown', 'capacity'] as const

export const WORKLOADS: readonly BenchWorkload[] = [
  { name: 'batch: changing mix', setting: batchSetting, phases: MIX, mix: true, stretch: 0.7 },
  { name: 'llm: changing mix', setting: llmSetting, phases: ['steady', 'lengths', 'overload', 'slowdown', 'bursts'], mix: true },
  { name: 'batch: retry storm', setting: batchSetting, phases: ['overload'], client: STORM },
  { name: 'batch: abusive tenant', setting: batchSetting, phases: ['abusive'], client: { retries: 0 } },
  { name: 'batch: timeouts, crash', setting: batchSetting, phases: ['timeouts', 'crash'] },
  { name: 'batch: dropout, clocks', setting: batchSetting, phases: ['dropout', 'clocks'], stretch: 0.7 },
  { name: 'cliff: steady, overload', setting: cliffSetting, phases: ['steady', 'overload'] },
  { name: 'hosted: quota cut, 429', setting: hostedSetting, phases: ['quota', 'refusals'] },
  { name: 'batch: diurnal, aborts', setting: batchSetting, phases: ['diurnal', 'aborts', 'idle'], stretch: 0.7 },
  // Held out: never run while a controller was being changed.
  { name: 'held out: batch mix', setting: heldOutBatch, phases: ['bursts', 'overload', 'slowdown', 'diurnal'], heldOut: true },
  { name: 'held out: llm mix', setting: heldOutLlm, phases: ['lengths', 'overload', 'capacity'], heldOut: true },
]

export const TUNING_SEEDS: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
/** For the workloads that are held out, seeds that no tuning run used either. */
export const HELD_OUT_SEEDS: readonly number[] = [101, 102, 103, 104, 105, 106, 107, 108, 109, 110]

export function makeWorkload(workload: BenchWorkload, seed: number): GeneratedWorkload {
  const phases = workload.phases.flatMap((name) => {
    const make = PHASES[name]
    if (!make) throw new TypeError(`workload ${workload.name}: there is no phase ${name}`)
    return make({ ...workload.setting, stretch: workload.stretch ?? 1 })
  })
  return generate(phases, seed)
}
