/** A board: panels in rows on the 24-column grid, with the variables, annotations and links that all boards share. */
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import { CORE_INSTRUMENTS as CORE } from '../src/telemetry/catalogue.ts'
import { SELF_INSTRUMENTS as SELF } from '../src/telemetry/self-instruments.ts'
import { PROMETHEUS, type Panel } from './panels.ts'
import { max, sum, type Expr, type PromQl } from './promql.ts'

export interface Row {
  readonly title: string
  readonly panels: readonly Panel[]
  readonly collapsed?: boolean
}

export interface Board {
  /** File name, and `flyball-<name>` is the UID. */
  readonly name: string
  readonly title: string
  readonly description: string
  readonly rows: readonly Row[]
}

export const BOARD_TAG = 'flyball'
export const boardUid = (name: string): string => `flyball-${name}`
const GRID_WIDTH = 24

/** As JSON. Ids follow the order of panels, so that the same boards give the same bytes. */
export function boardJson(board: Board, q: PromQl): Record<string, unknown> {
  const panels = arrange(board.rows)
  const used = JSON.stringify(panels)
  const built = new dashboard.DashboardBuilder(board.title)
    .uid(boardUid(board.name))
    .description(board.description)
    .tags([BOARD_TAG])
    .readonly()
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .time({ from: 'now-1h', to: 'now' })
    .refresh('30s')
    .timezone('browser')
    .variables(variables(q).filter(({ always, name }) => always || used.includes(`$${name}`)).map(({ builder }) => builder))
    .annotations(annotations(q))
    .links(links())
    .build()
  const { id, ...rest } = JSON.parse(JSON.stringify(built, inSight)) as Record<string, unknown>
  return { ...rest, panels }
}

/** The SDK's default puts links and annotations into a menu; the way to the next board belongs on the page. */
const inSight = (key: string, value: unknown): unknown => (key === 'placement' && value === 'inControlsMenu' ? undefined : value)

/** Left to right, then down; a panel that would overflow the grid starts a new line. */
function arrange(rows: readonly Row[]): unknown[] {
  const placed: unknown[] = []
  let id = 0
  let y = 0
  for (const row of rows) {
    if (row.panels.length === 0) continue
    const rowY = y++
    const rowId = ++id
    const inside: unknown[] = []
    for (const line of linesOf(row.panels)) {
      const h = Math.max(...line.map(({ gridPos }) => gridPos?.h ?? 0))
      let x = 0
      for (const { repeatDirection, gridPos, w, ...clean } of filled(line)) {
        inside.push({ ...clean, id: ++id, gridPos: { x, y, w, h } })
        x += w
      }
      y += h
    }
    const collapsed = row.collapsed ?? false
    // A collapsed row holds its panels, and takes one line.
    placed.push({ type: 'row', title: row.title, id: rowId, collapsed, gridPos: { x: 0, y: rowY, w: GRID_WIDTH, h: 1 }, panels: collapsed ? inside : [] })
    if (collapsed) y = rowY + 1
    else placed.push(...inside)
  }
  return placed
}

const widthOf = ({ gridPos }: Panel): number => gridPos?.w ?? 0

function linesOf(panels: readonly Panel[]): Panel[][] {
  const lines: Panel[][] = []
  let x = GRID_WIDTH
  for (const panel of panels) {
    if (x + widthOf(panel) > GRID_WIDTH) {
      lines.push([])
      x = 0
    }
    lines.at(-1)?.push(panel)
    x += widthOf(panel)
  }
  return lines
}

/** A line's panels share its whole width in proportion: a hole looks like something that failed to load. */
function filled(line: readonly Panel[]): (Panel & { w: number })[] {
  const asked = line.reduce((sum, panel) => sum + widthOf(panel), 0)
  let before = 0
  return line.map((panel) => {
    const start = Math.round((before * GRID_WIDTH) / asked)
    before += widthOf(panel)
    return { ...panel, w: Math.round((before * GRID_WIDTH) / asked) - start }
  })
}

interface Variable {
  readonly name: string
  readonly always: boolean
  readonly builder: { build(): dashboard.VariableModel }
}

function variables(q: PromQl): Variable[] {
  const dataSource = (name: string, type: string, label: string): Variable => ({
    name,
    always: true,
    builder: new dashboard.DatasourceVariableBuilder(name).label(label).type(type).multi(false).includeAll(false),
  })
  const target = 'job=~"$job",instance=~"$instance"'
  return [
    dataSource('prometheus_datasource', 'prometheus', 'Prometheus'),
    dataSource('tempo_datasource', 'tempo', 'Traces'),
    labelVariable('job', 'Job', `label_values(${q.name(SELF.buildInfo)}, job)`),
    labelVariable('instance', 'Instance', `label_values(${q.name(SELF.buildInfo)}{job=~"$job"}, instance)`),
    { ...labelVariable('backend', 'Backend', `label_values(${q.name(CORE.backendUp)}{${target}}, backend)`), always: false },
    { ...labelVariable('model', 'Model', `label_values(${q.name(CORE.calls)}{${target}}, model)`), always: false },
  ]
}

function labelVariable(name: string, label: string, query: string): Variable {
  return {
    name,
    always: true,
    builder: new dashboard.QueryVariableBuilder(name)
      .label(label)
      .datasource(PROMETHEUS)
      // A string: as an object it would need a `refId` that Grafana makes up on each save.
      .query(query)
      .definition(query)
      .multi(true)
      .includeAll(true)
      .allValue('.+')
      .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
      .sort(dashboard.VariableSort.AlphabeticalAsc)
      .current({ selected: true, text: ['All'], value: ['$__all'] }),
  }
}

function annotations(q: PromQl): dashboard.AnnotationQueryBuilder[] {
  const decided = max(q.live(SELF.loopDecisionTime), ['controller', 'scope', 'reason'])
  const started = max(q.live(SELF.startTime), ['job', 'instance'])
  const pinned = max(q.value(CORE.knobLayer, { layer: 'pin' }), ['knob', 'scope'])
  const reverted = sum(q.increase(CORE.reverts), ['controller'])
  return [
    annotation('Decisions', 'purple', times1000(decided), '{{controller}} {{scope}}', '{{reason}}', 'controller,reason', true),
    annotation('Moves taken back', 'orange', { text: `${reverted.text} > 0`, labels: reverted.labels }, '{{controller}}', 'A move was taken back: SLO attainment had fallen.', 'controller', false),
    annotation('Pinned by an operator', 'blue', { text: `${pinned.text} == 1`, labels: pinned.labels }, '{{knob}} {{scope}}', 'Pinned: the loops decide, the pin is in force.', 'knob', false),
    annotation('Starts', 'green', times1000(started), '{{instance}}', 'The process started.', 'job', true),
  ]
}

/** Annotations take their time from the value, in ms. */
const times1000 = <L extends string>(expr: Expr<L>): Expr<L> => ({ text: `${expr.text} * 1000`, labels: expr.labels })

function annotation(name: string, color: string, expr: Expr, title: string, text: string, tagKeys: string, valueIsTime: boolean): dashboard.AnnotationQueryBuilder {
  for (const [, label] of `${title} ${text}`.matchAll(/\{\{(\w+)\}\}/g)) {
    if (!expr.labels.includes(label as string)) throw new TypeError(`annotation ${name}: the result has no label ${label}`)
  }
  return new dashboard.AnnotationQueryBuilder()
    .name(name)
    .datasource(PROMETHEUS)
    .enable(true)
    .hide(false)
    .iconColor(color)
    .expr(expr.text)
    .target(new DataqueryBuilder().expr(expr.text).refId('Anno').range().datasource(PROMETHEUS))
    .titleFormat(title)
    .textFormat(text)
    .tagKeys(tagKeys)
    .useValueForTime(valueIsTime)
}

function links(): dashboard.DashboardLinkBuilder[] {
  return [
    new dashboard.DashboardLinkBuilder('flyball').type(dashboard.DashboardLinkType.Dashboards).tags([BOARD_TAG]).asDropdown(false).includeVars(true).keepTime(true).icon('external link').tooltip('The other boards').url('').targetBlank(false),
    new dashboard.DashboardLinkBuilder('Traces').type(dashboard.DashboardLinkType.Link).tags([]).asDropdown(false).includeVars(false).keepTime(false).icon('bolt').tooltip('Calls that failed or were slow, as traces').url(tracesUrl()).targetBlank(true),
  ]
}

/** Grafana's Explore with a search for calls that did not end well or took over a second. Variables stay readable: Grafana fills them in. */
function tracesUrl(): string {
  const query = '{ span.flyball.outcome != "ok" || (span.flyball.outcome = "ok" && duration > 1s) }'
  const panes = { flyball: { datasource: '${tempo_datasource}', queries: [{ refId: 'A', datasource: { type: 'tempo', uid: '${tempo_datasource}' }, queryType: 'traceql', query, limit: 50 }], range: { from: '${__from}', to: '${__to}' } } }
  const encoded = encodeURIComponent(JSON.stringify(panes)).replace(/%24%7B(\w+)%7D/g, '${$1}')
  return `/explore?schemaVersion=1&orgId=1&panes=${encoded}`
}

