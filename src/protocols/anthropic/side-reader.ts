/** Facts of Anthropic bodies, read beside the path. */
import type { Delta } from '../../core/reply.ts'
import type { Usage } from '../../core/settlement.ts'
import type { SideReader } from '../protocol.ts'
import { isObject, objectOf, stringOf, given } from '../shared/json-value.ts'
import { streamSideReader, type StreamPatterns } from '../shared/stream-side-reader.ts'
import { NOT_JSON, parseByteText, unarySideReader } from '../shared/unary-side-reader.ts'
import { readError } from './errors.ts'
import { readStopReason } from './stop-reason.ts'
import { readUsage, UsageFold } from './usage.ts'

const STREAM: StreamPatterns = {
  content: /"type": ?"(?:text_delta|thinking_delta|input_json_delta)"/g,
  hot: /"type": ?"(?:message_start|message_delta|message_stop|error)"/,
}

export function anthropicSideReader(operation: string, stream: boolean): SideReader {
  return stream ? streamReader() : unarySideReader({ read: (text) => unaryFacts(operation, text) })
}

function streamReader(): SideReader {
  let fold = new UsageFold()
  let startUsage: Usage | undefined
  let finished = false

  function read(document: unknown, counted: number): readonly Delta[] {
    if (!isObject(document)) return []
    switch (document['type']) {
      case 'message_start': {
        fold = new UsageFold()
        startUsage = fold.add(objectOf(document['message'])['usage'])
        // Its output count is a first guess: what was seen counts until the true number comes.
        return startUsage ? [{ type: 'usage', usage: { ...startUsage, outputTokens: counted } }] : []
      }
      case 'message_delta': {
        const usage = fold.add(document['usage'])
        if (usage) startUsage = undefined
        const { stop_reason: reason, stop_sequence: sequence } = objectOf(document['delta'])
        const deltas: Delta[] = []
        if (typeof reason === 'string') {
          finished = true
          deltas.push({ type: 'finish', index: 0, reason: readStopReason(reason), ...given('stopSequence', stringOf(sequence)) })
        }
        if (usage) deltas.push({ type: 'usage', usage })
        return deltas
      }
      case 'message_stop':
        finished = true
        // A message that came whole in its start has no other count.
        return startUsage ? [{ type: 'usage', usage: { ...startUsage, outputTokens: Math.max(counted, startUsage.outputTokens) } }] : []
      case 'error':
        return [readError(document) as Delta]
    }
    return []
  }

  return streamSideReader(STREAM, { complete: () => finished, read })
}

/** Tool inputs are objects in these bodies, not strings: a search for keys could find theirs, so this one is parsed. */
function unaryFacts(operation: string, text: string): readonly Delta[] {
  const document = parseByteText(text)
  if (!isObject(document)) return [NOT_JSON]
  const error = readError(document)
  if (error) return [error]
  const deltas: Delta[] = []
  const reason = stringOf(document['stop_reason'])
  if (reason !== undefined) deltas.push({ type: 'finish', index: 0, reason: readStopReason(reason), ...given('stopSequence', stringOf(document['stop_sequence'])) })
  const usage = readUsage(operation === 'count_tokens' ? document : document['usage'])
  if (usage) deltas.push({ type: 'usage', usage })
  return deltas
}
