/** Quantiles of the last seconds in bounded memory: a log-spaced histogram per second, summed over the window. */

/** Upper bound of the first bucket, ms. */
const FIRST_MS = 0.1
/** Width of a bucket: quantiles are right to 5%. */
const GROWTH = 1.05
/** Reaches 16 minutes; what takes longer is counted in the last. */
const BUCKETS = 330
const LOG_GROWTH = Math.log(GROWTH)

export class LatencyWindow {
  readonly #seconds: Uint32Array[]
  readonly #total = new Uint32Array(BUCKETS)
  #at = 0
  #count = 0
  /** Added since the last `roll`. */
  #fresh = 0
  readonly #counts: number[]

  /** `windowS`: how many seconds a quantile covers. */
  constructor(windowS: number) {
    this.#seconds = Array.from({ length: windowS }, () => new Uint32Array(BUCKETS))
    this.#counts = Array.from({ length: windowS }, () => 0)
  }

  add(ms: number): void {
    const bucket = ms <= FIRST_MS ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / FIRST_MS) / LOG_GROWTH))
    const second = this.#seconds[this.#at] as Uint32Array
    second[bucket] = (second[bucket] as number) + 1
    this.#total[bucket] = (this.#total[bucket] as number) + 1
    this.#count++
    this.#fresh++
  }

  /** Begins the next second; the oldest leaves. */
  roll(): void {
    this.#counts[this.#at] = this.#fresh
    this.#fresh = 0
    this.#at = (this.#at + 1) % this.#seconds.length
    const leaving = this.#counts[this.#at] as number
    if (leaving === 0) return
    const second = this.#seconds[this.#at] as Uint32Array
    for (let i = 0; i < BUCKETS; i++) this.#total[i] = (this.#total[i] as number) - (second[i] as number)
    second.fill(0)
    this.#count -= leaving
    this.#counts[this.#at] = 0
  }

  get count(): number {
    return this.#count
  }

  /** Middle of the bucket that holds each quantile, ms; `qs` ascending. Empty window: nulls. */
  quantiles(qs: readonly number[]): (number | null)[] {
    if (this.#count === 0) return qs.map(() => null)
    const found: (number | null)[] = []
    let seen = 0
    let bucket = -1
    for (const q of qs) {
      const rank = Math.max(1, Math.ceil(q * this.#count))
      while (seen < rank && bucket < BUCKETS - 1) seen += this.#total[++bucket] as number
      found.push(bucket === 0 ? FIRST_MS : FIRST_MS * GROWTH ** (bucket - 0.5))
    }
    return found
  }
}
