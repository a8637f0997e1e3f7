/** Recording and alert rules, from the declarations and the SLO classes of the config. */
import { CORE_INSTRUMENTS as CORE } from '../../src/telemetry/catalogue.ts'
import { SELF_INSTRUMENTS as SELF } from '../../src/telemetry/self-instruments.ts'
import type { Declared } from '../declared.ts'
import type { Naming } from '../naming.ts'
import { max, min, PromQl, sum } from '../promql.ts'
import { SCRAPE_SERIES } from '../scrape-series.ts'
import { burnAlerts, burnRecordings } from './burn-rate.ts'
import { scaled } from './durations.ts'
import type { AlertRule, RuleGroup } from './rule.ts'

export interface RuleOptions {
  readonly naming: Naming
  /** Where RUNBOOK.md is to be read. */
  readonly runbookUrl?: string
  /** Every window and wait is this many times shorter: for tests against a real Prometheus. Default 1. */
  readonly timeScale?: number
}

export const DEFAULT_RUNBOOK_URL = 'dashboards/RUNBOOK.md'

/** A loop that swings by more than half its mean, both ways this often within 15 minutes, is hunting. */
const SWING = 0.5
const SWING_MOVES = 5
const KV_NEARLY_FULL = 0.95

export function alertRules(declared: Declared, options: RuleOptions): RuleGroup[] {
  const q = new PromQl(options.naming, 'rule')
  const scale = options.timeScale ?? 1
  const at = (duration: string, leastS = 1): string => scaled(duration, scale, leastS)
  const url = options.runbookUrl ?? DEFAULT_RUNBOOK_URL
  const annotate = (name: string, dashboard: string, summary: string, description: string): AlertRule['annotations'] => ({
    summary,
    description,
    runbook_url: `${url}#${name.toLowerCase()}`,
    dashboard: `/d/flyball-${dashboard}`,
  })
  const alert = (name: string, severity: 'page' | 'ticket', hold: string, dashboard: string, expr: string, summary: string, description: string): AlertRule => ({
    alert: name, expr, for: at(hold), labels: { severity }, annotations: annotate(name, dashboard, summary, description),
  })
  const interval = at('30s')
  return [
    { name: 'flyball-slo-recordings', interval, rules: burnRecordings(q, at) },
    { name: 'flyball-slo', interval, rules: burnAlerts(declared.classes, at, annotate) },
    {
      name: 'flyball-loops',
      interval,
      rules: [
        alert('FlyballLoopStalled', 'ticket', '5m', 'control-loop', stalled(q, declared, at), 'Loop {{ $labels.controller }} of {{ $labels.instance }} decides nothing although it sees traffic.', 'It has fresh samples at {{ $labels.scope }} but has not been asked, or has failed, for 10 minutes; its knobs stay where they are.'),
        alert('FlyballLoopOscillates', 'ticket', '15m', 'control-loop', oscillates(q, at), 'Knob {{ $labels.knob }} of {{ $labels.instance }} swings to and fro.', 'At {{ $labels.scope }} it moved both ways again and again, by {{ $value | humanizePercentage }} of its mean, over 15 minutes.'),
        alert('FlyballLoopInFallback', 'ticket', '5m', 'control-loop', `${max(q.value(CORE.loopMode, { mode: 'fallback' }), ['job', 'instance', 'controller', 'scope']).text} == 1`, 'Loop {{ $labels.controller }} of {{ $labels.instance }} is in fallback.', 'It has been blind at {{ $labels.scope }} for over a minute and has moved its knobs to their safe side.'),
      ],
    },
    {
      name: 'flyball-backends',
      interval,
      rules: [
        alert('FlyballBackendDown', 'page', '1m', 'backends', `${min(q.value(CORE.backendUp), ['job', 'instance', 'backend']).text} == 0`, 'Backend {{ $labels.backend }} is down for {{ $labels.instance }}.', 'Its health checks have failed for a minute. Calls to its models fail.'),
        alert('FlyballKvNearlyFull', 'ticket', '10m', 'backends', `${max(q.live(SELF.kvUsed), ['job', 'instance', 'backend']).text} > ${KV_NEARLY_FULL}`, 'KV memory of backend {{ $labels.backend }} is nearly full.', 'It has been over {{ $value | humanizePercentage }} full for 10 minutes: calls are preempted or wait, prefixes are forgotten.'),
      ],
    },
    {
      name: 'flyball-telemetry',
      interval,
      rules: [
        alert('FlyballSignalStale', 'ticket', '5m', 'control-loop', `${max(q.live(SELF.signalStale), ['job', 'instance', 'signal', 'scope']).text} == 1`, 'Signal {{ $labels.signal }} of {{ $labels.instance }} is stale.', 'There is demand at {{ $labels.scope }}, but nothing has been measured for 5 minutes; loops that need it hold.'),
        alert('FlyballTelemetryGone', 'page', '5m', 'self-health', gone(q, options.naming, at), 'flyball job {{ $labels.job }} no longer reports.', 'It did within the last hour. Boards and the other alerts are blind for it.'),
      ],
    },
  ]
}

/** Fresh samples, enough of them for many decisions, and none taken. */
function stalled(q: PromQl, declared: Declared, at: (duration: string, leastS?: number) => string): string {
  const by = ['job', 'instance', 'controller', 'scope'] as const
  const most = Math.max(1, ...declared.controllers.map(({ every }) => every.minSamples))
  const range = at('10m', 4)
  const unmoved = `max by (${by.join(', ')}) (${q.over('changes', SELF.loopEvaluations, range).text}) == 0`
  const sees = max(q.live(SELF.loopObserved), by)
  // Ten times what the hungriest loop asks for: whatever closes a window on samples has closed several.
  const busy = sum(q.increase(CORE.attempts, { purpose: 'serve' }, range), ['job', 'instance', 'backend'])
  const withBackend = `label_replace(${unmoved} and ${sees.text}, "backend", "$1", "scope", "(?:.*,)?backend=([^,]*).*")`
  return `(${withBackend}) and on (job, instance, backend) (${busy.text} >= ${10 * most})`
}

function oscillates(q: PromQl, at: (duration: string, leastS?: number) => string): string {
  const by = ['job', 'instance', 'knob', 'scope'] as const
  const range = at('15m', 4)
  const moves = (direction: string): string => `${sum(q.increase(CORE.moves, { direction }, range), by).text} >= ${SWING_MOVES}`
  const over = (fn: 'max_over_time' | 'min_over_time' | 'avg_over_time'): string => q.over(fn, CORE.knobValue, range).text
  return `max by (${by.join(', ')}) ((${over('max_over_time')} - ${over('min_over_time')}) / (${over('avg_over_time')} > 0)) > ${SWING} and ${moves('up')} and ${moves('down')}`
}

/** A target that answered within the hour and does not now; a job whose last instance fell silent. */
function gone(q: PromQl, naming: Naming, at: (duration: string, leastS?: number) => string): string {
  const lately = `max by (job) (${q.over('max_over_time', SELF.buildInfo, at('1h', 10)).text})`
  const silent = `${lately} unless ${max(q.live(SELF.buildInfo), ['job']).text}`
  if (naming === 'otlp') return silent
  return `${silent} or max by (job) (${q.value(SCRAPE_SERIES.up).text} == 0 and on (job, instance) ${q.over('max_over_time', SELF.buildInfo, at('1h', 10)).text})`
}
