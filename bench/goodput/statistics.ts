/** Medians, intervals, ratios over paired seeds. */
import { quantile } from '../../src/index.ts'
import { seededRandom } from '../../src/sim/seeded-random.ts'

export interface Summary {
  readonly median: number
  readonly mean: number
  /** 95% interval of the mean, by bootstrap over seeds. */
  readonly low: number
  readonly high: number
  readonly seeds: number
}

const RESAMPLES = 1_000

export const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

export function summarise(values: readonly number[]): Summary {
  const random = seededRandom(11)
  const means = Array.from({ length: RESAMPLES }, () => mean(values.map(() => values[Math.floor(random() * values.length)] as number)))
  return { median: median(values), mean: mean(values), low: quantile(means, 0.025), high: quantile(means, 0.975), seeds: values.length }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[half] as number) : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2
}

/** Wilson's upper 95% bound (one-sided) of a share. */
export function upperShare(hits: number, of: number): number {
  if (of === 0) return 1
  const z = 1.6449
  const p = hits / of
  return (p + (z * z) / (2 * of) + z * Math.sqrt((p * (1 - p)) / of + (z * z) / (4 * of * of))) / (1 + (z * z) / of)
}
