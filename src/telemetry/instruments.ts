/** Instruments on the OpenTelemetry API. A library uses the API only: without an SDK all of this is nearly free. */
import { createNoopMeter, metrics, type Attributes, type Counter, type Meter, type Observable, type ObservableResult } from '@opentelemetry/api'
import { OVERFLOW } from '../core/scope.ts'
import type { InstrumentSpec, LabelSpec } from './instrument-spec.ts'
import type { HistogramCell, KeptHistograms } from './kept-histograms.ts'

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

/** Label sets, and ways to them, kept per instrument. */
const MAX_LABEL_SETS = 4096

/** One combination of labels of one instrument. */
class LabelSet {
  readonly attributes: Attributes
  /** Added since the last collection; see `Tally`. */
  pending = 0
  queued = false
  /** Where a kept histogram counts for these labels. */
  cell: HistogramCell | undefined

  constructor(attributes: Attributes) {
    this.attributes = attributes
  }
}

type Branch = Map<string, Branch | LabelSet>

/**
 * Keeps label values bounded and attribute objects few: the same labels give the same object. A tree with one level per
 * label: values are looked up as they are, where one key made of all of them would have to be built and hashed each time.
 */
class LabelBook<L extends string> {
  readonly #names: readonly L[]
  readonly #specs: Readonly<Record<string, LabelSpec>>
  readonly #seen = new Map<string, Set<string>>()
  readonly #tree: Branch = new Map()
  #size = 0

  constructor(spec: InstrumentSpec<L>) {
    this.#names = Object.keys(spec.labels) as L[]
    this.#specs = spec.labels
    for (const name of this.#names) this.#seen.set(name, new Set(this.#specs[name]?.values))
  }

  set(labels: Labels<L>): LabelSet {
    let at: Branch | LabelSet | undefined = this.#tree
    for (const name of this.#names) {
      at = (at as Branch).get(labels[name])
      if (at === undefined) return this.#make(labels)
    }
    // An instrument without labels has one set, under the empty value.
    return at instanceof LabelSet ? at : ((at.get('') as LabelSet | undefined) ?? this.#make(labels))
  }

  attributes(labels: Labels<L>): Attributes {
    return this.set(labels).attributes
  }

  /** What is past a cap shares a set, however many values there are: each is remembered as another way to it, as long as there is room. */
  #make(labels: Labels<L>): LabelSet {
    const attributes: Attributes = {}
    for (const name of this.#names) attributes[name] = this.#bounded(name, String(labels[name] ?? ''))
    const bounded = this.#names.map((name) => attributes[name] as string)
    let set = this.#at(bounded)
    if (!set) this.#put(bounded, (set = new LabelSet(attributes)))
    const given = this.#names.map((name) => labels[name])
    if (this.#size < MAX_LABEL_SETS && given.some((value, i) => value !== bounded[i])) this.#put(given, set)
    return set
  }

  #at(values: readonly string[]): LabelSet | undefined {
    let at: Branch | LabelSet | undefined = this.#tree
    for (const value of values.length === 0 ? [''] : values) at = (at as Branch | undefined)?.get(value)
    return at as LabelSet | undefined
  }

  #put(values: readonly string[], set: LabelSet): void {
    this.#size++
    let branch = this.#tree
    for (const value of values.slice(0, -1)) {
      let next = branch.get(value) as Branch | undefined
      if (!next) branch.set(value, (next = new Map()))
      branch = next
    }
    branch.set(values.at(-1) ?? '', set)
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

/**
 * Sums of counters between collections. The SDK sorts and serialises the labels at every `add`: adding up here and handing
 * over once per collection spares the request path that. The SDK asks observable instruments first, so a callback on any
 * one of them is early enough; until there is one, counters count straight through.
 */
class Tally {
  /** Capped by the label sets of all counters. */
  #queue: { counter: Pick<Counter, 'add'>; set: LabelSet }[] = []
  #active = false

  /** From now on `flush` runs at each collection. */
  flushWith(observable: Observable): void {
    if (this.#active) return
    this.#active = true
    observable.addCallback(() => this.#flush())
  }

  add(counter: Pick<Counter, 'add'>, set: LabelSet, value: number): void {
    if (!this.#active) return counter.add(value, set.attributes)
    set.pending += value
    if (set.queued) return
    set.queued = true
    this.#queue.push({ counter, set })
  }

  #flush(): void {
    const queue = this.#queue
    this.#queue = []
    for (const { counter, set } of queue) {
      const { pending } = set
      set.pending = 0
      set.queued = false
      counter.add(pending, set.attributes)
    }
  }
}

/** Registers instruments once each by name; a second declaration under the same name is a TypeError. `kept`: where histograms are counted, instead of by the meter. */
export function createInstruments(meter: Meter = metrics.getMeter('flyball'), kept?: KeptHistograms): InstrumentSet {
  const specs: InstrumentSpec[] = []
  const names = new Set<string>()
  const tally = new Tally()
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
      return { add: (value, labels) => tally.add(counter, book.set(labels), value) }
    },
    histogram(spec) {
      const { book, options } = register(spec)
      if (kept) {
        const own = kept.histogram(spec as InstrumentSpec)
        return {
          record(value, labels) {
            const set = book.set(labels)
            ;(set.cell ??= own.cell(set.attributes)).record(value)
          },
        }
      }
      const histogram = meter.createHistogram(spec.name, { ...options, advice: { explicitBucketBoundaries: [...(spec.buckets ?? [])] } })
      return { record: (value, labels) => histogram.record(value, book.attributes(labels)) }
    },
    gauge(spec) {
      const { book, options } = register(spec)
      const gauge = meter.createObservableGauge(spec.name, options)
      tally.flushWith(gauge)
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
