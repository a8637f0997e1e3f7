/** OpenAI's HTTP API, as its own clients and every compatible server speak it. */
import type { Protocol } from '../protocol.ts'
import { openAiDeltaReader } from './delta-reader.ts'
import { openAiError } from './errors.ts'
import { openAiFacts } from './facts.ts'
import { openAiFromCanonical } from './from-canonical.ts'
import { openAiSideReader } from './side-reader.ts'
import { openAiStreamWriter } from './stream-writer.ts'
import { openAiToCanonical } from './to-canonical.ts'
import { openAiUnary } from './unary.ts'

export const openAiProtocol: Protocol = {
  name: 'openai',
  routes: [
    { method: 'POST', path: '/chat/completions', operation: 'chat' },
    { method: 'POST', path: '/completions', operation: 'completions' },
    { method: 'POST', path: '/embeddings', operation: 'embeddings' },
    { method: 'GET', path: '/models', operation: 'models' },
  ],
  replyIdPrefix: (operation) => (operation === 'chat' ? 'chatcmpl-' : operation === 'completions' ? 'cmpl-' : ''),
  facts: openAiFacts,
  toCanonical: openAiToCanonical,
  fromCanonical: openAiFromCanonical,
  sideReader: openAiSideReader,
  deltaReader: openAiDeltaReader,
  streamWriter: openAiStreamWriter,
  unary: openAiUnary,
  error: openAiError,
  models: (models) => ({ object: 'list', data: models.map(model) }),
  model,
}

function model({ id, createdS, ownedBy }: { id: string; createdS: number; ownedBy: string }): object {
  return { id, object: 'model', created: createdS, owned_by: ownedBy }
}
