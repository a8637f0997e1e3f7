/** Panels, in few words each. Every one has a title, a description and a unit; what it shows when idle is said, not left blank. */
import { ReduceDataOptionsBuilder, ScaleDistributionConfigBuilder, StackingConfigBuilder, VizLegendOptionsBuilder, VizTooltipOptionsBuilder } from '@grafana/grafana-foundation-sdk/common'
import * as common from '@grafana/grafana-foundation-sdk/common'
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard'
import { PanelBuilder as HeatmapBuilder, YAxisConfigBuilder } from '@grafana/grafana-foundation-sdk/heatmap'
import { DataqueryBuilder, PromQueryFormat, QueryEditorMode } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as StateTimelineBuilder } from '@grafana/grafana-foundation-sdk/statetimeline'
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table'
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'
import type { Expr } from './promql.ts'

export const PROMETHEUS = { type: 'prometheus', uid: '${prometheus_datasource}' }
export const TEMPO = { type: 'tempo', uid: '${tempo_datasource}' }

/** Said in place of a curve when nobody asks for anything. */
export const NO_TRAFFIC = 'No traffic'

export interface Query<L extends string = string> {
  readonly expr: Expr<L>
  /** With the result's labels in it: `{{backend}}`. */
  readonly legend: string
  readonly style?: LineStyle
}

/** `bound`: a limit, dashed. `target`: where it ought to be, dashed and coloured. `wish`: expected, dotted. `step`: changes at once. */
export type LineStyle = 'line' | 'step' | 'bound' | 'target' | 'wish' | 'band'

interface Common {
  readonly title: string
  readonly description: string
  /** Grafana's unit id. */
  readonly unit: string
  readonly width?: number
  readonly height?: number
  readonly noValue?: string
}

export interface TimeseriesSpec extends Common {
  readonly queries: readonly Query[]
  readonly stacked?: boolean
  readonly min?: number
  readonly max?: number
  readonly scale?: 'linear' | 'log' | 'symlog'
  readonly decimals?: number
}

export interface ThresholdStep {
  readonly value: number | null
  readonly color: string
}

export interface StatSpec extends Common {
  readonly query: Query
  readonly thresholds?: readonly ThresholdStep[]
  readonly decimals?: number
}

export interface TableColumn {
  readonly query: Expr
  readonly title: string
  readonly unit?: string
  readonly decimals?: number
  readonly thresholds?: readonly ThresholdStep[]
  readonly mappings?: Readonly<Record<string, { text: string; color?: string }>>
  /** The value says nothing (always 1): the labels tell. */
  readonly hidden?: boolean
}

export interface TableSpec extends Common {
  /** One row per distinct value of these; each column's query carries them. */
  readonly rows: readonly string[]
  readonly columns: readonly TableColumn[]
  readonly sortBy?: string
}

export interface TimelineSpec extends Common {
  readonly queries: readonly Query[]
  readonly states: Readonly<Record<string, { text: string; color: string }>>
}

export interface HeatmapSpec extends Common {
  readonly buckets: Expr
}

export type Panel = dashboard.Panel

const refIds = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'

function target(expr: Expr, legend: string, refId: string): DataqueryBuilder {
  checkLegend(expr, legend)
  return new DataqueryBuilder().datasource(PROMETHEUS).editorMode(QueryEditorMode.Code).expr(expr.text).legendFormat(legend).refId(refId)
}

/** A legend names only labels that the result has. Throws where it would show braces. */
export function checkLegend(expr: Expr, legend: string): void {
  for (const [, label] of legend.matchAll(/\{\{\s*(\w+)\s*\}\}/g)) {
    if (!expr.labels.includes(label as string)) throw new TypeError(`legend ${legend}: the result has no label ${label} (${expr.labels.join(', ')}): ${expr.text}`)
  }
}

interface Sized {
  title(title: string): this
  description(text: string): this
  datasource(ref: common.DataSourceRef): this
  unit(unit: string): this
  noValue(text: string): this
  gridPos(pos: dashboard.GridPos): this
}

function frame<B extends Sized>(builder: B, spec: Common, width: number, height: number): B {
  return builder
    .title(spec.title)
    .description(spec.description)
    .datasource(PROMETHEUS)
    .unit(spec.unit)
    .noValue(spec.noValue ?? NO_TRAFFIC)
    .gridPos({ x: 0, y: 0, w: spec.width ?? width, h: spec.height ?? height })
}

const thresholds = (steps: readonly ThresholdStep[]): dashboard.ThresholdsConfigBuilder =>
  new dashboard.ThresholdsConfigBuilder().mode(dashboard.ThresholdsMode.Absolute).steps(steps as dashboard.Threshold[])

const NEUTRAL: readonly ThresholdStep[] = [{ value: null, color: 'text' }]

const dashed = (dash: readonly number[], color: string): dashboard.DynamicConfigValue[] => [
  { id: 'custom.lineStyle', value: { fill: 'dash', dash } },
  { id: 'custom.fillOpacity', value: 0 },
  { id: 'custom.lineWidth', value: 1 },
  { id: 'color', value: { mode: 'fixed', fixedColor: color } },
]

const STYLES: Readonly<Record<LineStyle, dashboard.DynamicConfigValue[]>> = {
  line: [],
  step: [{ id: 'custom.lineInterpolation', value: 'stepAfter' }, { id: 'custom.lineWidth', value: 2 }],
  bound: [...dashed([10, 10], 'semi-dark-red'), { id: 'custom.lineInterpolation', value: 'stepAfter' }],
  target: [...dashed([6, 4], 'semi-dark-green'), { id: 'custom.lineInterpolation', value: 'stepAfter' }],
  wish: dashed([2, 6], 'semi-dark-purple'),
  band: [{ id: 'custom.lineWidth', value: 1 }, { id: 'custom.lineStyle', value: { fill: 'dash', dash: [4, 4] } }, { id: 'custom.fillOpacity', value: 0 }],
}

export function timeseries(spec: TimeseriesSpec): Panel {
  const panel = frame(new TimeseriesBuilder(), spec, 12, 8)
    .targets(spec.queries.map(({ expr, legend }, i) => target(expr, legend, refIds[i] as string).range()))
    .legend(new VizLegendOptionsBuilder().displayMode(common.LegendDisplayMode.List).placement(common.LegendPlacement.Bottom).showLegend(true))
    .tooltip(new VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending))
    .colorScheme(new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.PaletteClassicByName))
    .thresholds(thresholds(NEUTRAL))
    .lineWidth(1)
    .fillOpacity(spec.stacked ? 30 : 8)
    .showPoints(common.VisibilityMode.Never)
    .spanNulls(false)
  if (spec.stacked) panel.stacking(new StackingConfigBuilder().mode(common.StackingMode.Normal).group('A'))
  if (spec.min !== undefined) panel.min(spec.min)
  if (spec.max !== undefined) panel.max(spec.max)
  if (spec.decimals !== undefined) panel.decimals(spec.decimals)
  if (spec.scale === 'log') panel.scaleDistribution(new ScaleDistributionConfigBuilder().type(common.ScaleDistribution.Log).log(2))
  if (spec.scale === 'symlog') panel.scaleDistribution(new ScaleDistributionConfigBuilder().type(common.ScaleDistribution.Symlog).log(10).linearThreshold(1))
  spec.queries.forEach(({ style = 'line' }, i) => {
    if (STYLES[style].length > 0) panel.overrideByQuery(refIds[i] as string, STYLES[style])
  })
  return panel.build()
}

export function stat(spec: StatSpec): Panel {
  const panel = frame(new StatBuilder(), spec, 4, 4)
    .targets([target(spec.query.expr, spec.query.legend, 'A').instant()])
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false))
    .graphMode(common.BigValueGraphMode.None)
    .colorMode(spec.thresholds ? common.BigValueColorMode.Value : common.BigValueColorMode.None)
    .textMode(spec.query.legend.includes('{{') ? common.BigValueTextMode.ValueAndName : common.BigValueTextMode.Value)
    .thresholds(thresholds(spec.thresholds ?? NEUTRAL))
  if (spec.decimals !== undefined) panel.decimals(spec.decimals)
  return panel.build()
}

/** Instant queries merged into one row per distinct value of `rows`. */
export function table(spec: TableSpec): Panel {
  const shown = spec.columns.flatMap((column, i) => (column.hidden ? [] : [[column, refIds[i] as string] as const]))
  for (const column of spec.columns) {
    for (const row of spec.rows) if (!column.query.labels.includes(row)) throw new TypeError(`table ${spec.title}: column ${column.title} has no label ${row}`)
  }
  const panel = frame(new TableBuilder(), spec, 24, 8)
    .targets(spec.columns.map((column, i) => target(column.query, column.title, refIds[i] as string).instant().format(PromQueryFormat.Table)))
    .thresholds(thresholds(NEUTRAL))
    .transformations([
      { id: 'merge', options: {} },
      {
        id: 'organize',
        options: {
          excludeByName: Object.fromEntries(['Time', ...spec.columns.flatMap((column, i) => (column.hidden ? [`Value #${refIds[i]}`] : []))].map((name) => [name, true])),
          indexByName: Object.fromEntries([...spec.rows, ...spec.columns.map((_, i) => `Value #${refIds[i]}`)].map((name, i) => [name, i])),
          renameByName: Object.fromEntries(shown.map(([column, refId]) => [spec.columns.length === 1 ? 'Value' : `Value #${refId}`, column.title])),
        },
      },
    ])
  for (const [column] of shown) {
    panel.overrideByName(column.title, [
      { id: 'unit', value: column.unit ?? 'short' },
      ...(column.decimals === undefined ? [] : [{ id: 'decimals', value: column.decimals }]),
      ...(column.thresholds ? [{ id: 'thresholds', value: { mode: 'absolute', steps: column.thresholds } }, { id: 'custom.cellOptions', value: { type: 'color-text' } }] : []),
      ...(column.mappings ? [{ id: 'mappings', value: [{ type: 'value', options: column.mappings }] }, { id: 'custom.cellOptions', value: { type: 'color-text' } }] : []),
    ])
  }
  if (spec.sortBy) panel.sortBy([new common.TableSortByFieldStateBuilder().displayName(spec.sortBy).desc(true)])
  return panel.build()
}

/** Numbers as named states over time. */
export function timeline(spec: TimelineSpec): Panel {
  return frame(new StateTimelineBuilder(), spec, 24, 6)
    .targets(spec.queries.map(({ expr, legend }, i) => target(expr, legend, refIds[i] as string).range()))
    .mappings([{ type: dashboard.MappingType.ValueToText, options: Object.fromEntries(Object.entries(spec.states).map(([value, state], index) => [value, { ...state, index }])) }])
    .colorScheme(new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.Fixed).fixedColor('text'))
    .legend(new VizLegendOptionsBuilder().displayMode(common.LegendDisplayMode.List).placement(common.LegendPlacement.Bottom).showLegend(false))
    .thresholds(thresholds(NEUTRAL))
    .mergeValues(true)
    .showValue(common.VisibilityMode.Auto)
    .rowHeight(0.8)
    .build()
}

export function heatmap(spec: HeatmapSpec): Panel {
  return frame(new HeatmapBuilder(), spec, 12, 8)
    .targets([target(spec.buckets, '{{le}}', 'A').range().format(PromQueryFormat.Heatmap)])
    .calculate(false)
    .yAxis(new YAxisConfigBuilder().unit(spec.unit))
    .cellGap(1)
    .showLegend()
    .build()
}
