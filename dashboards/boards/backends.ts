/** Which backend is sick? */
import { CORE_INSTRUMENTS as CORE } from '../../src/telemetry/catalogue.ts'
import { SELF_INSTRUMENTS as SELF } from '../../src/telemetry/self-instruments.ts'
import type { Board } from '../board.ts'
import { table, timeline, timeseries, type Panel } from '../panels.ts'
import { max, min, ratio, shareOf, sum, type Expr, type PromQl } from '../promql.ts'

const BY = ['backend'] as const
const FAILED = { outcome: { re: 'error|expired' } } as const

export function backends(q: PromQl, more: readonly Panel[]): Board {
  const saturation = ratio(sum(q.value(CORE.inFlight), BY), sum(q.value(CORE.limit), BY))
  const failed = shareOf(sum(q.rate(CORE.attempts, FAILED), BY), sum(q.rate(CORE.attempts), BY))
  const up = min(q.value(CORE.backendUp), BY)
  const kv = max(q.live(SELF.kvUsed), BY)
  const latency = (p: number): Expr<'backend'> => q.quantile(p, CORE.attemptDuration, BY)
  return {
    name: 'backends',
    title: 'flyball / Backends',
    description: 'Which backend is sick?',
    rows: [
      {
        title: 'Now',
        panels: [
          table({
            title: 'Backends', unit: 'none', rows: [...BY], noValue: 'No backends', height: 7,
            description: 'Over the chosen instances: down when any of them says so, sums of calls, the fullest KV memory.',
            columns: [
              { title: 'Health', query: up, mappings: { 0: { text: 'down', color: 'red' }, 1: { text: 'up', color: 'green' } } },
              { title: 'In flight', query: sum(q.value(CORE.inFlight), BY), unit: 'short' },
              { title: 'Limit', query: sum(q.value(CORE.limit), BY), unit: 'short' },
              { title: 'Saturation', query: saturation, unit: 'percentunit', decimals: 0, thresholds: [{ value: null, color: 'text' }, { value: 0.95, color: 'orange' }] },
              { title: 'Waiting', query: sum(q.value(CORE.waiting), BY), unit: 'short' },
              { title: 'Attempts', query: sum(q.rate(CORE.attempts), BY), unit: 'reqps', decimals: 1 },
              { title: 'Failed', query: failed, unit: 'percentunit', decimals: 1, thresholds: [{ value: null, color: 'text' }, { value: 0.01, color: 'orange' }, { value: 0.1, color: 'red' }] },
              { title: 'p95', query: latency(0.95), unit: 's' },
              { title: 'KV used', query: kv, unit: 'percentunit', decimals: 0, thresholds: [{ value: null, color: 'text' }, { value: 0.9, color: 'orange' }, { value: 0.97, color: 'red' }] },
            ],
          }),
          timeline({
            title: 'Health', unit: 'none', noValue: 'No backends', height: 5,
            description: 'From the gateway’s own health checks, every 5 s. Down when any chosen instance says so.',
            queries: [{ expr: up, legend: '{{backend}}' }],
            states: { 0: { text: 'down', color: 'red' }, 1: { text: 'up', color: 'green' } },
          }),
        ],
      },
      {
        title: 'How full?',
        panels: [
          timeseries({ title: 'In flight and limit', unit: 'short', min: 0, description: 'Calls handed to the backend, and the limit in force on them.', queries: [{ expr: sum(q.value(CORE.inFlight), BY), legend: '{{backend}}' }, { expr: sum(q.value(CORE.limit), BY), legend: 'limit {{backend}}', style: 'bound' }] }),
          timeseries({ title: 'Waiting', unit: 'short', min: 0, description: 'Calls in the lane’s queue, the only queue in front of a backend.', queries: [{ expr: sum(q.value(CORE.waiting), BY), legend: '{{backend}}' }] }),
          timeseries({ title: 'Saturation', unit: 'percentunit', min: 0, description: 'Calls in flight as a share of the limit. At 100% with calls waiting, the backend is the bottleneck, or its limit is.', queries: [{ expr: saturation, legend: '{{backend}}' }] }),
          timeseries({ title: 'KV memory in use', unit: 'percentunit', min: 0, max: 1, noValue: 'No backend tells', description: 'Share of KV memory in use, the fullest of the chosen instances. Nearly full: calls are preempted and prefixes forgotten.', queries: [{ expr: kv, legend: '{{backend}}' }] }),
        ],
      },
      {
        title: 'How well?',
        panels: [
          timeseries({ title: 'Attempts by purpose', unit: 'reqps', stacked: true, min: 0, description: 'serve: for a caller. retry and hedge: again. refresh, shadow and warm: nobody waits. join: shares another’s attempt.', queries: [{ expr: sum(q.rate(CORE.attempts), ['backend', 'purpose']), legend: '{{backend}} {{purpose}}' }] }),
          timeseries({ title: 'Attempts that did not end well', unit: 'reqps', stacked: true, min: 0, noValue: 'None', description: 'By how they ended and why. Shed ones never reached the backend.', queries: [{ expr: sum(q.rate(CORE.attempts, { outcome: { not: 'ok' } }), ['backend', 'outcome', 'reason']), legend: '{{backend}} {{outcome}} {{reason}}' }] }),
          timeseries({ title: 'Time at the backend', unit: 's', min: 0, description: 'Dispatch to settlement of attempts that reached it.', queries: [0.5, 0.95].map((p) => ({ expr: latency(p), legend: `p${p * 100} {{backend}}` })) }),
          timeseries({ title: 'Upstream turned away', unit: 'percentunit', min: 0, max: 1, description: 'Share of attempts answered with 429, 503 or a time-out, as the throttle sees it.', queries: [{ expr: max(q.live(CORE.signalValue, { signal: 'lane.rejects', scope: { re: 'backend=($backend)' } }), ['scope']), legend: '{{scope}}' }] }),
        ],
      },
      { title: 'What backends tell of themselves', panels: more },
    ],
  }
}
