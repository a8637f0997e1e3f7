/** One instance of a signal: a bounded ring of samples. Invariant: at most `capacity` samples, oldest overwritten. */
import type { Scope } from '../core/scope.ts'
import type { Aggregate, Reading, Sample, SignalSpec } from './signal-spec.ts'

export interface SignalWriter {
  /** A measurement. NaN and infinities are dropped. `x`: what it was measured at. */
  push(y: number, x?: number): void
  /** Somebody asked for something that this signal will tell about: from now on silence is stale, not idle. */
  demand(): void
  /** The sensor itself failed (a scrape): stale until it measures again. */
  fail(): void
}

export interface ReadOptions {
  aggregate?: Aggregate
  quantile?: number
  /** Only samples with a sequence number above this go into `points`. */
  since?: number
  points?: boolean
  windowMs?: number
}

export class SignalWindow implements SignalWriter {
  readonly spec: SignalSpec
  readonly scope: Scope
  readonly key: string
  readonly #now: () => number
  readonly #at: Float64Array
  readonly #y: Float64Array
  readonly #x: Float64Array
  #failed = false
  #demandSinceMs = Number.POSITIVE_INFINITY
  /** Samples ever pushed: the sequence number of the next one. */
  count = 0

  constructor(spec: SignalSpec, scope: Scope, key: string, now: () => number) {
    this.spec = spec
    this.scope = scope
    this.key = key
    this.#now = now
    this.#at = new Float64Array(spec.capacity)
    this.#y = new Float64Array(spec.capacity)
    this.#x = new Float64Array(spec.capacity)
  }

  push(y: number, x = 0): void {
    if (!Number.isFinite(y) || !Number.isFinite(x)) return
    const slot = this.count % this.spec.capacity
    this.#at[slot] = this.#now()
    this.#y[slot] = y
    this.#x[slot] = x
    this.count++
    this.#failed = false
    this.#demandSinceMs = Number.POSITIVE_INFINITY
  }

  demand(): void {
    const now = this.#now()
    if (this.#demandSinceMs === Number.POSITIVE_INFINITY) this.#demandSinceMs = now
  }

  fail(): void {
    this.#failed = true
  }

  read(options: ReadOptions = {}): Reading {
    const now = this.#now()
    const aggregate = options.aggregate ?? this.spec.aggregate
    const windowMs = options.windowMs ?? this.spec.windowMs
    const first = Math.max(0, this.count - this.spec.capacity)
    const values: number[] = []
    for (let i = this.count - 1; i >= first; i--) {
      const slot = i % this.spec.capacity
      if (now - (this.#at[slot] as number) > windowMs && aggregate !== 'last') break
      values.push(this.#y[slot] as number)
      if (aggregate === 'last') break
    }
    const lastMs = this.count === 0 ? Number.NEGATIVE_INFINITY : (this.#at[(this.count - 1) % this.spec.capacity] as number)
    const ageMs = now - lastMs
    const waitingMs = now - this.#demandSinceMs
    const status = this.#failed || waitingMs > this.spec.staleAfterMs ? 'stale' : values.length > 0 && ageMs <= windowMs ? 'fresh' : 'idle'
    // A ring that does not reach back over the whole window knows the rate of the part that it has.
    const reachMs = values.length === this.spec.capacity && this.count > this.spec.capacity ? Math.max(1, now - (this.#at[first % this.spec.capacity] as number)) : windowMs
    const value = aggregateOf(values, aggregate, options.quantile ?? this.spec.quantile, reachMs)
    return {
      status,
      ...(value === undefined ? {} : { value }),
      samples: values.length,
      ageMs,
      ...(options.points ? { points: this.#points(Math.max(first, options.since ?? 0)) } : {}),
    }
  }

  #points(from: number): Sample[] {
    const points: Sample[] = []
    for (let i = from; i < this.count; i++) {
      const slot = i % this.spec.capacity
      points.push({ atMs: this.#at[slot] as number, y: this.#y[slot] as number, x: this.#x[slot] as number })
    }
    return points
  }
}

/** `values` newest first. */
function aggregateOf(values: number[], aggregate: Aggregate, q: number, windowMs: number): number | undefined {
  if (values.length === 0) return aggregate === 'rate' || aggregate === 'sum' ? 0 : undefined
  switch (aggregate) {
    case 'last':
      return values[0]
    case 'max':
      return values.reduce((a, b) => Math.max(a, b))
    case 'sum':
      return values.reduce((a, b) => a + b, 0)
    case 'mean':
      return values.reduce((a, b) => a + b, 0) / values.length
    case 'rate':
      return (values.reduce((a, b) => a + b, 0) * 1000) / windowMs
    case 'quantile':
      return quantile(values, q)
  }
}

/** Nearest-rank quantile. Empty: NaN. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) return Number.NaN
  return select(Float64Array.from(values), Math.min(values.length - 1, Math.max(0, Math.ceil(q * values.length) - 1)))
}

/** The k-th smallest, from 0 (Hoare's selection): several times cheaper than sorting them all. Reorders `list`. */
function select(list: Float64Array, k: number): number {
  let low = 0
  let high = list.length - 1
  while (low < high) {
    const pivot = list[(low + high) >> 1] as number
    let i = low
    let j = high
    while (i <= j) {
      while ((list[i] as number) < pivot) i++
      while ((list[j] as number) > pivot) j--
      if (i > j) break
      const swapped = list[i] as number
      list[i++] = list[j] as number
      list[j--] = swapped
    }
    if (k <= j) high = j
    else if (k >= i) low = i
    else break
  }
  return list[k] as number
}
