/** Is it better than doing nothing? The governed arm against the user's own static values. */
import { CORE_INSTRUMENTS as CORE } from '../../src/telemetry/catalogue.ts'
import { SELF_INSTRUMENTS as SELF } from '../../src/telemetry/self-instruments.ts'
import { UPLIFT_INSTRUMENTS as UPLIFT } from '../../src/telemetry/uplift-instruments.ts'
import type { Board } from '../board.ts'
import { stat, table, timeline, timeseries, type Panel } from '../panels.ts'
import { avg, max, ratio, sum, type Expr, type PromQl } from '../promql.ts'

const NO_ESTIMATE = 'Not enough pairs yet'
const NO_EXPERIMENT = 'No experiment in this range'

export function uplift(q: PromQl): Board {
  const timeOfArm = sum(q.increase(SELF.armTime, {}, '$__range'), ['arm'])
  return {
    name: 'uplift',
    title: 'flyball / Uplift',
    description: 'Is it better than doing nothing? The loops against the user’s own static values.',
    rows: [
      { title: 'What the experiment has found, since it began', panels: foundPanels(q) },
      {
        title: 'The two arms (the governed one also has all the time between experiments: compare only where both are)',
        panels: [
          timeseries({
            title: 'SLO attainment by arm', unit: 'percentunit', min: 0, max: 1,
            description: 'Share of calls that met their SLO, by the arm in which they ended. The static arm shows only while it is on.',
            queries: [{ expr: ratio(sum(q.rate(SELF.armCalls, { slo: 'met' }), ['arm']), sum(q.rate(SELF.armCalls), ['arm'])), legend: '{{arm}}' }],
          }),
          timeseries({
            title: 'Goodput by arm', unit: 'reqps', min: 0,
            description: 'Calls that met their SLO, per second that the arm was on.',
            queries: [{ expr: ratio(sum(q.rate(SELF.armCalls, { slo: 'met' }), ['arm']), sum(q.rate(SELF.armTime), ['arm'])), legend: '{{arm}}' }],
          }),
          table({
            title: 'By class', unit: 'short', width: 12, rows: ['arm', 'class'],
            description: 'Calls in the shown range, by the arm and class they ended in.',
            columns: [
              { title: 'Met their SLO', unit: 'short', decimals: 0, query: sum(q.increase(SELF.armCalls, { slo: 'met' }, '$__range'), ['arm', 'class']) },
              { title: 'Calls', unit: 'short', decimals: 0, query: sum(q.increase(SELF.armCalls, {}, '$__range'), ['arm', 'class']) },
            ],
          }),
          table({ title: 'Time in each arm', unit: 's', width: 12, rows: ['arm'], noValue: 'No governor', description: 'Over the shown range and the chosen instances.', columns: [{ title: 'Time', unit: 's', query: timeOfArm }] }),
        ],
      },
      {
        title: 'The experiment',
        panels: [
          timeline({
            title: 'Static arm', unit: 'none', width: 12, noValue: 'No governor',
            description: 'When an experiment held the user’s own values, by instance.',
            queries: [{ expr: max(q.value(SELF.armOn, { arm: 'static' }), ['instance']), legend: '{{instance}}' }],
            states: { 0: { text: 'governed', color: 'green' }, 1: { text: 'static', color: 'blue' } },
          }),
          timeline({
            title: 'Dry run', unit: 'none', width: 12, noValue: 'No governor',
            description: 'While on, the loops decide and turn nothing: both arms are the same, and no uplift can show.',
            queries: [{ expr: max(q.value(CORE.loopDryRun), ['instance']), legend: '{{instance}}' }],
            states: { 0: { text: 'turning', color: 'green' }, 1: { text: 'dry', color: 'blue' } },
          }),
          timeseries({
            title: 'Knobs held by the experiment', unit: 'none', min: 0, decimals: 0, noValue: NO_EXPERIMENT,
            description: 'How many instances of each knob stand at the experiment’s value.',
            queries: [{ expr: sum(q.live(CORE.knobLayer, { layer: 'experiment' }), ['knob']), legend: '{{knob}}' }],
          }),
        ],
      },
    ],
  }
}

/** The experiment's own estimate: neighbouring blocks in pairs, washouts left out, carry-over accounted for. */
function foundPanels(q: PromQl): Panel[] {
  const found = (title: string, measure: string, unit: string, description: string): Panel => {
    const of = (bound: string): Expr<'instance'> => avg(q.live(UPLIFT.uplift, { measure, bound }), ['instance'])
    return timeseries({
      title, unit, description: `${description} The 95% interval dashed; both ends on one side of 0: not chance.`, noValue: NO_ESTIMATE, width: 12, height: 7,
      queries: [
        { expr: of('mean'), legend: 'mean {{instance}}', style: 'step' },
        { expr: of('low'), legend: 'at least {{instance}}', style: 'band' },
        { expr: of('high'), legend: 'at most {{instance}}', style: 'band' },
      ],
    })
  }
  return [
    found('Uplift in SLO attainment', 'attainment', 'percentunit', 'Calls within their SLO per offered call, governed less static.'),
    found('Uplift in goodput', 'goodput', 'reqps', 'Calls within their SLO per second, governed less static.'),
    found('Uplift in latency', 'latency', 's', 'Mean latency of settled calls, governed less static: below 0 is better.'),
    found('Uplift in cost', 'cost', 'percentunit', 'Calls that reached a backend per offered call, governed less static: below 0 is cheaper.'),
    stat({ title: 'Pairs of blocks', width: 6, unit: 'none', decimals: 0, noValue: NO_EXPERIMENT, description: 'Pairs of neighbouring blocks compared so far, over the chosen instances. Below 4 there is no interval.', query: { expr: sum(q.value(UPLIFT.pairs)), legend: 'pairs' } }),
    stat({ title: 'Static blocks cut short', width: 6, unit: 'none', decimals: 0, noValue: NO_EXPERIMENT, description: 'Because users paid for them: attainment fell too far below the governed arm’s.', query: { expr: sum(q.value(UPLIFT.endedEarly)), legend: 'blocks' } }),
  ]
}
