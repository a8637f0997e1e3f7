/** Are users all right, and at what cost? */
import { CORE_INSTRUMENTS as CORE } from '../../src/telemetry/catalogue.ts'
import { SELF_INSTRUMENTS as SELF } from '../../src/telemetry/self-instruments.ts'
import type { Board } from '../board.ts'
import { stat, timeseries, type Query } from '../panels.ts'
import { countOf, max, raw, shareOf, sum, topk, type Expr, type PromQl } from '../promql.ts'
import type { InstrumentSpec } from '../../src/telemetry/instrument-spec.ts'

/** Calls that count: a caller who left was promised nothing. */
const COUNTED = { outcome: { not: 'cancelled' } } as const

/** Stages are not kept apart by model: nor may be what they are divided by. */
const EVERY_MODEL = { model: { re: '.+' } } as const

export function overview(q: PromQl): Board {
  const attainment = shareOf(sum(q.rate(CORE.sloMet), ['class']), sum(q.rate(CORE.calls, COUNTED), ['class']))
  const attainmentInRange = shareOf(sum(q.increase(CORE.sloMet, {}, '$__range'), ['class']), sum(q.increase(CORE.calls, COUNTED, '$__range'), ['class']))
  const objective = max(q.value(SELF.sloObjective), ['class'])
  const offered = sum(q.rate(CORE.calls))
  const goodput = sum(q.rate(CORE.sloMet))
  return {
    name: 'overview',
    title: 'flyball / Overview',
    description: 'Are users all right, and at what cost?',
    rows: [
      {
        title: 'Now',
        panels: [
          stat({
            title: 'SLO attainment', width: 6, unit: 'percentunit', decimals: 2,
            description: 'Share of calls in the shown range that met every target of their class. Calls whose caller left do not count.',
            query: { expr: attainmentInRange, legend: '{{class}}' },
            thresholds: [{ value: null, color: 'red' }, { value: 0.9, color: 'orange' }, { value: 0.95, color: 'green' }],
          }),
          stat({
            title: 'Error budget left', width: 6, unit: 'percentunit', decimals: 0,
            description: 'Of the misses that the objective allows in the shown range, how much is left. Below 0: the promise is broken.',
            query: { expr: raw(`1 - (1 - ${attainmentInRange.text}) / (1 - ${objective.text})`, ['class']), legend: '{{class}}' },
            thresholds: [{ value: null, color: 'red' }, { value: 0, color: 'orange' }, { value: 0.25, color: 'green' }],
          }),
          stat({ title: 'Goodput', unit: 'reqps', description: 'Calls per second that met their SLO.', query: { expr: goodput, legend: 'goodput' } }),
          stat({ title: 'Offered', unit: 'reqps', description: 'Calls per second that settled, however.', query: { expr: offered, legend: 'offered' } }),
          stat({
            title: 'Loops not in command', unit: 'short', noValue: 'No loops', decimals: 0,
            description: 'Control loops in hold or fallback: they do not see what they need. The control board says why.',
            query: { expr: countOf(sum(q.live(CORE.loopMode, { mode: { re: 'hold|fallback' } })), sum(q.live(CORE.loopMode))), legend: 'loops' },
            thresholds: [{ value: null, color: 'green' }, { value: 1, color: 'orange' }],
          }),
        ],
      },
      {
        title: 'Are users all right?',
        panels: [
          timeseries({
            title: 'SLO attainment by class', unit: 'percentunit', min: 0, max: 1,
            description: 'Share of calls that met every target of their class, with the objective dashed.',
            queries: [{ expr: attainment, legend: '{{class}}' }, { expr: objective, legend: 'objective {{class}}', style: 'target' }],
          }),
          timeseries({
            title: 'Goodput and what was offered', unit: 'reqps', min: 0,
            description: 'The gap between the two is what was shed, failed, or came too late.',
            queries: [{ expr: goodput, legend: 'goodput' }, { expr: offered, legend: 'offered', style: 'band' }],
          }),
          latency(q, 'Time to first token', 'Arrival of the request to the first token (or the whole unary reply), of calls that ended well; the classes’ targets dashed.', CORE.ttft, 'ttft'),
          latency(q, 'Time per output token', 'Mean time between tokens of a stream, per call.', CORE.itl, 'itl'),
          latency(q, 'Whole call', 'Arrival of the request to settlement, however it ended.', CORE.callDuration, 'e2e'),
          timeseries({
            title: 'Where the time goes', unit: 's', stacked: true, min: 0,
            description: 'Mean seconds per settled call, by stage of its life.',
            queries: [{ expr: raw(`${sum(q.total(CORE.stageDuration), ['stage']).text} / on () group_left () (${sum(q.count(CORE.callDuration, EVERY_MODEL)).text} > 0)`, ['stage']), legend: '{{stage}}' }],
          }),
        ],
      },
      {
        title: 'At what cost?',
        panels: [
          timeseries({ title: 'Tokens', unit: 'tokens/s', stacked: true, min: 0, description: 'Tokens per second of settled calls.', queries: [{ expr: sum(q.rate(CORE.tokens), ['kind']), legend: '{{kind}}' }] }),
          timeseries({
            title: 'Calls that did not end well', unit: 'reqps', stacked: true, min: 0, noValue: 'None',
            description: 'By how they ended and why: an error code of ours, or the upstream’s status.',
            queries: [{ expr: sum(q.rate(CORE.calls, { outcome: { not: 'ok' } }), ['outcome', 'reason']), legend: '{{outcome}} {{reason}}' }],
          }),
          timeseries({ title: 'Busiest models', unit: 'reqps', min: 0, description: 'Calls per second of the ten busiest models.', queries: [{ expr: topk(10, sum(q.rate(CORE.calls), ['model'])), legend: '{{model}}' }] }),
          timeseries({
            title: 'Calls in flight and waiting', unit: 'short', min: 0, description: 'Over all chosen backends.',
            queries: [{ expr: sum(q.value(CORE.inFlight)), legend: 'in flight' }, { expr: sum(q.value(CORE.waiting)), legend: 'waiting' }],
          }),
        ],
      },
    ],
  }

  function latency<L extends string>(ql: PromQl, title: string, description: string, spec: InstrumentSpec<L, 'histogram'>, target: string): ReturnType<typeof timeseries> {
    const queries: Query[] = [0.5, 0.95, 0.99].map((p) => ({ expr: ql.quantile(p, spec) as Expr, legend: `p${p * 100}` }))
    queries.push({ expr: max(ql.value(SELF.sloTarget, { target }), ['class']), legend: 'target {{class}}', style: 'target' })
    return timeseries({ title, description, unit: 's', min: 0, queries })
  }
}

