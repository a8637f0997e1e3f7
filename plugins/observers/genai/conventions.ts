/**
 * OpenTelemetry's GenAI conventions, which are in the middle of a move: `v1.41` is what most dashboards know, `latest` the
 * draft that replaces it. All names stand here, once.
 */
import { instrument, label } from '../../../src/index.ts'

export type Semconv = 'v1.41' | 'latest' | 'both'

/** Prescribed by the conventions, ×2 from 10 ms; and the default SLO targets among them, or attainment could not be read off. */
const DURATION_S = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.64, 1.28, 2.56, 5, 5.12, 10.24, 20.48, 40.96, 81.92]
const PER_TOKEN_S = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5]
const FIRST_TOKEN_S = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
/** ×4 from 1. */
const TOKENS = Array.from({ length: 14 }, (_, i) => 4 ** i)

const common = {
  'gen_ai.operation.name': label('What was asked for.', 32),
  'gen_ai.provider.name': label('Who served it.', 32),
  'gen_ai.request.model': label('Model as configured; `_other` for one that is not.', 32),
}
const withError = { ...common, 'error.type': label('Why it failed; empty when it did not.', 48) }

export const instruments = {
  operationDuration: instrument({ name: 'gen_ai.client.operation.duration', kind: 'histogram', unit: 's', doc: 'GenAI operation duration (conventions v1.41).', labels: withError, buckets: DURATION_S }),
  tokenUsage: instrument({ name: 'gen_ai.client.token.usage', kind: 'histogram', unit: '{token}', doc: 'Tokens per operation (conventions v1.41).', labels: { ...common, 'gen_ai.token.type': label('Which tokens.', 2, ['input', 'output']) }, buckets: TOKENS }),
  inferenceDuration: instrument({ name: 'gen_ai.client.inference.duration', kind: 'histogram', unit: 's', doc: 'GenAI inference duration (latest draft).', labels: withError, buckets: DURATION_S }),
  inferenceInputTokens: instrument({ name: 'gen_ai.client.inference.operation.input_tokens', kind: 'histogram', unit: '{token}', doc: 'Input tokens per inference (latest draft).', labels: common, buckets: TOKENS }),
  inferenceOutputTokens: instrument({ name: 'gen_ai.client.inference.operation.output_tokens', kind: 'histogram', unit: '{token}', doc: 'Output tokens per inference (latest draft).', labels: common, buckets: TOKENS }),
  usageInputTokens: instrument({ name: 'gen_ai.client.inference.usage.input_tokens', kind: 'counter', unit: '{token}', doc: 'Input tokens used (latest draft).', labels: common }),
  usageOutputTokens: instrument({ name: 'gen_ai.client.inference.usage.output_tokens', kind: 'counter', unit: '{token}', doc: 'Output tokens used (latest draft).', labels: common }),
  requestDuration: instrument({ name: 'gen_ai.server.request.duration', kind: 'histogram', unit: 's', doc: 'Time on the server, from its arrival to its end.', labels: withError, buckets: DURATION_S }),
  timePerOutputToken: instrument({ name: 'gen_ai.server.time_per_output_token', kind: 'histogram', unit: 's', doc: 'Time per output token after the first.', labels: common, buckets: PER_TOKEN_S }),
  timeToFirstToken: instrument({ name: 'gen_ai.server.time_to_first_token', kind: 'histogram', unit: 's', doc: 'Arrival to first token.', labels: common, buckets: FIRST_TOKEN_S }),
} as const

/** The standard's own switch, where an operator has set it. */
export function semconvFromEnvironment(optIn: string | undefined): Semconv {
  const wishes = (optIn ?? '').split(',').map((wish) => wish.trim())
  if (wishes.includes('gen_ai/dup')) return 'both'
  return wishes.includes('gen_ai_latest_experimental') ? 'latest' : 'v1.41'
}
