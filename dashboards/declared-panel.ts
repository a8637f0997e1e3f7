/** A panel for any instrument, from its declaration alone: whatever a plugin or backend measures is shown without being asked for. */
import type { InstrumentSpec } from '../src/telemetry/instrument-spec.ts'
import { heatmap, timeseries, type Panel } from './panels.ts'
import { max, sum, type PromQl } from './promql.ts'
import { grafanaUnit, rateUnit } from './units.ts'

/** Labels shown apart; more would be a tangle. The first declared are the most telling. */
const SHOWN_LABELS = 2

export const declaredPanelTitle = (spec: Pick<InstrumentSpec, 'name'>): string => spec.name

export function declaredPanel(q: PromQl, spec: InstrumentSpec): Panel {
  const by = Object.keys(spec.labels).slice(0, SHOWN_LABELS)
  const legend = by.length > 0 ? by.map((name) => `{{${name}}}`).join(' ') : 'all'
  const common = { title: declaredPanelTitle(spec), noValue: 'Nothing measured', width: 8, height: 7 }
  if (spec.kind === 'counter') {
    return timeseries({ ...common, description: `${spec.doc} Per second.`, unit: rateUnit(spec.unit), min: 0, queries: [{ expr: sum(q.rate(spec as InstrumentSpec<string, 'counter'>), by), legend }] })
  }
  if (spec.kind === 'histogram') {
    const histogram = spec as InstrumentSpec<string, 'histogram'>
    if (by.length === 0) return heatmap({ ...common, description: spec.doc, unit: grafanaUnit(spec.unit), buckets: sum(q.buckets(histogram), ['le']) })
    return timeseries({
      ...common, description: `${spec.doc} p50 and p95.`, unit: grafanaUnit(spec.unit),
      queries: [0.5, 0.95].map((p) => ({ expr: q.quantile(p, histogram, by), legend: `p${p * 100} ${legend}` })),
    })
  }
  return timeseries({ ...common, description: `${spec.doc} The highest of the chosen instances.`, unit: grafanaUnit(spec.unit), queries: [{ expr: max(q.live(spec as InstrumentSpec<string, 'gauge'>), by), legend }] })
}
