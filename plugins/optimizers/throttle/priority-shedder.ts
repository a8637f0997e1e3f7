/**
 * When calls start late although those that could not start in time were turned away, the estimate is off: then a PI
 * controller sets the share of arrivals to turn away, least urgent first (the priority quantile of recent arrivals, as in
 * Uber's Cinnamon and WeChat's DAGOR).
 */
import type { Clock } from '../../../src/index.ts'

const PROPORTIONAL = 0.4
const INTEGRAL = 0.1
/** The integral is clamped with the rate: what was wound up under overload does not outlive it. */
const MAX_RATE = 0.9
/** Starts that close a window. */
const WINDOW = 20
const RECENT_ARRIVALS = 1_000
/** Of a class that would be shed whole, this share is let in. */
const FLOOR = 0.05

export class PriorityShedder {
  readonly #random: Clock['random']
  readonly #recent = new Float64Array(RECENT_ARRIVALS)
  readonly #counts = new Map<number, number>() // capped by RECENT_ARRIVALS
  #arrivals = 0
  #late = 0
  #started = 0
  #tolerated = 0
  #integral = 0
  rate = 0

  constructor(random: Clock['random']) {
    this.#random = random
  }

  arrived(priority: number): void {
    const slot = this.#arrivals % RECENT_ARRIVALS
    if (this.#arrivals >= RECENT_ARRIVALS) {
      const old = this.#recent[slot] as number
      const left = (this.#counts.get(old) ?? 1) - 1
      if (left === 0) this.#counts.delete(old)
      else this.#counts.set(old, left)
    }
    this.#recent[slot] = priority
    this.#counts.set(priority, (this.#counts.get(priority) ?? 0) + 1)
    this.#arrivals++
  }

  /** A call started or was given up; `tolerated`: share of its class that may be late. */
  started(late: boolean, tolerated: number): void {
    this.#started++
    this.#tolerated += tolerated
    if (late) this.#late++
    if (this.#started < WINDOW) return
    // Aim at half of what is tolerated: the other half is for what happens after the start.
    const error = (this.#late - this.#tolerated / 2) / this.#started
    this.#integral = Math.min(MAX_RATE, Math.max(0, this.#integral + INTEGRAL * error))
    this.rate = Math.min(MAX_RATE, Math.max(0, this.#integral + PROPORTIONAL * Math.max(0, error)))
    this.#started = 0
    this.#late = 0
    this.#tolerated = 0
  }

  /** Nobody waits and there is room: whatever it was, it is over. */
  calm(): void {
    if (this.rate === 0 && this.#started === 0) return
    this.rate = 0
    this.#integral = 0
    this.#started = 0
    this.#late = 0
    this.#tolerated = 0
  }

  turnsAway(priority: number): boolean {
    if (this.rate <= 0) return false
    const total = Math.min(this.#arrivals, RECENT_ARRIVALS)
    let lessUrgent = 0
    for (const [other, count] of this.#counts) if (other > priority) lessUrgent += count
    const same = this.#counts.get(priority) ?? 1
    const quota = this.rate * total - lessUrgent
    if (quota <= 0) return false
    return this.#random() < Math.min(1 - FLOOR, quota / same)
  }
}
