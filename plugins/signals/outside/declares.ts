/** What is measured outside of this process, declared once. */
import { instrument, knob, label, signal } from '../../../src/index.ts'
import { SOURCES } from './maps.ts'

/** Longer than two of the longest intervals, so that a slow one never looks idle between two measurements. */
const outside = { scope: ['backend'], aggregate: 'last', windowMs: 130_000, capacity: 64 } as const

export const signals = {
  gpu_use: signal({ name: 'outside.gpu_use', unit: '1', doc: 'Share of time that the backend’s busiest GPU was busy, by its own page.', ...outside }),
  queue_length: signal({ name: 'outside.queue_length', unit: '{call}', doc: 'Calls waiting inside the backend, behind our own queue.', ...outside }),
  kv_used: signal({ name: 'outside.kv_used', unit: '1', doc: 'Share of the backend’s KV cache in use, the fullest engine’s.', ...outside }),
  running: signal({ name: 'outside.running', unit: '{call}', doc: 'Calls that the backend says it is running, whoever sent them.', ...outside }),
} as const

export const knobs = {
  intervalMs: knob({ name: 'outside.interval_ms', default: 2_000, min: 100, max: 60_000, unit: 'ms', doc: 'From one scrape of a page to the next.', scope: ['backend'], tunable: false }),
  timeoutMs: knob({ name: 'outside.timeout_ms', default: 1_000, min: 10, max: 30_000, unit: 'ms', doc: 'A scrape that takes longer has failed: its signals are stale.', scope: ['backend'], tunable: false }),
  maxBytes: knob({ name: 'outside.max_bytes', default: 4_194_304, min: 1_024, max: 67_108_864, unit: 'By', integer: true, doc: 'A longer page has failed.', scope: ['backend'], tunable: false }),
} as const

export const FAILURES = ['timeout', 'connection', 'status', 'too_large', 'bad_reply', 'no_metric'] as const
export type Failure = (typeof FAILURES)[number]

const backend = label('Backend that the page tells about.', 32)
const source = label('Kind of page.', 9, [...Object.keys(SOURCES), 'custom', 'promql'])

export const instruments = {
  scrape: instrument({ name: 'flyball.outside_scrape_seconds', kind: 'histogram', unit: 's', doc: 'Time that a scrape of somebody’s metrics took, failed ones too.', labels: { backend, source }, buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 1, 5, 30] }),
  failures: instrument({ name: 'flyball.outside_failures', kind: 'counter', unit: '{scrape}', doc: 'Scrapes that failed: the signals they feed are stale until one succeeds.', labels: { backend, source, reason: label('What went wrong.', FAILURES.length + 1, FAILURES) } }),
} as const
