/**
 * When those who are turned away are to come back: one after another, at a share of what the backend can take. Told the same
 * time, or the time that the queue needs, they would all be back before there is room for them, and be turned away again.
 * Each tenant has a line of its own, so that a flood only puts off itself.
 */
import type { Clock } from '../../../src/index.ts'

/** Part of the capacity that is reckoned to those who come back, over all lines; the rest is for those who come first. */
const RETURN_SHARE = 0.35
/** Official SDKs ignore a `retry-after` of a minute or more, and come back within seconds. */
const MOST_MS = 59_000
/** Nobody is exactly in time: up to this share later. */
const SPREAD = 0.2
const LEAST_MS = 50
/** Lines beyond this many share one. */
const MAX_LINES = 256
const OTHERS = '_others'

export class ReturnTimes {
  readonly #random: Clock['random']
  /** When the last one of a line is to come back. Those in use, oldest first; capped by MAX_LINES. */
  readonly #lines = new Map<string, number>()

  constructor(random: Clock['random']) {
    this.#random = random
  }

  /** `retry-after` of the next one of a line, ms, not before `waitMs`. `everyMs`: how often a call starts at full load. */
  next(line: string, waitMs: number, everyMs: number, nowMs: number): number {
    for (const [name, lastMs] of this.#lines) {
      if (lastMs > nowMs) break
      this.#lines.delete(name)
    }
    const key = this.#lines.has(line) || this.#lines.size < MAX_LINES ? line : OTHERS
    const others = this.#lines.size - (this.#lines.has(key) ? 1 : 0)
    const inLineMs = Math.max(this.#lines.get(key) ?? 0, nowMs + waitMs) + (everyMs * (others + 1)) / RETURN_SHARE - nowMs
    const mostMs = MOST_MS / (1 + SPREAD)
    this.#lines.set(key, nowMs + Math.min(mostMs, inLineMs))
    // The line is longer than anybody waits: then all times until there are as good.
    const afterMs = inLineMs <= mostMs ? inLineMs : Math.min(MOST_MS, waitMs) + (mostMs - Math.min(mostMs, waitMs)) * this.#random()
    return Math.ceil(Math.max(LEAST_MS, afterMs * (1 + SPREAD * this.#random())))
  }
}
