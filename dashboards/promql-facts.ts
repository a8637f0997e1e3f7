/** What a PromQL expression says, from Prometheus's own grammar. Needs `@prometheus-io/lezer-promql`: for checks only. */
import { parser } from '@prometheus-io/lezer-promql'

export interface Selector {
  readonly metric: string
  /** Label, operator, value as written. */
  readonly matchers: readonly { readonly label: string; readonly op: string; readonly value: string }[]
  /** `[5m]` without brackets, for a range. */
  readonly range: string | undefined
  /** Names of the functions around it, innermost first. */
  readonly within: readonly string[]
  /** The nearest aggregation's `by` labels; undefined where there is none. */
  readonly groupedBy: readonly string[] | undefined
}

export interface PromqlFacts {
  /** Where it does not parse. */
  readonly errors: readonly number[]
  readonly selectors: readonly Selector[]
  /** Label names in `by`, `on`, `group_left` and the like. */
  readonly labels: readonly string[]
}

type Node = ReturnType<typeof parser.parse>['topNode']

/** Grafana's own variables stand for durations; the rest are inside strings. */
export function fillDurations(expr: string): string {
  return expr.replaceAll('$__rate_interval', '5m').replaceAll('$__range', '1h').replaceAll('$__interval', '1m')
}

export function promqlFacts(expr: string): PromqlFacts {
  const text = fillDurations(expr)
  const errors: number[] = []
  const selectors: Selector[] = []
  const labels: string[] = []
  const tree = parser.parse(text)
  tree.iterate({
    enter(ref) {
      if (ref.type.isError) errors.push(ref.from)
      if (ref.name === 'LabelName' && ref.node.parent?.name === 'GroupingLabels') labels.push(text.slice(ref.from, ref.to))
      if (ref.name === 'VectorSelector') selectors.push(selectorOf(ref.node, text))
    },
  })
  return { errors, selectors, labels }
}

function selectorOf(node: Node, text: string): Selector {
  const name = node.getChild('Identifier')
  const matchers = (node.getChild('LabelMatchers')?.getChildren('UnquotedLabelMatcher') ?? []).map((matcher) => {
    const part = (kind: string): string => {
      const child = matcher.getChild(kind)
      return child ? text.slice(child.from, child.to) : ''
    }
    return { label: part('LabelName'), op: part('MatchOp'), value: JSON.parse(part('StringLiteral')) as string }
  })
  const within: string[] = []
  let range: string | undefined
  let groupedBy: string[] | undefined
  for (let up = node.parent; up; up = up.parent) {
    if (up.name === 'MatrixSelector' && range === undefined) range = text.slice(node.to, up.to).replace(/[[\]\s]/g, '')
    if (up.name === 'FunctionCall') within.push(text.slice(up.from, up.getChild('FunctionCallBody')?.from ?? up.to).trim())
    if (up.name === 'AggregateExpr' && groupedBy === undefined) {
      const grouping = up.getChild('AggregateModifier')?.getChild('GroupingLabels')
      groupedBy = (grouping?.getChildren('LabelName') ?? []).map(({ from, to }) => text.slice(from, to))
    }
  }
  return { metric: name ? text.slice(name.from, name.to) : '', matchers, range, within, groupedBy }
}
