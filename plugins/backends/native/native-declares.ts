/** Knobs, signals and instruments of the native backend. */
import { instrument, knob, label, signal } from '../../../src/index.ts'

const backend = label('Backend by its configured name.', 32)
const scope = ['backend'] as const

/** Steps of the engine take from well below a millisecond (embedded model) to about a second (long prompts on a large one). */
const STEP_BUCKETS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]

export const NATIVE_KNOBS = {
  maxSequences: knob({ name: 'native.max_sequences', default: 64, min: 1, max: 1_024, integer: true, unit: '{sequence}', doc: 'Sequences decoded together: more finish more per second, each of them slower. The engine’s own cap, set when it was opened, holds as well.', scope, maxUp: 1.25, maxDown: 0.5, cooldownMs: 2_000, safeDirection: 'down' }),
  tokensPerStep: knob({ name: 'native.tokens_per_step', default: 512, min: 16, max: 8_192, integer: true, unit: '{token}', doc: 'Tokens of one forward pass, prompts and decodes together: fewer keep decoding smooth beside long prompts, more compute prompts faster. Each takes memory beside the key-value budget: 50 KB on a model of 1.2B parameters.', scope, maxUp: 1.5, maxDown: 0.5, cooldownMs: 2_000, safeDirection: 'down' }),
  attentionWindow: knob({ name: 'native.attention_window', default: 0, min: 0, max: 1_048_576, integer: true, unit: '{token}', doc: 'Latest positions that attention sees, beside the sinks; 0: the model’s own. Fewer cost less time and quality.', scope, tunable: false }),
} as const

export const NATIVE_SIGNALS = {
  kvUsed: signal({ name: 'native.kv_used', unit: '1', doc: 'Share of the key-value memory in use.', scope, aggregate: 'max' }),
  waiting: signal({ name: 'native.waiting', unit: '{call}', doc: 'Sequences waiting inside the engine.', scope, aggregate: 'max' }),
  running: signal({ name: 'native.running', unit: '{sequence}', doc: 'Sequences being decoded.', scope, aggregate: 'max' }),
  stepMs: signal({ name: 'native.step_ms', unit: 'ms', doc: 'Time of a forward pass, at the tokens in it.', scope, aggregate: 'quantile' }),
} as const

export const NATIVE_INSTRUMENTS = {
  kvTokens: instrument({ name: 'flyball.native_kv_tokens', kind: 'gauge', unit: '{token}', doc: 'Tokens held in key-value memory.', labels: { backend }, observed: true }),
  kvCapacity: instrument({ name: 'flyball.native_kv_capacity_tokens', kind: 'gauge', unit: '{token}', doc: 'Tokens that the key-value memory can hold.', labels: { backend }, observed: true }),
  sequences: instrument({ name: 'flyball.native_sequences', kind: 'gauge', unit: '{sequence}', doc: 'Sequences inside the engine.', labels: { backend, state: label('Running or waiting.', 2, ['running', 'waiting']) }, observed: true }),
  stepDuration: instrument({ name: 'flyball.native_step_duration_seconds', kind: 'histogram', unit: 's', doc: 'Time of a forward pass, looked at twice a second.', labels: { backend }, buckets: STEP_BUCKETS_S }),
  batchTokens: instrument({ name: 'flyball.native_batch_tokens', kind: 'gauge', unit: '{token}', doc: 'Tokens in the latest forward pass.', labels: { backend }, observed: true }),
  steps: instrument({ name: 'flyball.native_steps', kind: 'counter', unit: '{step}', doc: 'Forward passes.', labels: { backend } }),
  tokens: instrument({ name: 'flyball.native_tokens', kind: 'counter', unit: '{token}', doc: 'Tokens through the engine.', labels: { backend, kind: label('Prompt tokens computed, prompt tokens taken from the prefix cache, or generated.', 3, ['prompt', 'cached_prompt', 'generated']) } }),
  preemptions: instrument({ name: 'flyball.native_preemptions', kind: 'counter', unit: '{preemption}', doc: 'Sequences put back because key-value memory ran out.', labels: { backend } }),
} as const
