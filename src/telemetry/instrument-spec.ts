/** An instrument is declared once: /metrics, dashboards, alerts and docs derive from this record. */

export type InstrumentKind = 'counter' | 'up_down_counter' | 'gauge' | 'histogram'

export interface LabelSpec {
  readonly doc: string
  /** The closed set of values, where there is one. */
  readonly values?: readonly string[]
  /** Most distinct values; later ones are reported as `_other`. */
  readonly max: number
}

export interface InstrumentSpec<L extends string = string, K extends InstrumentKind = InstrumentKind> {
  /** Dotted lower snake case with its unit in it: `flyball.queue_wait_seconds`. Prometheus shows `_` for `.`, and `_total` after counters. */
  readonly name: string
  readonly kind: K
  /** UCUM: `s`, `By`, `{call}`, `{token}`, `1`. */
  readonly unit: string
  readonly doc: string
  readonly labels: { readonly [K in L]: LabelSpec }
  /** Histogram boundaries, ascending, in the instrument's unit. */
  readonly buckets?: readonly number[]
  /** Rewritten as a whole at each collection (`GaugeHandle.collect`): nothing pushes to it. */
  readonly observed?: boolean
}

export type InstrumentSpecs = Readonly<Record<string, InstrumentSpec>>

export const label = (doc: string, max = 64, values?: readonly string[]): LabelSpec => ({ doc, max: values ? values.length + 1 : max, ...(values ? { values } : {}) })

/** Checks a declaration. */
export function instrument<const K extends InstrumentKind, const L extends string = never>(
  spec: Omit<InstrumentSpec<L, K>, 'labels'> & { labels?: { readonly [N in L]: LabelSpec } },
): InstrumentSpec<L, K> {
  if (!/^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$/.test(spec.name)) throw new TypeError(`instrument ${spec.name}: expected a dotted name in lower snake case`)
  if (spec.kind === 'histogram' && !spec.buckets?.length) throw new TypeError(`instrument ${spec.name}: a histogram needs buckets`)
  if (spec.name.endsWith('_total')) throw new TypeError(`instrument ${spec.name}: leave _total to the exporter`)
  return { ...spec, labels: spec.labels ?? ({} as { [N in L]: LabelSpec }) }
}

/** ×2 from 1 ms to 131 s, with every default SLO target among them. */
export const DURATION_BUCKETS_S: readonly number[] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 80]

/** The name under which Prometheus shows it at `/metrics`. */
export function prometheusName(spec: Pick<InstrumentSpec, 'name' | 'kind'>): string {
  const base = spec.name.replaceAll('.', '_')
  return spec.kind === 'counter' ? `${base}_total` : base
}
