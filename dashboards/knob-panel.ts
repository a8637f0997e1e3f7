/** The panel of a knob, from its declaration alone: a step line between its bounds. */
import type { KnobSpec } from '../src/knobs/knob-spec.ts'
import { CORE_INSTRUMENTS as CORE } from '../src/telemetry/catalogue.ts'
import { SELF_INSTRUMENTS as SELF } from '../src/telemetry/self-instruments.ts'
import { timeseries, type Panel, type TimeseriesSpec } from './panels.ts'
import { avg, BACKEND_SCOPE, max, min, type PromQl } from './promql.ts'
import { grafanaUnit } from './units.ts'

/** Bounds this much further apart than 1:WIDE would press the value onto an axis. */
const WIDE = 50

export const knobPanelTitle = (spec: Pick<KnobSpec, 'name'>): string => `Knob ${spec.name}`

export function knobPanel(q: PromQl, spec: KnobSpec): Panel {
  const where = { knob: spec.name }
  const scoped = spec.scope.includes('backend') ? { ...where, scope: BACKEND_SCOPE } : where
  const each = spec.scope.length > 0
  return timeseries({
    title: knobPanelTitle(spec),
    description: `${spec.doc} In ${spec.unit}, from ${spec.min} to ${spec.max}, ${spec.default} by default; one move goes up by at most ×${spec.maxUp}, down ${spec.maxDown > 0 ? `by at most ×${spec.maxDown}` : 'as far as it takes'}. Mean over the chosen instances.`,
    unit: grafanaUnit(spec.unit),
    scale: scaleOf(spec),
    noValue: 'Not in use',
    queries: [
      each
        ? { expr: avg(q.value(CORE.knobValue, scoped), ['scope']), legend: '{{scope}}', style: 'step' }
        : { expr: avg(q.value(CORE.knobValue, scoped)), legend: 'value', style: 'step' },
      { expr: min(q.value(CORE.knobMin, where)), legend: 'lowest', style: 'bound' },
      { expr: max(q.value(CORE.knobMax, where)), legend: 'highest', style: 'bound' },
      ...(spec.tunable ? [wished(q, scoped, each)] : []),
    ],
  })
}

/** What the loop asked for, before bounds and the size of one move. */
function wished(q: PromQl, where: Parameters<typeof wishExpr>[1], each: boolean): TimeseriesSpec['queries'][number] {
  return each ? { expr: avg(wishExpr(q, where), ['scope']), legend: 'wished {{scope}}', style: 'wish' } : { expr: avg(wishExpr(q, where)), legend: 'wished', style: 'wish' }
}

const wishExpr = (q: PromQl, where: { knob: string; scope?: typeof BACKEND_SCOPE }) => q.live(SELF.moveValue, { ...where, value: 'wish' })

function scaleOf({ min: low, max: high }: KnobSpec): NonNullable<TimeseriesSpec['scale']> {
  if (low > 0) return high / low > WIDE ? 'log' : 'linear'
  return low === 0 && high > WIDE ? 'symlog' : 'linear'
}
