/**
 * How often answers change, from pairs (age, changed or not): with a constant hazard μ an answer of age a has changed with
 * probability 1 − (1 − δ)e^{−μa}, δ being disagreement at age 0 (two draws of one question differ though nothing changed).
 */

export interface ChangeSample {
  readonly ageS: number
  readonly changed: boolean
}

export interface HazardEstimate {
  /** Changes per second, maximum likelihood. */
  readonly perS: number
  /** One-sided 90% upper bound; positive even when nothing has ever changed. */
  readonly upperPerS: number
  readonly lowerPerS: number
  readonly changes: number
}

/** One-sided 90%. */
const Z = 1.28
/** −ln 0.1: the bound when no change was seen. */
const NO_CHANGE = 2.303
const ITERATIONS = 60

/** Upper limit of a Poisson mean after `count` events (Wilson and Hilferty's approximation of χ²), which holds for small counts where μ̂(1 + z/√X) does not. */
function upperCount(count: number): number {
  const n = count + 1
  return n * (1 - 1 / (9 * n) + Z / (3 * Math.sqrt(n))) ** 3
}

function lowerCount(count: number): number {
  return count <= 0 ? 0 : Math.max(0, count * (1 - 1 / (9 * count) - Z / (3 * Math.sqrt(count))) ** 3)
}

export function estimateHazard(samples: readonly ChangeSample[], noise = 0): HazardEstimate | undefined {
  const usable = samples.filter(({ ageS }) => ageS > 0 && Number.isFinite(ageS))
  if (usable.length === 0) return undefined
  const total = usable.reduce((sum, { ageS }) => sum + ageS, 0)
  const changes = usable.filter(({ changed }) => changed).length
  if (changes === 0) return { perS: 0, upperPerS: NO_CHANGE / total, lowerPerS: 0, changes: 0 }
  const kept = 1 - noise
  /** Derivative of the log likelihood: falls from +∞ to −Σ(ages of the unchanged). */
  const slope = (mu: number): number =>
    usable.reduce((sum, { ageS, changed }) => {
      if (!changed) return sum - ageS
      const still = kept * Math.exp(-mu * ageS)
      return sum + (ageS * still) / Math.max(1e-12, 1 - still)
    }, 0)
  const youngest = usable.reduce((least, { ageS }) => Math.min(least, ageS), Number.POSITIVE_INFINITY)
  // All changed: anything fast fits. The bound says: already within the youngest age, most likely.
  let low = 1e-6 / total
  let high = 5 / youngest
  if (slope(high) > 0) return { perS: high, upperPerS: high, lowerPerS: high / 5, changes }
  if (slope(low) < 0) return { perS: 0, upperPerS: NO_CHANGE / total, lowerPerS: 0, changes }
  for (let i = 0; i < ITERATIONS; i++) {
    const middle = Math.sqrt(low * high)
    if (slope(middle) > 0) low = middle
    else high = middle
  }
  const perS = Math.sqrt(low * high)
  // Ages far above 1/μ say nothing: what counts is the Fisher information of ln μ, which for short ages is the number of changes.
  const information = usable.reduce((sum, { ageS }) => {
    const x = perS * ageS
    const still = kept * Math.exp(-x)
    return sum + (x * x * still) / Math.max(1e-12, 1 - still)
  }, 0)
  const effective = Math.max(1e-3, information)
  return { perS, upperPerS: (perS * upperCount(effective)) / effective, lowerPerS: (perS * lowerCount(effective)) / effective, changes }
}

/** Share of hits that are stale when an answer is served until `ttlS` and hits come at any age alike. */
export function staleShare(perS: number, ttlS: number): number {
  const x = perS * ttlS
  return x < 1e-4 ? x / 2 : 1 - (1 - Math.exp(-x)) / x
}

/** The longest TTL whose stale share stays within `budget`: about 2·budget/μ. */
export function longestTtlS(perS: number, budget: number): number {
  if (!(perS > 0)) return Number.POSITIVE_INFINITY
  let low = 0
  let high = 10 / perS
  for (let i = 0; i < ITERATIONS; i++) {
    const middle = (low + high) / 2
    if (staleShare(perS, middle) <= budget) low = middle
    else high = middle
  }
  return low
}
