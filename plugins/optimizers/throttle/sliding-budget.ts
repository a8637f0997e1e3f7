/**
 * So much per minute, as a provider counts it. A sliding window rather than a bucket: whatever the provider has behind its
 * limit (a bucket that refills, or a window), no minute of ours ever holds more than the limit.
 */

const WINDOW_MS = 60_000
const SLOTS = 60
const SLOT_MS = WINDOW_MS / SLOTS

export interface Charge {
  readonly slot: number
  amount: number
}

/** Invariants: nothing is freed before a full minute has passed since it was charged; refunds never exceed what was charged. */
export class SlidingBudget {
  readonly #configured: number
  #limit: number
  /** One more than a minute: a slot counts until its last charge is a minute old. */
  readonly #slots = new Float64Array(SLOTS + 1)
  #slot: number | undefined
  #sum = 0
  #counted = true
  /** What the provider says is gone and we do not know of. */
  #unseen = 0
  #unseenUntilMs = 0
  #guessed = false
  #truthFromMs = Number.NEGATIVE_INFINITY

  constructor(perMinute: number | undefined) {
    this.#configured = perMinute ?? Number.POSITIVE_INFINITY
    this.#limit = this.#configured
  }

  /** Infinity while neither configured nor said by the provider. */
  get limit(): number {
    return this.#limit
  }

  charge(amount: number, nowMs: number): Charge {
    this.#roll(nowMs)
    const slot = this.#slot as number
    this.#add(slot, amount)
    return { slot, amount }
  }

  /** The true amount of an earlier charge is known. */
  correct(charge: Charge, amount: number, nowMs: number): void {
    this.#roll(nowMs)
    const difference = amount - charge.amount
    charge.amount = amount
    // More than was reserved counts from now: when the provider counted it is not known. Less is given back where it was taken.
    if (difference > 0) this.#add(this.#slot as number, difference)
    else if ((this.#slot as number) - charge.slot <= SLOTS) this.#add(charge.slot, difference)
  }

  available(nowMs: number): number {
    // The usual case costs nothing: no limit is configured, and none was named by the provider.
    if (this.#limit === Number.POSITIVE_INFINITY) return this.#limit
    this.#roll(nowMs)
    return Math.max(0, this.#limit - this.#used - (nowMs < this.#unseenUntilMs ? this.#unseen : 0))
  }

  /** Time until `amount` is free, ms. More than the whole limit: until nothing is used. */
  waitMs(amount: number, nowMs: number): number {
    const wanted = Math.min(amount, this.#limit)
    if (this.available(nowMs) >= wanted) return 0
    let free = this.#limit - this.#used
    const unseen = nowMs < this.#unseenUntilMs ? this.#unseen : 0
    if (free >= wanted) return this.#unseenUntilMs - nowMs
    const newest = this.#slot as number
    for (let slot = newest - SLOTS; slot <= newest; slot++) {
      if (slot < 0) continue
      free += this.#slots[slot % this.#slots.length] as number
      const atMs = (slot + SLOTS + 1) * SLOT_MS
      const stillUnseen = atMs < this.#unseenUntilMs ? unseen : 0
      if (free - stillUnseen >= wanted) return Math.max(1, atMs - nowMs)
    }
    return Math.max(1, this.#unseenUntilMs - nowMs)
  }

  /**
   * The provider's own count, which came with the reply to a call sent at `sentMs`. It lowers what we think is left, never
   * raises it; calls sent later than that are not in it for certain, so they are taken off as well.
   */
  reconcile(truth: { limit?: number | undefined; remaining?: number | undefined; resetMs?: number | undefined }, sentMs: number, nowMs: number): void {
    if (sentMs < this.#truthFromMs) return
    this.#truthFromMs = sentMs
    if (truth.limit !== undefined && Number.isFinite(truth.limit) && truth.limit > 0) this.#limit = Math.min(this.#configured, Math.floor(truth.limit))
    if (truth.remaining === undefined || !Number.isFinite(truth.remaining) || truth.remaining < 0) return
    this.#roll(nowMs)
    // A provider that says what is left but not of how much: at least what we used and what is left.
    if (this.#limit === Number.POSITIVE_INFINITY || this.#guessed) {
      this.#guessed = truth.limit === undefined
      if (this.#guessed) this.#limit = Math.max(this.#limit === Number.POSITIVE_INFINITY ? 0 : this.#limit, Math.floor(truth.remaining))
    }
    const sentAfter = this.#chargedAfter(sentMs)
    const left = Math.max(0, Math.floor(truth.remaining) - sentAfter)
    this.#unseen = Math.max(0, this.#limit - this.#used - left)
    const resetMs = truth.resetMs !== undefined && Number.isFinite(truth.resetMs) && truth.resetMs >= 0 ? Math.min(truth.resetMs, WINDOW_MS) : WINDOW_MS
    this.#unseenUntilMs = nowMs + resetMs
  }

  /** Charged in slots after the one that `sentMs` falls in. */
  #chargedAfter(sentMs: number): number {
    const from = Math.floor(sentMs / SLOT_MS) + 1
    let sum = 0
    for (let slot = Math.max(from, (this.#slot as number) - SLOTS); slot <= (this.#slot as number); slot++) sum += this.#slots[slot % this.#slots.length] as number
    return sum
  }

  #add(slot: number, amount: number): void {
    const index = slot % this.#slots.length
    this.#slots[index] = Math.max(0, (this.#slots[index] as number) + amount)
    this.#counted = false
  }

  /** Summed afresh, when somebody asks: adding and taking away fractions for days would drift. */
  get #used(): number {
    if (this.#counted) return this.#sum
    let sum = 0
    for (const amount of this.#slots) sum += amount
    this.#sum = sum
    this.#counted = true
    return sum
  }

  #roll(nowMs: number): void {
    const slot = Math.floor(nowMs / SLOT_MS)
    if (this.#slot === undefined) this.#slot = slot
    if (slot <= this.#slot) return
    const from = Math.max(this.#slot + 1, slot - SLOTS)
    for (let fresh = from; fresh <= slot; fresh++) this.#slots[fresh % this.#slots.length] = 0
    this.#slot = slot
    this.#counted = false
  }
}
