/** Everything that the batching plugin declares but its controller, once. */
import { instrument, knob, label } from '../../../src/index.ts'

export const knobs = {
  maxBatch: knob({
    name: 'batching.max_batch',
    default: 16,
    min: 1,
    max: 4_096,
    integer: true,
    unit: '{call}',
    doc: 'Most calls that run together. The backend’s own limit and memory envelope hold as well.',
    scope: ['backend'],
    maxUp: 2,
    maxDown: 0.25,
    cooldownMs: 1_000,
    safeDirection: 'down',
  }),
  maxDelayMs: knob({
    name: 'batching.max_delay_ms',
    default: 5,
    min: 0,
    max: 1_000,
    unit: 'ms',
    doc: 'Longest that a batch is held open for more calls. Only while another slot is busy: an idle backend never waits.',
    scope: ['backend'],
    maxUp: 2,
    maxDown: 0,
    minStep: 1,
    cooldownMs: 5_000,
    safeDirection: 'down',
  }),
} as const

const backend = label('Backend that runs the batches.')

export const instruments = {
  predicted: instrument({ name: 'flyball.batching_predicted_seconds', kind: 'gauge', unit: 's', doc: 'What the learned curve says a batch of max_batch typical calls takes (p95).', labels: { backend }, observed: true }),
  speed: instrument({ name: 'flyball.batching_slowdown', kind: 'gauge', unit: '1', doc: 'How many times slower than its learned curve the backend is now.', labels: { backend }, observed: true }),
  holds: instrument({ name: 'flyball.batching_holds', kind: 'counter', unit: '{batch}', doc: 'Batches that were held open for more calls.', labels: { backend } }),
} as const
