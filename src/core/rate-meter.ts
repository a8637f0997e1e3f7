/** Events per second over the recent past, by exponential decay: two numbers, whatever the rate. */
import type { Clock } from './clock.ts'

/** Long enough to bridge slow calls, short enough to follow a change of load. */
const TAU_MS = 10_000

export class RateMeter {
  readonly #clock: Clock
  #weight = 0
  #atMs: number
  #startMs: number | undefined

  constructor(clock: Clock) {
    this.#clock = clock
    this.#atMs = clock.monoMs()
  }

  mark(count: number): void {
    const now = this.#clock.monoMs()
    this.#startMs ??= this.#atMs
    this.#weight = this.#weight * Math.exp((this.#atMs - now) / TAU_MS) + count
    this.#atMs = now
  }

  /** Undefined before the first event. Corrected for a window that has not filled yet. */
  perSecond(): number | undefined {
    if (this.#startMs === undefined) return undefined
    const now = this.#clock.monoMs()
    const filled = 1 - Math.exp((this.#startMs - now) / TAU_MS)
    const weight = this.#weight * Math.exp((this.#atMs - now) / TAU_MS)
    return (weight * 1_000) / (TAU_MS * Math.max(filled, 0.01))
  }
}
