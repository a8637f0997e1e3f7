/** Is flyball itself well? */
import { SELF_INSTRUMENTS as SELF } from '../../src/telemetry/self-instruments.ts'
import type { Board } from '../board.ts'
import { stat, table, timeline, timeseries, type Panel } from '../panels.ts'
import { max, sum, type PromQl } from '../promql.ts'
import { SCRAPE_SERIES } from '../scrape-series.ts'

export function selfHealth(q: PromQl): Board {
  return {
    name: 'self-health',
    title: 'flyball / Self-health',
    description: 'Is flyball itself well, and what does watching it cost?',
    rows: [
      {
        title: 'What runs',
        panels: [
          table({ title: 'Builds', unit: 'none', width: 16, height: 6, rows: ['job', 'instance', 'version', 'node'], noValue: 'No instance reports', description: 'Each instance, its version and its Node.', columns: [{ title: 'Started', unit: 'dateTimeFromNow', query: { text: `max by (job, instance) (${q.live(SELF.startTime).text}) * 1000 * on (job, instance) group_left (version, node) max by (job, instance, version, node) (${q.live(SELF.buildInfo).text})`, labels: ['job', 'instance', 'version', 'node'] } }] }),
          stat({ title: 'Instances', width: 8, height: 6, unit: 'none', decimals: 0, noValue: 'None', description: 'Instances that report.', query: { expr: { text: `count(${q.live(SELF.buildInfo).text})`, labels: [] }, legend: 'instances' } }),
        ],
      },
      {
        title: 'The process',
        panels: [
          timeseries({ title: 'Event-loop delay', unit: 's', min: 0, description: 'How late timers ran between collections, the worst of the chosen instances. Everything that streams waits for this.', queries: [{ expr: max(q.value(SELF.eventLoopDelay), ['stat']), legend: '{{stat}}' }] }),
          timeseries({ title: 'Cores busy', unit: 'none', min: 0, description: 'Cores kept busy by each process, the ten busiest.', queries: [{ expr: { text: `topk(10, ${max(q.live(SELF.cpu), ['instance']).text})`, labels: ['instance'] }, legend: '{{instance}}' }] }),
          timeseries({ title: 'Memory', unit: 'bytes', min: 0, description: 'The largest of the chosen instances.', queries: [{ expr: max(q.value(SELF.memory), ['kind']), legend: '{{kind}}' }] }),
        ],
      },
      { title: 'What watching costs', panels: q.naming === 'metrics' ? scrapePanels(q) : [] },
    ],
  }
}

/** Prometheus's own series of its scrapes; nothing like them exists where telemetry is pushed. */
function scrapePanels(q: PromQl): Panel[] {
  const { up, duration, samples } = SCRAPE_SERIES
  return [
    timeline({ title: 'Scrapes', unit: 'none', width: 12, noValue: 'No targets', description: 'Whether Prometheus got an answer from `/metrics`.', queries: [{ expr: max(q.value(up), ['instance']), legend: '{{instance}}' }], states: { 0: { text: 'failed', color: 'red' }, 1: { text: 'answered', color: 'green' } } }),
    timeseries({ title: 'Scrape time', unit: 's', min: 0, description: 'How long a scrape took, the slowest of the chosen instances and the mean.', queries: [{ expr: max(q.value(duration)), legend: 'slowest' }, { expr: { text: `avg(${q.value(duration).text})`, labels: [] }, legend: 'mean' }] }),
    timeseries({ title: 'Series', unit: 'short', min: 0, description: 'Samples per scrape: all of them, and those of the largest instance. Labels are bounded, so this levels off.', queries: [{ expr: sum(q.value(samples)), legend: 'all' }, { expr: max(q.value(samples)), legend: 'largest instance' }] }),
  ]
}
