/** Why is it slow? Admission, the queue, batches, the cache. */
import { CORE_INSTRUMENTS as CORE } from '../../src/telemetry/catalogue.ts'
import type { Board } from '../board.ts'
import { heatmap, timeseries, type Panel } from '../panels.ts'
import { sum, type Expr, type PromQl } from '../promql.ts'

export function lane(q: PromQl, more: readonly Panel[]): Board {
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
      { title: 'What plugins tell of themselves', panels: more },
    ],
  }
}
