/**
 * One budget of a hosted provider as the provider keeps it: a bucket that refills continuously at the rate of its limit. Ours
 * is a lower bound of theirs. What their headers say is taken at its word, less everything sent since the call they came with:
 * that may or may not be in their count. Before they said anything, and once they have turned away what by their own count
 * should have passed (they count by windows, or others share the quota), burst and rate together stay within the limit in any
 * minute.
 */

const MINUTE_MS = 60_000
/** Part of a minute's limit that may go at once while the provider's bucket has not been seen; the rest is the rate. */
const UNSEEN_BURST = 0.1
/** How long a provider that broke its word is not taken at it. */
const DISTRUST_MS = 10 * MINUTE_MS

export interface Charge {
  /** All that was ever charged, up to and with this charge: tells which came later. */
  readonly upTo: number
  amount: number
}

export interface BudgetTruth {
  readonly limit?: number | undefined
  readonly remaining?: number | undefined
}

/** Invariants: the level never exceeds the capacity; without a limit everything is free. */
export class TokenBucket {
  readonly #configured: number
  #limit: number
  /** The limit in force was not stated by anybody: the most that was ever said to remain. */
  #guessed = false
  #capacity: number
  #level: number
  #perMs: number
  #atMs = Number.NEGATIVE_INFINITY
  #charged = 0
  /** The provider's word covers charges up to here; -1: it has not spoken. */
  #toldUpTo = -1
  /** What was charged when the limit in force was first heard of. */
  #limitSince = 0
  #distrustUntilMs = Number.NEGATIVE_INFINITY

  constructor(perMinute: number | undefined) {
    this.#configured = this.#limit = perMinute ?? Number.POSITIVE_INFINITY
    this.#capacity = this.#level = UNSEEN_BURST * this.#limit
    this.#perMs = ((1 - UNSEEN_BURST) * this.#limit) / MINUTE_MS
  }

  /** Infinity while neither configured nor said by the provider. */
  get limit(): number {
    return this.#limit
  }

  /** The most that it holds, as far as known. */
  get capacity(): number {
    return this.#capacity
  }

  /** May be below 0: what was used beyond its reservation, or sent after the news. */
  level(nowMs: number): number {
    if (this.#limit === Number.POSITIVE_INFINITY) return this.#limit
    if (nowMs > this.#atMs) {
      if (this.#atMs !== Number.NEGATIVE_INFINITY) this.#level = Math.min(this.#capacity, this.#level + this.#perMs * (nowMs - this.#atMs))
      this.#atMs = nowMs
    }
    return this.#level
  }

  charge(amount: number, nowMs: number): Charge {
    this.#level = this.level(nowMs) - amount
    this.#charged += amount
    return { upTo: this.#charged, amount }
  }

  /** The true amount of an earlier charge is known. */
  correct(charge: Charge, amount: number, nowMs: number): void {
    const back = charge.amount - amount
    charge.amount = amount
    // What the provider has said since then may have this refund in it already.
    if (back > 0 && charge.upTo <= this.#toldUpTo && nowMs >= this.#distrustUntilMs) return
    this.#level = Math.min(this.#capacity, this.level(nowMs) + back)
  }

  /** Time until `amount` is there, `ahead` having gone before it, ms. More than the bucket holds: until it is full. */
  waitMs(amount: number, nowMs: number, ahead = 0): number {
    if (this.#limit === Number.POSITIVE_INFINITY) return 0
    const lacking = Math.min(amount, this.#capacity) + ahead - this.level(nowMs)
    return lacking <= 0 ? 0 : Math.max(1, lacking / this.#perMs)
  }

  /** The provider's own count, which came with the reply to the call of `charge`. News older than what is known is left. */
  reconcile(truth: BudgetTruth, charge: Charge, nowMs: number): void {
    if (charge.upTo < this.#toldUpTo) return
    const stated = sound(truth.limit) && truth.limit > 0 ? Math.floor(truth.limit) : undefined
    const remaining = sound(truth.remaining) ? Math.floor(truth.remaining) : undefined
    if (stated === undefined && remaining === undefined) return
    this.level(nowMs)
    this.#atMs = nowMs
    const before = this.#limit
    if (stated !== undefined) {
      this.#limit = Math.min(this.#configured, stated)
      this.#guessed = false
    } else if (before === Number.POSITIVE_INFINITY || this.#guessed) {
      this.#guessed = true
      this.#limit = Math.max(before === Number.POSITIVE_INFINITY ? 0 : before, remaining as number)
    }
    if (this.#limit !== before) this.#limitSince = this.#charged
    if (before === Number.POSITIVE_INFINITY) this.#capacity = this.#level = UNSEEN_BURST * this.#limit
    // A quota that is cut holds less as well.
    else if (this.#limit < before) this.#capacity *= this.#limit / before
    if (remaining !== undefined) this.#told(Math.min(remaining, this.#limit), charge, nowMs)
    this.#pace(nowMs)
  }

  /** A call was turned away for want of budget. */
  refused(charge: Charge, nowMs: number): void {
    // Sent before the latest limit was heard of: no wonder. Without a word from the provider there was none to break.
    if (this.#toldUpTo < 0 || charge.upTo <= this.#limitSince) return
    this.level(nowMs)
    this.#distrustUntilMs = nowMs + DISTRUST_MS
    this.#pace(nowMs)
  }

  #told(remaining: number, charge: Charge, nowMs: number): void {
    const left = remaining - (this.#charged - charge.upTo)
    if (nowMs < this.#distrustUntilMs) this.#level = Math.min(this.#level, left)
    else {
      this.#capacity = Math.max(this.#toldUpTo < 0 ? 0 : this.#capacity, remaining)
      this.#level = left
    }
    this.#toldUpTo = charge.upTo
  }

  #pace(nowMs: number): void {
    const careful = this.#toldUpTo < 0 || nowMs < this.#distrustUntilMs
    this.#perMs = ((careful ? 1 - UNSEEN_BURST : 1) * this.#limit) / MINUTE_MS
    if (careful) this.#capacity = UNSEEN_BURST * this.#limit
    this.#level = Math.min(this.#level, this.#capacity)
  }
}

const sound = (value: number | undefined): value is number => value !== undefined && Number.isFinite(value) && value >= 0
