/** Anthropic's Messages API. */
import type { Protocol } from '../protocol.ts'
import { anthropicDeltaReader } from './delta-reader.ts'
import { anthropicError } from './errors.ts'
import { anthropicFacts } from './facts.ts'
import { anthropicFromCanonical } from './from-canonical.ts'
import { anthropicSideReader } from './side-reader.ts'
import { anthropicStreamWriter } from './stream-writer.ts'
import { anthropicToCanonical } from './to-canonical.ts'
import { anthropicUnary } from './unary.ts'

export const anthropicProtocol: Protocol = {
  name: 'anthropic',
  marker: 'anthropic-version',
  routes: [
    { method: 'POST', path: '/messages', operation: 'messages' },
    { method: 'POST', path: '/messages/count_tokens', operation: 'count_tokens' },
    { method: 'GET', path: '/models', operation: 'models' },
  ],
  replyIdPrefix: () => 'msg_',
  facts: anthropicFacts,
  toCanonical: anthropicToCanonical,
  fromCanonical: anthropicFromCanonical,
  sideReader: anthropicSideReader,
  deltaReader: anthropicDeltaReader,
  streamWriter: anthropicStreamWriter,
  unary: anthropicUnary,
  error: anthropicError,
  models: (models) => ({ data: models.map(model), first_id: models[0]?.id ?? null, last_id: models.at(-1)?.id ?? null, has_more: false }),
  model,
}

function model({ id, createdS }: { id: string; createdS: number }): object {
  return { type: 'model', id, display_name: id, created_at: new Date(createdS * 1_000).toISOString() }
}
