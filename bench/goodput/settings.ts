/** What is served: plants with their classes, and how much of which traffic each can bear. */
import { readPlant, type PlantParameters } from '../../src/sim/plants/parameters.ts'
import type { SloClass } from '../../src/index.ts'
import type { PhaseSetting } from '../../src/sim/workload/phases.ts'

export interface Setting extends PhaseSetting {
  readonly name: string
  readonly plant: PlantParameters
  readonly classes: readonly SloClass[]
  /** Which static knobs make sense. */
  readonly kind: 'merge' | 'stream'
}

const WHOLE: readonly SloClass[] = [
  { name: 'interactive', priority: 0, startMs: 500, e2eMs: 1_000, quantile: 0.95 },
  { name: 'batch', priority: 10, startMs: 5_000, quantile: 0.95 },
]
const STREAM: readonly SloClass[] = [
  { name: 'interactive', priority: 0, ttftMs: 1_000, itlMs: 30, quantile: 0.95 },
  { name: 'batch', priority: 10, startMs: 5_000, itlMs: 60, quantile: 0.95 },
]
const HOSTED: readonly SloClass[] = [
  { name: 'interactive', priority: 0, startMs: 500, quantile: 0.95 },
  { name: 'batch', priority: 10, startMs: 5_000, quantile: 0.95 },
]
const items = [{ share: 0.75, work: 1 }, { share: 0.25, work: 1, class: 'batch' }]
const chats = [
  { share: 0.8, inputTokens: 300, outputTokens: 60, spread: 0.5, stream: true },
  { share: 0.2, inputTokens: 500, outputTokens: 90, spread: 0.5, stream: true, class: 'batch' },
]

/** A batch server: 59 calls/s at batches of 32, 29/s at batches of 4. */
export const batchSetting: Setting = {
  name: 'batch',
  kind: 'merge',
  plant: readPlant({ kind: 'batch-server', name: 'batch', slots: 1, maxBatch: 64, baseMs: 80, perWorkMs: 14.5, noise: 0.1 }),
  classes: WHOLE,
  capacityPerS: 42,
  mix: items,
}

/** A batch server whose curve has a cliff: past 16 items each further one costs six times as much. */
export const cliffSetting: Setting = {
  ...batchSetting,
  name: 'cliff',
  plant: readPlant({ kind: 'batch-server', name: 'cliff', slots: 1, maxBatch: 64, baseMs: 80, perWorkMs: 10, cliffWork: 16, cliffFactor: 6, noise: 0.1 }),
  capacityPerS: 50,
}

/** A continuous-batching model server: 30 ms a token at 40 sequences, more when there are more. */
export const llmSetting: Setting = {
  name: 'llm',
  kind: 'stream',
  plant: readPlant({ kind: 'llm-server', name: 'llm', maxSequences: 256, stepBaseMs: 10, decodeTokenMs: 0.45, prefillTokenMs: 0.02, contextTokenMs: 0 }),
  classes: STREAM,
  capacityPerS: 15,
  mix: chats,
}

/** A hosted API with quotas: 20 calls/s by its requests bucket. */
export const hostedSetting: Setting = {
  name: 'hosted',
  kind: 'stream',
  plant: readPlant({ kind: 'hosted-api', name: 'hosted', requestsPerMinute: 1_200, inputTokensPerMinute: 600_000, outputTokensPerMinute: 200_000, ttftMs: 200, tokenMs: 8, tail: 0.3 }),
  classes: HOSTED,
  capacityPerS: 18,
  mix: chats.map((mix) => ({ ...mix, stream: false, maxOutputTokens: 120 })),
}

/** Not looked at while tuning: another curve, another server, another provider. */
export const heldOutBatch: Setting = {
  ...batchSetting,
  name: 'held-out batch',
  plant: readPlant({ kind: 'batch-server', name: 'held-out-batch', slots: 2, maxBatch: 48, baseMs: 150, perWorkMs: 18, cliffWork: 20, cliffFactor: 3, memoryWork: 40, noise: 0.2 }),
  capacityPerS: 60,
}
export const heldOutLlm: Setting = {
  ...llmSetting,
  name: 'held-out llm',
  plant: readPlant({ kind: 'llm-server', name: 'held-out-llm', maxSequences: 200, stepBaseMs: 6, decodeTokenMs: 0.8, prefillTokenMs: 0.05, contextTokenMs: 0.0001, kvTokens: 60_000 }),
  capacityPerS: 11,
}

/** Answers that change: how often by class, what is asked, and how many times as often they change from then on. */
export interface FreshnessSetting {
  readonly name: string
  readonly hazardsPerS: Readonly<Record<string, number>>
  readonly keys: { readonly count: number; readonly zipf: number }
  readonly perS: number
  readonly shiftFactor: number
}

export const freshnessSetting: FreshnessSetting = { name: 'freshness', hazardsPerS: { slow: 0.0005, middle: 0.005, fast: 0.05 }, keys: { count: 60, zipf: 1 }, perS: 25, shiftFactor: 5 }

/** Not looked at while the first TTL and the aim were chosen. */
export const heldOutFreshness: FreshnessSetting = { name: 'held-out freshness', hazardsPerS: { rare: 0.0002, daily: 0.002, hourly: 0.015, brisk: 0.03 }, keys: { count: 120, zipf: 0.8 }, perS: 60, shiftFactor: 3 }

/** The default class's start target beside the llm server's own: who starts in time there. */
export const llmStartSetting: Setting = { ...llmSetting, name: 'llm with a start target', classes: STREAM.map((one) => ({ ...one, startMs: one.startMs ?? 500 })) }
