/**
 * PromQL through typed handles: a query names an instrument by its declaration, a label by one of the declaration's own,
 * and a function that does not suit the instrument's kind does not compile.
 */
import type { InstrumentKind, InstrumentSpec } from '../src/telemetry/instrument-spec.ts'
import { metricName, type Naming } from './naming.ts'

/** Put on every series by the scrape, or from the resource by OTLP receivers. */
export type TargetLabel = 'job' | 'instance'

export type Matcher = string | { readonly not: string } | { readonly re: string } | { readonly notRe: string }
export type Where<L extends string> = { readonly [K in L]?: Matcher }

/** An expression and the labels that its result carries. */
export interface Expr<L extends string = string> {
  readonly text: string
  readonly labels: readonly L[]
}

export type Spec<L extends string, K extends InstrumentKind> = InstrumentSpec<L, K>
type GaugeKind = 'gauge' | 'up_down_counter'

/** `panel`: filtered by the board's variables. `rule`: everything, kept apart by job. */
export type QueryScope = 'panel' | 'rule'

/** Instruments' labels that boards have a variable for. */
const VARIABLE_LABELS = ['backend', 'model'] as const

/** Matches the `scope` of whatever belongs to the chosen backends, or to no backend at all. */
export const BACKEND_SCOPE: Matcher = { re: '|((model|class)=[^,]*,?)+|(.*,)?backend=($backend)(,.*)?' }

export const RATE_WINDOW = '$__rate_interval'

export class PromQl {
  readonly naming: Naming
  readonly #scope: QueryScope

  constructor(naming: Naming, scope: QueryScope) {
    this.naming = naming
    this.#scope = scope
  }

  /** The bare name, for variables. */
  name(spec: Spec<string, InstrumentKind>): string {
    return metricName(spec, this.naming)
  }

  value<L extends string>(spec: Spec<L, GaugeKind>, where: Where<NoInfer<L>> = {}): Expr<L | TargetLabel> {
    return { text: this.#select(spec, '', where), labels: labelsOf(spec) }
  }

  /** As `value`, without what has ended: an instrument that is gone is reported as NaN where the exporter cannot drop it. */
  live<L extends string>(spec: Spec<L, GaugeKind>, where: Where<NoInfer<L>> = {}): Expr<L | TargetLabel> {
    return { text: `${this.#select(spec, '', where)} > -Inf`, labels: labelsOf(spec) }
  }

  /** Range of a gauge: `max_over_time(...)`. */
  over<L extends string>(fn: 'max_over_time' | 'min_over_time' | 'avg_over_time' | 'count_over_time' | 'changes', spec: Spec<L, GaugeKind>, window: string, where: Where<NoInfer<L>> = {}): Expr<L | TargetLabel> {
    return { text: `${fn}(${this.#select(spec, '', where)}[${window}])`, labels: labelsOf(spec) }
  }

  rate<L extends string>(spec: Spec<L, 'counter'>, where: Where<NoInfer<L>> = {}, window = RATE_WINDOW): Expr<L | TargetLabel> {
    return { text: `rate(${this.#select(spec, '', where)}[${window}])`, labels: labelsOf(spec) }
  }

  increase<L extends string>(spec: Spec<L, 'counter'>, where: Where<NoInfer<L>> = {}, window = RATE_WINDOW): Expr<L | TargetLabel> {
    return { text: `increase(${this.#select(spec, '', where)}[${window}])`, labels: labelsOf(spec) }
  }

  /** Rate of a histogram's buckets, with `le`. */
  buckets<L extends string>(spec: Spec<L, 'histogram'>, where: Where<NoInfer<L>> = {}, window = RATE_WINDOW): Expr<L | TargetLabel | 'le'> {
    return { text: `rate(${this.#select(spec, '_bucket', where)}[${window}])`, labels: [...labelsOf(spec), 'le'] }
  }

  count<L extends string>(spec: Spec<L, 'histogram'>, where: Where<NoInfer<L>> = {}, window = RATE_WINDOW): Expr<L | TargetLabel> {
    return { text: `rate(${this.#select(spec, '_count', where)}[${window}])`, labels: labelsOf(spec) }
  }

  total<L extends string>(spec: Spec<L, 'histogram'>, where: Where<NoInfer<L>> = {}, window = RATE_WINDOW): Expr<L | TargetLabel> {
    return { text: `rate(${this.#select(spec, '_sum', where)}[${window}])`, labels: labelsOf(spec) }
  }

  /** Nothing rather than NaN while there is no traffic. */
  quantile<L extends string, B extends L | TargetLabel>(q: number, spec: Spec<L, 'histogram'>, by: readonly B[] = [], where: Where<NoInfer<L>> = {}): Expr<B> {
    const buckets = aggregate('sum', this.buckets(spec, where), [...by, 'le' as const])
    return { text: `histogram_quantile(${q}, ${buckets.text}) >= 0`, labels: by }
  }

  /** Mean of a histogram. */
  mean<L extends string, B extends L | TargetLabel>(spec: Spec<L, 'histogram'>, by: readonly B[] = [], where: Where<NoInfer<L>> = {}): Expr<B> {
    return ratio(aggregate('sum', this.total(spec, where), by), aggregate('sum', this.count(spec, where), by))
  }

  #select(spec: Spec<string, InstrumentKind>, suffix: string, where: Where<string>): string {
    const matchers = this.#scope === 'panel' ? ['job=~"$job"', 'instance=~"$instance"'] : []
    for (const label of VARIABLE_LABELS) {
      if (this.#scope === 'panel' && label in spec.labels && where[label] === undefined) matchers.push(`${label}=~"$${label}"`)
    }
    for (const [label, matcher] of Object.entries(where)) if (matcher !== undefined) matchers.push(`${label}${matcherText(matcher)}`)
    return `${metricName(spec, this.naming)}${suffix}${matchers.length > 0 ? `{${matchers.join(',')}}` : ''}`
  }
}

function labelsOf<L extends string>(spec: Spec<L, InstrumentKind>): (L | TargetLabel)[] {
  return [...(Object.keys(spec.labels) as L[]), 'job', 'instance']
}

function matcherText(matcher: Matcher): string {
  if (typeof matcher === 'string') return `=${JSON.stringify(matcher)}`
  if ('not' in matcher) return `!=${JSON.stringify(matcher.not)}`
  if ('re' in matcher) return `=~${JSON.stringify(matcher.re)}`
  return `!~${JSON.stringify(matcher.notRe)}`
}

export type Aggregation = 'sum' | 'max' | 'min' | 'avg' | 'count'

export function aggregate<L extends string, B extends L>(fn: Aggregation, expr: Expr<L>, by: readonly B[] = []): Expr<B> {
  return { text: by.length > 0 ? `${fn} by (${by.join(', ')}) (${expr.text})` : `${fn}(${expr.text})`, labels: by }
}

export const sum = <L extends string, B extends L>(expr: Expr<L>, by: readonly B[] = []): Expr<B> => aggregate('sum', expr, by)
export const max = <L extends string, B extends L>(expr: Expr<L>, by: readonly B[] = []): Expr<B> => aggregate('max', expr, by)
export const min = <L extends string, B extends L>(expr: Expr<L>, by: readonly B[] = []): Expr<B> => aggregate('min', expr, by)
export const avg = <L extends string, B extends L>(expr: Expr<L>, by: readonly B[] = []): Expr<B> => aggregate('avg', expr, by)

/** `a / b`, nothing where b is 0. Both sides carry the same labels. */
export function ratio<L extends string>(a: Expr<L>, b: Expr<NoInfer<L>>): Expr<L> {
  return { text: `${wrapped(a.text)} / (${b.text} > 0)`, labels: a.labels }
}

/** A counter of the good ones that has never counted does not exist: it is 0 wherever there were any at all. */
export function shareOf<L extends string>(good: Expr<L>, all: Expr<NoInfer<L>>): Expr<L> {
  return { text: `(${good.text} or 0 * ${wrapped(all.text)}) / (${all.text} > 0)`, labels: good.labels }
}

/** `some`, or 0 where there are none of them among `all`. */
export const countOf = <L extends string>(some: Expr<L>, all: Expr<NoInfer<L>>): Expr<L> => ({ text: `${some.text} or 0 * ${wrapped(all.text)}`, labels: some.labels })

/** Any text over expressions, with the labels of the result stated. */
export function raw<L extends string>(text: string, labels: readonly L[]): Expr<L> {
  return { text, labels }
}

export const topk = <L extends string>(k: number, expr: Expr<L>): Expr<L> => ({ text: `topk(${k}, ${expr.text})`, labels: expr.labels })

function wrapped(text: string): string {
  return /^[\w:]+(\{[^}]*\})?$/.test(text) ? text : `(${text})`
}
