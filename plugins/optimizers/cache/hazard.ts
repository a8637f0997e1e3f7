/**
 * How often answers change, from pairs (age, changed or not): with a constant hazard μ an answer of age a has changed with
 * probability 1 − (1 − δ)e^{−μa}, δ being disagreement at age 0 (two draws of one question differ though nothing changed).
 */

/** Observations of (about) one age: how many, and how many of them had changed. */
export interface ChangeGroup {
  readonly ageS: number
  readonly count: number
  readonly changed: number
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
const ITERATIONS = 40

/** Upper limit of a Poisson mean after `count` events (Wilson and Hilferty's approximation of χ²), which holds for small counts where μ̂(1 + z/√X) does not. */
function upperCount(count: number): number {
  const n = count + 1
  return n * (1 - 1 / (9 * n) + Z / (3 * Math.sqrt(n))) ** 3
}

function lowerCount(count: number): number {
  return count <= 0 ? 0 : Math.max(0, count * (1 - 1 / (9 * count) - Z / (3 * Math.sqrt(count))) ** 3)
}

export function estimateHazard(groups: readonly ChangeGroup[], noise = 0): HazardEstimate | undefined {
  const usable = groups.filter(({ ageS, count }) => ageS > 0 && count > 0 && Number.isFinite(ageS))
  if (usable.length === 0) return undefined
  const total = usable.reduce((sum, { ageS, count }) => sum + ageS * count, 0)
  const withChanges = usable.filter(({ changed }) => changed > 0)
  const changes = withChanges.reduce((sum, { changed }) => sum + changed, 0)
  if (changes === 0) return { perS: 0, upperPerS: NO_CHANGE / total, lowerPerS: 0, changes: 0 }
  const kept = 1 - noise
  const unchangedS = usable.reduce((sum, { ageS, count, changed }) => sum + ageS * (count - changed), 0)
  /** Derivative of the log likelihood: falls from +∞ to −Σ(ages of the unchanged). */
  const slope = (mu: number): number =>
    withChanges.reduce((sum, { ageS, changed }) => {
      const still = kept * Math.exp(-mu * ageS)
      return sum + (changed * ageS * still) / Math.max(1e-12, 1 - still)
    }, -unchangedS)
  const youngest = usable.reduce((least, { ageS }) => Math.min(least, ageS), Number.POSITIVE_INFINITY)
  let low = 1e-6 / total
  let high = 5 / youngest
  // All changed: anything fast fits. Most likely it had changed already within the youngest age.
  if (slope(high) > 0) return { perS: high, upperPerS: high, lowerPerS: high / 5, changes }
  if (slope(low) < 0) return { perS: 0, upperPerS: NO_CHANGE / total, lowerPerS: 0, changes }
  for (let i = 0; i < ITERATIONS; i++) {
    const middle = Math.sqrt(low * high)
    if (slope(middle) > 0) low = middle
    else high = middle
  }
  const perS = Math.sqrt(low * high)
  // Ages far above 1/μ say nothing: what counts is the Fisher information of ln μ, which for short ages is the number of changes.
  const information = usable.reduce((sum, { ageS, count }) => {
    const x = perS * ageS
    const still = kept * Math.exp(-x)
    return sum + (count * x * x * still) / Math.max(1e-12, 1 - still)
  }, 0)
  const effective = Math.max(1e-3, information)
  return { perS, upperPerS: (perS * upperCount(effective)) / effective, lowerPerS: (perS * lowerCount(effective)) / effective, changes }
}

/** How likely a count this far out is (or further, on its side) where `expected` events were to be expected (Poisson). */
export function surprise(count: number, expected: number): number {
  let term = Math.exp(-expected)
  let below = 0
  for (let k = 0; k < count; k++) {
    below += term
    term *= expected / (k + 1)
  }
  return count > expected ? Math.max(0, 1 - below) : Math.min(1, below + term)
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
