/**
 * Whether a class can afford one more answer past its TTL (instead of an error). The TTL spends the stale budget when every
 * hit is as old as can be; younger hits leave some over.
 */

/** Hits after which the count is halved: about the last few thousand matter. */
const HALVE_AT = 4_000

export class StaleAllowance {
  #hits = 0
  #expectedStale = 0

  /** Expected staleness of an answer of this age, with the hazard that the TTL stands for (T = 2ε/μ). */
  #stale(ageMs: number, ttlMs: number, budget: number): number {
    return ttlMs > 0 ? 1 - Math.exp((-2 * budget * ageMs) / ttlMs) : 1
  }

  served(ageMs: number, ttlMs: number, budget: number): void {
    this.#hits++
    this.#expectedStale += this.#stale(ageMs, ttlMs, budget)
    if (this.#hits < HALVE_AT) return
    this.#hits /= 2
    this.#expectedStale /= 2
  }

  allows(ageMs: number, ttlMs: number, budget: number): boolean {
    return (this.#expectedStale + this.#stale(ageMs, ttlMs, budget)) / (this.#hits + 1) <= budget
  }
}
