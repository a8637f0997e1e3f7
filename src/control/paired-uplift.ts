/** What an experiment's pairs of blocks say: mean difference with a confidence interval. */

export interface Interval {
  readonly mean: number
  readonly low: number
  readonly high: number
  readonly pairs: number
}

/** Fewer pairs than this give no interval worth showing. */
export const MIN_PAIRS = 4

/**
 * 95% interval of the mean of paired differences, in order of time. What one block leaves behind in the next shows as
 * correlation of neighbouring differences, so the variance is Newey-West's with one lag (never below the plain one), and
 * the quantile is Student's.
 */
export function pairedInterval(differences: readonly number[]): Interval | undefined {
  const n = differences.length
  if (n < MIN_PAIRS) return undefined
  const mean = differences.reduce((a, b) => a + b, 0) / n
  const centred = differences.map((difference) => difference - mean)
  const gamma0 = centred.reduce((sum, c) => sum + c * c, 0) / (n - 1)
  let gamma1 = 0
  for (let i = 1; i < n; i++) gamma1 += (centred[i] as number) * (centred[i - 1] as number)
  gamma1 /= n - 1
  // Bartlett weight 1/2 at lag 1; negative correlation may not be used to look more certain.
  const variance = (gamma0 + Math.max(0, gamma1)) / n
  const half = student975(n - 1) * Math.sqrt(variance)
  return { mean, low: mean - half, high: mean + half, pairs: n }
}

/** Student's t at .975, by Cornish-Fisher from the normal quantile; exact to 1% from 3 degrees of freedom up. */
export function student975(degrees: number): number {
  const z = 1.959964
  const g1 = (z ** 3 + z) / 4
  const g2 = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96
  const g3 = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384
  return z + g1 / degrees + g2 / degrees ** 2 + g3 / degrees ** 3
}
