/** Multi-window burn rates of each class's error budget: fast burn pages, slow burn makes a ticket. */
import type { SloClass } from '../../src/core/slo.ts'
import { CORE_INSTRUMENTS as CORE } from '../../src/telemetry/catalogue.ts'
import { sum, shareOf, type PromQl } from '../promql.ts'
import type { AlertRule, RecordingRule } from './rule.ts'

/** Budget of 30 days gone in 2, 5, 10 and 30 days. The short window ends the alert soon after the trouble does. */
export const BURNS = [
  { name: 'FlyballBudgetBurnsVeryFast', factor: 14.4, long: '1h', short: '5m', severity: 'page', hold: '2m' },
  { name: 'FlyballBudgetBurnsFast', factor: 6, long: '6h', short: '30m', severity: 'page', hold: '15m' },
  { name: 'FlyballBudgetBurns', factor: 3, long: '1d', short: '2h', severity: 'ticket', hold: '1h' },
  { name: 'FlyballBudgetBurnsSlowly', factor: 1, long: '3d', short: '6h', severity: 'ticket', hold: '3h' },
] as const

/** With fewer calls than this in the short window, one miss would page. */
const MIN_CALLS = 10
/** A lax objective times 14.4 is more than every call: then this share of misses is as bad as it gets. */
const MOST_MISSES = 0.9

const WINDOWS = [...new Set(BURNS.flatMap(({ long, short }) => [short, long]))]
const COUNTED = { outcome: { not: 'cancelled' } } as const

export const missRecord = (window: string): string => `job_class:flyball_slo_misses:ratio_rate${window}`
export const callsRecord = (window: string): string => `job_class:flyball_calls:increase${window}`

export function burnRecordings(q: PromQl, at: (duration: string, leastS?: number) => string): RecordingRule[] {
  return WINDOWS.flatMap((window) => {
    const range = at(window, 2)
    const met = sum(q.rate(CORE.sloMet, {}, range), ['job', 'class'])
    const all = sum(q.rate(CORE.calls, COUNTED, range), ['job', 'class'])
    return [
      { record: missRecord(window), expr: `1 - ${shareOf(met, all).text}` },
      { record: callsRecord(window), expr: sum(q.increase(CORE.calls, COUNTED, range), ['job', 'class']).text },
    ]
  })
}

export function burnAlerts(classes: readonly SloClass[], at: (duration: string, leastS?: number) => string, annotate: (name: string, dashboard: string, summary: string, description: string) => AlertRule['annotations']): AlertRule[] {
  return BURNS.flatMap(({ name, factor, long, short, severity, hold }) =>
    classes.filter(({ quantile }) => quantile < 1).map((slo) => {
      const budget = 1 - slo.quantile
      const threshold = Number(Math.min(factor * budget, Math.max(MOST_MISSES, budget)).toFixed(6))
      const own = `{class=${JSON.stringify(slo.name)}}`
      return {
        alert: name,
        expr: `${missRecord(long)}${own} > ${threshold} and ${missRecord(short)}${own} > ${threshold} and ${callsRecord(short)}${own} >= ${MIN_CALLS}`,
        for: at(hold),
        labels: { severity, class: slo.name },
        annotations: annotate(name, 'overview', `Class {{ $labels.class }} of {{ $labels.job }} misses its SLO at ${factor} times what it can afford.`, `{{ $value | humanizePercentage }} of calls missed their targets over ${long}, and still do over ${short}; the objective allows ${Number((budget * 100).toFixed(4))}%.`),
      }
    }),
  )
}
