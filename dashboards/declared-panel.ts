/** A panel for any instrument, from its declaration alone: whatever a plugin or backend measures is shown without being asked for. */
import type { InstrumentSpec } from '../src/telemetry/instrument-spec.ts'
import { heatmap, timeseries, type Panel } from './panels.ts'
import { max, sum, type PromQl } from './promql.ts'
import { grafanaUnit, rateUnit } from './units.ts'

/** Labels shown apart; more would be a tangle. The first declared are the most telling. */
const SHOWN_LABELS = 2

/** `flyball.throttle_expected_wait_seconds` → throttle: expected wait. Its unit is on the axis, its name in the description. */
export function declaredPanelTitle({ name }: Pick<InstrumentSpec, 'name'>): string {
  const [owner = '', ...words] = name.replace(/^flyball\./, '').replace(/_seconds$/, '').split(/[._]/)
  return words.length === 0 ? owner : `${owner}: ${words.join(' ')}`
}

export function declaredPanel(q: PromQl, spec: InstrumentSpec): Panel {
  const by = Object.keys(spec.labels).slice(0, SHOWN_LABELS)
  const legend = by.length > 0 ? by.map((name) => `{{${name}}}`).join(' ') : 'all'
  const doc = `${spec.doc} (${spec.name})`
  const common = { title: declaredPanelTitle(spec), noValue: 'Nothing measured', width: 8, height: 7 }
  if (spec.kind === 'counter') {
    return timeseries({ ...common, description: `${doc} Per second.`, unit: rateUnit(spec.unit), min: 0, queries: [{ expr: sum(q.rate(spec as InstrumentSpec<string, 'counter'>), by), legend }] })
  }
  if (spec.kind === 'histogram') {
    const histogram = spec as InstrumentSpec<string, 'histogram'>
    if (by.length === 0) return heatmap({ ...common, description: doc, unit: grafanaUnit(spec.unit), buckets: sum(q.buckets(histogram), ['le']) })
    return timeseries({
      ...common, description: `${doc} p50 and p95.`, unit: grafanaUnit(spec.unit),
      queries: [0.5, 0.95].map((p) => ({ expr: q.quantile(p, histogram, by), legend: `p${p * 100} ${legend}` })),
    })
  }
  return timeseries({ ...common, description: `${doc} The highest of the chosen instances.`, unit: grafanaUnit(spec.unit), queries: [{ expr: max(q.live(spec as InstrumentSpec<string, 'gauge'>), by), legend }] })
}
