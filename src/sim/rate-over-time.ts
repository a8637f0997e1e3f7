/** A rate that changes at moments: its sum between two moments, and the most that it was. */

export interface Change {
  readonly atMs: number
  readonly perMs: number
}

const SHORTEST_MS = 1e-3

/** So much, evenly spread from one moment to another. */
export function evenly(fromMs: number, toMs: number, amount: number): Change[] {
  const spanMs = Math.max(SHORTEST_MS, toMs - fromMs)
  return [{ atMs: fromMs, perMs: amount / spanMs }, { atMs: fromMs + spanMs, perMs: -amount / spanMs }]
}

export class RateOverTime {
  readonly #atMs: number[] = []
  /** From that moment on. */
  readonly #rates: number[] = []
  /** Up to that moment. */
  readonly #sums: number[] = []

  constructor(changes: readonly Change[]) {
    let rate = 0
    let sum = 0
    let beforeMs = 0
    for (const { atMs, perMs } of [...changes].sort((a, b) => a.atMs - b.atMs || a.perMs - b.perMs)) {
      sum += rate * (this.#atMs.length === 0 ? 0 : atMs - beforeMs)
      rate += perMs
      beforeMs = atMs
      this.#atMs.push(atMs)
      this.#rates.push(rate)
      this.#sums.push(sum)
    }
  }

  total(fromMs: number, toMs: number): number {
    return this.#sumUntil(toMs) - this.#sumUntil(fromMs)
  }

  most(fromMs: number, toMs: number): number {
    let most = 0
    for (let i = Math.max(0, this.#lastUntil(fromMs)); i < this.#atMs.length && (this.#atMs[i] as number) < toMs; i++) most = Math.max(most, this.#rates[i] as number)
    return most
  }

  #sumUntil(atMs: number): number {
    const i = this.#lastUntil(atMs)
    return i < 0 ? 0 : (this.#sums[i] as number) + (this.#rates[i] as number) * (atMs - (this.#atMs[i] as number))
  }

  /** Index of the last change at or before a moment; -1 before the first. */
  #lastUntil(atMs: number): number {
    let [low, high] = [0, this.#atMs.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#atMs[middle] as number) <= atMs) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}
