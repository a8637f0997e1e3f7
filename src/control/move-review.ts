/** Did a move help? SLO attainment per offered call before against after, at comparable load. */
import type { Reading } from '../signals/signal-spec.ts'
import type { DecisionOutcome } from './decision-log.ts'

export interface LoadSnapshot {
  /** Share of offered calls that met their SLO, 0-1; undefined when none settled. */
  readonly attainment: number | undefined
  readonly samples: number
  /** Offered calls per second. */
  readonly offeredPerS: number
}

/** Fewer settled calls than this say nothing. */
export const MIN_REVIEW_SAMPLES = 50
/** One in a hundred harmless moves may be taken back by chance. */
const WORSE_Z = -2.33
/** Loads further apart than this are not compared. */
const COMPARABLE_LOAD = 0.25

export function snapshotOf(attainment: Reading, offered: Reading): LoadSnapshot {
  return { attainment: attainment.value, samples: attainment.samples, offeredPerS: offered.value ?? 0 }
}

/** Two-proportion z test, pooled. */
export function reviewMove(before: LoadSnapshot, after: LoadSnapshot): Omit<DecisionOutcome, 'reverted'> {
  const comparableLoad = Math.abs(after.offeredPerS - before.offeredPerS) <= COMPARABLE_LOAD * Math.max(before.offeredPerS, 1e-9)
  const base = {
    attainmentBefore: before.attainment ?? Number.NaN,
    attainmentAfter: after.attainment ?? Number.NaN,
    samplesBefore: before.samples,
    samplesAfter: after.samples,
    comparableLoad,
  }
  if (before.attainment === undefined || after.attainment === undefined || before.samples < MIN_REVIEW_SAMPLES || after.samples < MIN_REVIEW_SAMPLES) {
    return { ...base, verdict: 'unknown' }
  }
  const pooled = (before.attainment * before.samples + after.attainment * after.samples) / (before.samples + after.samples)
  const deviation = Math.sqrt(pooled * (1 - pooled) * (1 / before.samples + 1 / after.samples))
  const z = deviation === 0 ? 0 : (after.attainment - before.attainment) / deviation
  return { ...base, verdict: z <= WORSE_Z ? 'worse' : z >= -WORSE_Z ? 'better' : 'same' }
}
