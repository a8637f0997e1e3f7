/** What concurrency limiters have in common: a number, and a rule that changes it. No lane, no clock of their own. */

export interface LimitSample {
  /** Round trip of the backend, ms. */
  readonly rttMs: number
  /** In flight when the call was sent. */
  readonly inFlight: number
  /** It was turned away or timed out. */
  readonly dropped: boolean
  readonly nowMs: number
}

export interface Limiter {
  readonly limit: number
  update(sample: LimitSample): void
}

export const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value))
