/**
 * Histograms that are counted here and handed to the SDK's readers when they collect. The SDK sorts, serialises and looks up
 * the labels at each value, and a call records about ten; where the SDK is ours (`startTelemetry`), a value costs a few
 * additions instead. A host's own SDK gets them through its meter, one by one.
 */
import type { Attributes } from '@opentelemetry/api'
import type { InstrumentSpec } from './instrument-spec.ts'

/** One combination of labels, since `startMs`. */
export class HistogramCell {
  readonly attributes: Attributes
  readonly startMs: number
  /** One more than there are boundaries; a boundary belongs to the bucket below it. */
  readonly counts: number[]
  count = 0
  sum = 0
  min = Number.POSITIVE_INFINITY
  max = Number.NEGATIVE_INFINITY
  readonly #boundaries: readonly number[]

  constructor(attributes: Attributes, boundaries: readonly number[], startMs: number) {
    this.attributes = attributes
    this.startMs = startMs
    this.#boundaries = boundaries
    this.counts = Array.from({ length: boundaries.length + 1 }, () => 0)
  }

  /** As the SDK does, what is negative or not a number counts for nothing. */
  record(value: number): void {
    if (!(value >= 0)) return
    let bucket = 0
    while (bucket < this.#boundaries.length && value > (this.#boundaries[bucket] as number)) bucket++
    ;(this.counts[bucket] as number)++
    this.count++
    this.sum += value
    if (value < this.min) this.min = value
    if (value > this.max) this.max = value
  }
}

export class KeptHistogram {
  readonly spec: InstrumentSpec
  readonly boundaries: readonly number[]
  /** Capped by the label sets of the instrument. */
  readonly #cells = new Map<string, HistogramCell>()
  readonly #nowMs: () => number

  constructor(spec: InstrumentSpec, nowMs: () => number) {
    this.spec = spec
    this.boundaries = spec.buckets ?? []
    this.#nowMs = nowMs
  }

  /** To be remembered by who records: finding it is what recording would otherwise cost. */
  cell(attributes: Attributes): HistogramCell {
    const key = JSON.stringify(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)))
    let cell = this.#cells.get(key)
    if (!cell) this.#cells.set(key, (cell = new HistogramCell(attributes, this.boundaries, this.#nowMs())))
    return cell
  }

  cells(): Iterable<HistogramCell> {
    return this.#cells.values()
  }
}

/** All of a process: a governor that takes another's place after a reload goes on counting where that one was. */
export class KeptHistograms {
  readonly #byName = new Map<string, KeptHistogram>()
  readonly #nowMs: () => number

  /** Wall-clock ms, as the SDK stamps its own. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  histogram(spec: InstrumentSpec): KeptHistogram {
    let found = this.#byName.get(spec.name)
    if (!found) this.#byName.set(spec.name, (found = new KeptHistogram(spec, this.#nowMs)))
    return found
  }

  all(): Iterable<KeptHistogram> {
    return this.#byName.values()
  }
}
