/** Knobs, signals and instruments of the native backend. */
import { instrument, knob, label, signal } from '../../../src/index.ts'

const backend = label('Backend by its configured name.', 32)

export const NATIVE_KNOBS = {
  attentionWindow: knob({ name: 'native.attention_window', default: 0, min: 0, max: 1_048_576, integer: true, unit: '{token}', doc: 'Latest positions that attention sees, beside the sinks; 0: the model’s own. Fewer cost less time and quality.', scope: ['backend'], tunable: false }),
} as const

export const NATIVE_SIGNALS = {
  kvUsed: signal({ name: 'native.kv_used', unit: '1', doc: 'Share of the key-value memory in use.', scope: ['backend'], aggregate: 'max' }),
  waiting: signal({ name: 'native.waiting', unit: '{call}', doc: 'Sequences waiting inside the engine.', scope: ['backend'], aggregate: 'max' }),
} as const

export const NATIVE_INSTRUMENTS = {
  kvTokens: instrument({ name: 'flyball.native_kv_tokens', kind: 'gauge', unit: '{token}', doc: 'Tokens held in key-value memory.', labels: { backend }, observed: true }),
  kvCapacity: instrument({ name: 'flyball.native_kv_capacity_tokens', kind: 'gauge', unit: '{token}', doc: 'Tokens that the key-value memory can hold.', labels: { backend }, observed: true }),
  sequences: instrument({ name: 'flyball.native_sequences', kind: 'gauge', unit: '{sequence}', doc: 'Sequences inside the engine.', labels: { backend, state: label('Running or waiting.', 2, ['running', 'waiting']) }, observed: true }),
  steps: instrument({ name: 'flyball.native_steps', kind: 'counter', unit: '{step}', doc: 'Forward passes.', labels: { backend } }),
  tokens: instrument({ name: 'flyball.native_tokens', kind: 'counter', unit: '{token}', doc: 'Tokens through the engine.', labels: { backend, kind: label('Prompt tokens computed, prompt tokens taken from the prefix cache, or generated.', 3, ['prompt', 'cached_prompt', 'generated']) } }),
  preemptions: instrument({ name: 'flyball.native_preemptions', kind: 'counter', unit: '{preemption}', doc: 'Sequences put back because key-value memory ran out.', labels: { backend } }),
} as const
