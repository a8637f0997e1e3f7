/** Instruments on the OpenTelemetry API. A library uses the API only: without an SDK all of this is nearly free. */
import { createNoopMeter, metrics, type Attributes, type Meter, type ObservableResult } from '@opentelemetry/api'
import { OVERFLOW } from '../core/scope.ts'
import type { InstrumentSpec, LabelSpec } from './instrument-spec.ts'

export type Labels<L extends string> = { readonly [K in L]: string }

export interface CounterHandle<L extends string> {
  add(value: number, labels: Labels<L>): void
}
export interface HistogramHandle<L extends string> {
  record(value: number, labels: Labels<L>): void
}
export interface GaugeHandle<L extends string> {
  /** Called at each collection; report what is true now. */
  collect(fn: (report: (value: number, labels: Labels<L>) => void) => void): () => void
}

export interface InstrumentSet {
  counter<L extends string>(spec: InstrumentSpec<L>): CounterHandle<L>
  histogram<L extends string>(spec: InstrumentSpec<L>): HistogramHandle<L>
  gauge<L extends string>(spec: InstrumentSpec<L>): GaugeHandle<L>
  all(): readonly InstrumentSpec[]
}

/** Label sets kept per instrument. */
const MAX_LABEL_SETS = 4096

/** Keeps label values bounded and attribute objects few: the same labels give the same object. */
class LabelBook<L extends string> {
  readonly #names: readonly L[]
  readonly #specs: Readonly<Record<string, LabelSpec>>
  readonly #seen = new Map<string, Set<string>>()
  readonly #cache = new Map<string, Attributes>()

  constructor(spec: InstrumentSpec<L>) {
    this.#names = Object.keys(spec.labels) as L[]
    this.#specs = spec.labels
    for (const name of this.#names) this.#seen.set(name, new Set(this.#specs[name]?.values))
  }

  attributes(labels: Labels<L>): Attributes {
    let key = ''
    for (const name of this.#names) key += `${labels[name]}\u0000`
    const known = this.#cache.get(key)
    if (known) return known
    const attributes: Attributes = {}
    for (const name of this.#names) attributes[name] = this.#bounded(name, String(labels[name] ?? ''))
    // Bounded by the product of the labels' own caps; the guard is for callers with unbounded raw values.
    if (this.#cache.size < MAX_LABEL_SETS) this.#cache.set(key, attributes)
    return attributes
  }

  #bounded(name: string, value: string): string {
    const seen = this.#seen.get(name) as Set<string>
    if (seen.has(value)) return value
    const spec = this.#specs[name] as LabelSpec
    if (spec.values || seen.size >= spec.max) return OVERFLOW
    seen.add(value)
    return value
  }
}

/** Registers instruments once each by name; a second declaration under the same name is a TypeError. */
export function createInstruments(meter: Meter = metrics.getMeter('flyball')): InstrumentSet {
  const specs: InstrumentSpec[] = []
  const names = new Set<string>()
  function register<L extends string>(spec: InstrumentSpec<L>): { book: LabelBook<L>; options: { description: string; unit: string } } {
    if (names.has(spec.name)) throw new TypeError(`instrument ${spec.name} is declared twice`)
    names.add(spec.name)
    specs.push(spec as InstrumentSpec)
    return { book: new LabelBook(spec), options: { description: spec.doc, unit: spec.unit } }
  }
  const nothing = (): void => {}
  // Nobody listens, and nobody can later: a meter does not change its provider. Then not even labels are looked up.
  if (meter === createNoopMeter()) {
    return {
      counter: (spec) => (register(spec), { add: nothing }),
      histogram: (spec) => (register(spec), { record: nothing }),
      gauge: (spec) => (register(spec), { collect: () => nothing }),
      all: () => specs,
    }
  }
  return {
    counter(spec) {
      const { book, options } = register(spec)
      const counter = spec.kind === 'up_down_counter' ? meter.createUpDownCounter(spec.name, options) : meter.createCounter(spec.name, options)
      return { add: (value, labels) => counter.add(value, book.attributes(labels)) }
    },
    histogram(spec) {
      const { book, options } = register(spec)
      const histogram = meter.createHistogram(spec.name, { ...options, advice: { explicitBucketBoundaries: [...(spec.buckets ?? [])] } })
      return { record: (value, labels) => histogram.record(value, book.attributes(labels)) }
    },
    gauge(spec) {
      const { book, options } = register(spec)
      const gauge = meter.createObservableGauge(spec.name, options)
      return {
        collect(fn) {
          const ever = new Set<Attributes>()
          const callback = (result: ObservableResult): void => {
            const now = new Map<Attributes, number>()
            fn((value, labels) => now.set(book.attributes(labels), value))
            // The SDK repeats for ever what was observed once: what is no longer there has to be taken back, as NaN.
            for (const attributes of ever) if (!now.has(attributes)) result.observe(Number.NaN, attributes)
            for (const [attributes, value] of now) {
              result.observe(value, attributes)
              if (ever.size < MAX_LABEL_SETS) ever.add(attributes)
            }
          }
          gauge.addCallback(callback)
          return () => gauge.removeCallback(callback)
        },
      }
    },
    all: () => specs,
  }
}
