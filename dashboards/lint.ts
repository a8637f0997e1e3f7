/**
 * Rules that every board keeps: those of Grafana's own linter, and more of ours. A finding is one line that names board,
 * panel and rule. Works on the JSON, so that it judges what is shipped.
 */
import type { InstrumentSpec } from '../src/telemetry/instrument-spec.ts'
import { metricName, type Naming } from './naming.ts'
import { promqlFacts, type Selector } from './promql-facts.ts'

export interface Target {
  readonly expr: string
  readonly legendFormat?: string
  readonly refId: string
  readonly datasource?: { readonly uid?: string }
  readonly instant?: boolean
}

export interface PanelJson {
  readonly id?: number
  readonly type: string
  readonly title?: string
  readonly description?: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly datasource?: { readonly uid?: string }
  readonly fieldConfig?: { readonly defaults?: { readonly unit?: string; readonly noValue?: string; readonly color?: { readonly mode?: string } } }
  readonly targets?: readonly Target[]
  readonly panels?: readonly PanelJson[]
  readonly collapsed?: boolean
}

export interface VariableJson {
  readonly name: string
  readonly type: string
  readonly query?: string
  readonly multi?: boolean
  readonly includeAll?: boolean
  readonly allValue?: string
  readonly refresh?: number
  readonly datasource?: { readonly uid?: string }
}

export interface AnnotationJson {
  readonly name: string
  readonly expr: string
  readonly titleFormat?: string
  readonly textFormat?: string
  readonly tagKeys?: string
  readonly target?: { readonly expr?: string }
}

export interface BoardJson {
  readonly title: string
  readonly uid: string
  readonly id?: unknown
  readonly editable?: boolean
  readonly schemaVersion?: number
  readonly panels: readonly PanelJson[]
  readonly templating: { readonly list: readonly VariableJson[] }
  readonly annotations: { readonly list: readonly AnnotationJson[] }
  readonly links: readonly { readonly url?: string; readonly type: string }[]
}

export interface LintContext {
  readonly instruments: readonly InstrumentSpec[]
  readonly naming: Naming
  /** Series that exist without being declared as instruments. */
  readonly others: readonly InstrumentSpec[]
}

const DATA_SOURCE = '${prometheus_datasource}'
const TARGET_LABELS = ['job', 'instance']
const COUNTER_FUNCTIONS = ['rate', 'irate', 'increase']
const BUILT_IN = /^\$\{?(__\w+)/

/** All panels, rows' inner ones too, rows themselves left out. */
export function panelsOf(board: BoardJson): PanelJson[] {
  return board.panels.flatMap((panel) => (panel.type === 'row' ? (panel.panels ?? []) : [panel]))
}

export function lintBoard(board: BoardJson, context: LintContext): string[] {
  const findings: string[] = []
  const say = (where: string, rule: string, what: string): void => void findings.push(`${board.title} / ${where}: ${rule}: ${what}`)
  lintWhole(board, say)
  lintVariables(board, context, say)
  for (const panel of panelsOf(board)) lintPanel(panel, context, say)
  for (const annotation of board.annotations.list) lintAnnotation(annotation, context, say)
  return findings
}

type Say = (where: string, rule: string, what: string) => void

function lintWhole(board: BoardJson, say: Say): void {
  const text = JSON.stringify(board)
  if (board.editable !== false) say('board', 'uneditable-dashboard', 'editable must be false')
  if (board.id !== undefined) say('board', 'no-id', 'id belongs to one Grafana')
  if (/\$\{DS_|__inputs|__requires/.test(text)) say('board', 'no-inputs', 'left over from an export')
  if (!/^[a-z0-9-]{1,40}$/.test(board.uid)) say('board', 'uid', `${board.uid} is not a fit UID`)
  if (!board.links.some(({ type }) => type === 'dashboards')) say('board', 'links', 'no links to the other boards')
  if (!board.links.some(({ url }) => url?.includes('${tempo_datasource}'))) say('board', 'links', 'no link to traces')
  const all = board.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])])
  const ids = all.map(({ id }) => id)
  if (ids.some((id) => id === undefined) || new Set(ids).size !== ids.length) say('board', 'panel-ids', 'missing or used twice')
  for (const group of [board.panels, ...board.panels.map(({ panels }) => panels ?? [])]) lintGrid(group, say)
}

function lintGrid(panels: readonly PanelJson[], say: Say): void {
  panels.forEach(({ gridPos: a, title = '' }, i) => {
    if (a.x < 0 || a.w < 1 || a.h < 1 || a.x + a.w > 24) say(title, 'grid', 'leaves the 24 columns')
    for (const { gridPos: b, title: other } of panels.slice(i + 1)) {
      if (a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h) say(title, 'grid', `overlaps ${other}`)
    }
  })
}

function lintVariables(board: BoardJson, context: LintContext, say: Say): void {
  const { list } = board.templating
  const byName = new Map(list.map((variable) => [variable.name, variable]))
  for (const [name, type] of [['prometheus_datasource', 'prometheus'], ['tempo_datasource', 'tempo']] as const) {
    const variable = byName.get(name)
    if (variable?.type !== 'datasource' || variable.query !== type) say(name, 'template-datasource', `a ${type} data-source variable of this name is needed`)
  }
  for (const name of TARGET_LABELS) if (!byName.has(name)) say(name, `template-${name}`, 'missing')
  for (const variable of list.filter(({ type }) => type === 'query')) {
    const { name } = variable
    if (variable.datasource?.uid !== DATA_SOURCE) say(name, 'template-datasource', 'not on the data-source variable')
    if (!variable.multi || !variable.includeAll || variable.allValue !== '.+') say(name, `template-${name}`, 'must be multi with All as ".+"')
    if (variable.refresh !== 2) say(name, 'template-on-time-change-reload', 'refresh must be 2')
    if (typeof variable.query !== 'string') say(name, 'template-label-promql', 'the query must be a string')
    const [, selector, label] = /^label_values\((.+),\s*(\w+)\)$/.exec(variable.query ?? '') ?? []
    if (selector === undefined || label === undefined) say(name, 'template-label-promql', `not label_values(selector, label): ${variable.query}`)
    else lintExpr(`variable ${name}`, selector, context, say, { bare: true, needs: [label] })
  }
  const uses = new Set<string>()
  const withoutOwn = JSON.stringify({ ...board, templating: { list: list.map(({ query, datasource }) => ({ query, datasource })) } })
  for (const [whole, plain, braced] of withoutOwn.matchAll(/\$(?:(\w+)|\{(\w+)[^}]*\})/g)) {
    const name = plain ?? braced ?? ''
    // "$1" is label_replace's.
    if (BUILT_IN.test(whole) || /^\d+$/.test(name)) continue
    uses.add(name)
    if (!byName.has(name)) say(name, 'undefined-variable', whole)
  }
  for (const { name } of list) if (!uses.has(name)) say(name, 'unused-variable', 'no panel, annotation or link uses it')
}

function lintPanel(panel: PanelJson, context: LintContext, say: Say): void {
  const title = panel.title ?? `panel ${panel.id}`
  if (!panel.title || !panel.description) say(title, 'panel-title-description', 'both are needed')
  if (panel.datasource?.uid !== DATA_SOURCE) say(title, 'panel-datasource', 'not on the data-source variable')
  if (!panel.fieldConfig?.defaults?.unit) say(title, 'panel-units', 'no unit')
  if (!panel.fieldConfig?.defaults?.noValue) say(title, 'panel-no-value', 'nothing is said where there is nothing to show')
  if (!panel.targets?.length) say(title, 'panel-no-targets', 'no query')
  if (panel.type === 'state-timeline' && panel.fieldConfig?.defaults?.color?.mode !== 'fixed') say(title, 'state-timeline', 'needs a fixed colour mode')
  const refIds = (panel.targets ?? []).map(({ refId }) => refId)
  if (new Set(refIds).size !== refIds.length) say(title, 'ref-ids', 'used twice')
  for (const target of panel.targets ?? []) {
    if (target.datasource?.uid !== DATA_SOURCE) say(title, 'panel-datasource', 'a query is not on the data-source variable')
    if (!target.legendFormat) say(title, 'target-legend', 'no legend')
    const shown = new Set(promqlFacts(target.expr).labels)
    for (const [, label] of (target.legendFormat ?? '').matchAll(/\{\{\s*(\w+)\s*\}\}/g)) if (!shown.has(label as string)) say(title, 'legend-labels', `${label} is in no by()`)
    lintExpr(title, target.expr, context, say, { rangeAllowed: target.instant === true })
  }
}

function lintAnnotation(annotation: AnnotationJson, context: LintContext, say: Say): void {
  const where = `annotation ${annotation.name}`
  lintExpr(where, annotation.expr, context, say, {})
  if (annotation.target?.expr !== annotation.expr) say(where, 'annotation-target', 'expr and target.expr differ')
  const { selectors } = promqlFacts(annotation.expr)
  const templates = `${annotation.titleFormat ?? ''} ${annotation.textFormat ?? ''}`
  const used = [...[...templates.matchAll(/\{\{\s*(\w+)\s*\}\}/g)].map(([, label]) => label as string), ...(annotation.tagKeys ?? '').split(',').filter((key) => key !== '')]
  for (const label of used) {
    if (!selectors.some(({ groupedBy }) => groupedBy?.includes(label))) say(where, 'annotation-labels', `${label} is in no by()`)
  }
}

interface ExprOptions {
  /** A selector in a variable: not aggregated, filtered only by the variables before it. */
  bare?: boolean
  needs?: readonly string[]
  /** `$__range` suits a number over the whole of the shown range. */
  rangeAllowed?: boolean
}

export function lintExpr(where: string, expr: string, context: LintContext, say: Say, options: ExprOptions): void {
  const { errors, selectors, labels } = promqlFacts(expr)
  if (errors.length > 0) say(where, 'target-promql', `does not parse at ${errors[0]}: ${expr}`)
  for (const selector of selectors) lintSelector(where, selector, context, say, options)
  const known = new Set([...TARGET_LABELS, 'le', ...selectors.flatMap(({ metric }) => Object.keys(specOf(metric, context)?.labels ?? {}))])
  for (const label of [...labels, ...(options.needs ?? [])]) if (!known.has(label)) say(where, 'label-exists', `${label} is on none of the metrics of ${expr}`)
}

/** The declaration behind a series' name. */
export function specOf(metric: string, { instruments, naming, others }: LintContext): InstrumentSpec | undefined {
  return others.find(({ name }) => name === metric) ?? instruments.find((spec) => metric === metricName(spec, naming) || (spec.kind === 'histogram' && metric.replace(/_(bucket|sum|count)$/, '') === metricName(spec, naming) && /_(bucket|sum|count)$/.test(metric)))
}

function lintSelector(where: string, { metric, matchers, range, within }: Selector, context: LintContext, say: Say, options: ExprOptions): void {
  const spec = specOf(metric, context)
  if (!spec) return say(where, 'metric-exists', metric)
  const cumulative = spec.kind === 'counter' || spec.kind === 'histogram'
  const rated = range !== undefined && within.some((fn) => COUNTER_FUNCTIONS.includes(fn))
  if (spec.kind === 'histogram' && !/_(bucket|sum|count)$/.test(metric)) say(where, 'metric-exists', `${metric} is a histogram: name its _bucket, _sum or _count`)
  if (!options.bare) {
    for (const label of TARGET_LABELS) {
      if (!matchers.some((matcher) => matcher.label === label && matcher.op === '=~' && matcher.value === `$${label}`)) say(where, `target-${label}`, `${metric} without ${label}=~"$${label}"`)
    }
    if (cumulative && !rated) say(where, 'target-counter-agg', `${metric} counts up: only inside rate, irate or increase`)
  }
  if (!cumulative && within.some((fn) => COUNTER_FUNCTIONS.includes(fn))) say(where, 'target-gauge-rate', `${metric} is a gauge: no ${within.join(', ')}`)
  if (rated && range !== '5m' && !(options.rangeAllowed && range === '1h')) say(where, 'target-rate-interval', `${metric}[${range}]: $__rate_interval is needed`)
  for (const { label, op, value } of matchers) {
    if (!TARGET_LABELS.includes(label) && label !== 'le' && !(label in spec.labels)) say(where, 'label-exists', `${metric} has no label ${label}`)
    if (label === 'le' && op === '=' && /^\d+$/.test(value)) say(where, 'le-integer', `le="${value}" is "${value}.0" in Prometheus 3`)
    const values = spec.labels[label]?.values
    if (values && op === '=' && !values.includes(value)) say(where, 'label-value', `${metric}: ${label} is never ${value}`)
    if (values && op === '=~') for (const one of value.split('|')) if (/^\w+$/.test(one) && !values.includes(one)) say(where, 'label-value', `${metric}: ${label} is never ${one}`)
  }
}

/** Declared instruments that no expression names. */
export function uncovered(exprs: readonly string[], context: LintContext): string[] {
  const named = new Set(exprs.flatMap((expr) => promqlFacts(expr).selectors.map(({ metric }) => specOf(metric, context)?.name)))
  return context.instruments.map(({ name }) => name).filter((name) => !named.has(name))
}
