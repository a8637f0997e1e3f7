/** Why is it slow? Admission, the queue, batches, the cache. */
import { CORE_INSTRUMENTS as CORE } from '../../src/telemetry/catalogue.ts'
import { instruments as CACHE, knobs as CACHE_KNOBS } from '../../plugins/optimizers/cache/declares.ts'
import type { Board } from '../board.ts'
import type { Declared } from '../declared.ts'
import { knobPanel } from '../knob-panel.ts'
import { heatmap, timeseries, type Panel } from '../panels.ts'
import { ratio, shareOf, sum, type Expr, type PromQl } from '../promql.ts'

export function lane(q: PromQl, declared: Declared, more: readonly Panel[]): Board {
  const wait = (p: number): Expr<'class'> => q.quantile(p, CORE.queueWait, ['class'])
  return {
    name: 'lane',
    title: 'flyball / Admission, queue, batch, cache',
    description: 'Why is it slow?',
    rows: [
      {
        title: 'Who gets in?',
        panels: [
          timeseries({ title: 'Turned away', unit: 'reqps', stacked: true, min: 0, noValue: 'None', description: 'Calls per second that were shed or whose deadline passed first, by class and reason.', queries: [{ expr: sum(q.rate(CORE.calls, { outcome: { re: 'shed|expired' } }), ['class', 'outcome', 'reason']), legend: '{{class}} {{outcome}} {{reason}}' }] }),
          timeseries({ title: 'Calls by class', unit: 'reqps', stacked: true, min: 0, description: 'Settled calls per second, by class and how they ended.', queries: [{ expr: sum(q.rate(CORE.calls), ['class', 'outcome']), legend: '{{class}} {{outcome}}' }] }),
        ],
      },
      {
        title: 'How long do they wait?',
        panels: [
          heatmap({ title: 'Time in the queue', unit: 's', description: 'Arrival at the lane to dispatch, calls per second by how long they waited.', buckets: sum(q.buckets(CORE.queueWait), ['le']) }),
          timeseries({ title: 'Time in the queue by class', unit: 's', min: 0, description: 'p50 and p95. An urgent class that waits as long as the others is not being put first.', queries: [{ expr: wait(0.5), legend: 'p50 {{class}}' }, { expr: wait(0.95), legend: 'p95 {{class}}' }] }),
          timeseries({ title: 'Waiting', unit: 'short', min: 0, description: 'Calls in the queues, by backend.', queries: [{ expr: sum(q.value(CORE.waiting), ['backend']), legend: '{{backend}}' }] }),
          timeseries({ title: 'Mean time by stage', unit: 's', min: 0, description: 'Of calls that spent any time in the stage. before_handler: in your app before the gateway saw it. backpressure: the reader was slow.', queries: [{ expr: q.mean(CORE.stageDuration, ['stage']), legend: '{{stage}}' }] }),
        ],
      },
      {
        title: 'Who goes together?',
        panels: [
          heatmap({ title: 'Batch sizes', unit: 'none', description: 'Dispatched batches per second by how many calls they held.', buckets: sum(q.buckets(CORE.batchSize), ['le']) }),
          timeseries({ title: 'Mean batch size', unit: 'none', min: 0, description: 'Calls per dispatched batch. 1: nothing is gained by batching, or the backend batches by itself.', queries: [{ expr: q.mean(CORE.batchSize, ['backend']), legend: '{{backend}}' }] }),
        ],
      },
      // Only where there is a cache: a configuration without one has no use for empty panels.
      { title: 'What need not be asked again?', panels: declared.instruments.some(({ name }) => name === CACHE.requests.name) ? cachePanels(q) : [] },
      { title: 'What plugins tell of themselves', panels: more },
    ],
  }
}

function cachePanels(q: PromQl): Panel[] {
  const by = ['class'] as const
  const cacheable = sum(q.rate(CACHE.requests, { outcome: { not: 'bypass' } }), by)
  const compared = sum(q.rate(CACHE.refreshes, { purpose: 'shadow', result: { re: 'changed|same' } }), by)
  return [
    timeseries({ title: 'Cache: hits', unit: 'percentunit', min: 0, max: 1, description: 'Share of cacheable calls that did not have to go to a backend: answered from the cache (stale ones included) or by a call already under way.', queries: [{ expr: shareOf(sum(q.rate(CACHE.requests, { outcome: { re: 'hit|stale|join' } }), by), cacheable), legend: '{{class}}' }] }),
    timeseries({ title: 'Cache: out of date', unit: 'percentunit', min: 0, noValue: 'Nothing compared yet', description: 'Of a sample of hits that were fetched again behind the scenes, the share whose answer had changed. The TTL loop keeps it under `cache.stale_budget`.', queries: [{ expr: shareOf(sum(q.rate(CACHE.refreshes, { purpose: 'shadow', result: 'changed' }), by), compared), legend: '{{class}}' }] }),
    timeseries({ title: 'Cache: what it did', unit: 'reqps', stacked: true, min: 0, description: 'Calls per second, by what the cache did with them. join: shared the answer of a call under way. bypass: not cacheable.', queries: [{ expr: sum(q.rate(CACHE.requests), ['outcome']), legend: '{{outcome}}' }] }),
    { ...knobPanel(q, CACHE_KNOBS.ttlS), title: 'Cache: TTL' },
    timeseries({ title: 'Cache: size', unit: 'bytes', min: 0, description: 'Estimated memory of its entries, over the chosen instances.', queries: [{ expr: sum(q.value(CACHE.bytes)), legend: 'memory' }] }),
    timeseries({ title: 'Cache: bytes per entry', unit: 'bytes', min: 0, noValue: 'Empty', description: 'Mean size of an entry.', queries: [{ expr: ratio(sum(q.value(CACHE.bytes)), sum(q.value(CACHE.entries))), legend: 'bytes' }] }),
  ]
}
