/** Everything that Anthropic bodies say, as deltas. There is one choice, of index 0. */
import type { Delta } from '../../core/reply.ts'
import type { DeltaReader } from '../protocol.ts'
import { arrayOf, given, isObject, numberOf, objectOf, stringOf, type JsonObject } from '../shared/json-value.ts'
import { streamDeltaReader, unaryDeltaReader } from '../shared/stream-delta-reader.ts'
import { readError } from './errors.ts'
import { readStopReason } from './stop-reason.ts'
import { readUsage, UsageFold } from './usage.ts'

export function anthropicDeltaReader(operation: string, stream: boolean): DeltaReader {
  if (operation === 'count_tokens') return unaryDeltaReader(tokenCount)
  return stream ? streamReader() : unaryDeltaReader(message)
}

const start = (document: JsonObject): Delta => ({ type: 'start', ...given('id', stringOf(document['id'])), ...given('model', stringOf(document['model'])) })

function finish(value: JsonObject): Delta[] {
  const reason = stringOf(value['stop_reason'])
  return reason === undefined ? [] : [{ type: 'finish', index: 0, reason: readStopReason(reason), ...given('stopSequence', stringOf(value['stop_sequence'])) }]
}

function tokenCount(document: JsonObject): readonly Delta[] {
  const error = readError(document)
  if (error) return [error]
  const usage = readUsage(document)
  return usage ? [{ type: 'usage', usage }] : []
}

function message(document: JsonObject): readonly Delta[] {
  const error = readError(document)
  if (error) return [error]
  const deltas: Delta[] = [start(document)]
  let call = 0
  for (const value of arrayOf(document['content'])) {
    const block = objectOf(value)
    deltas.push(...opening(block, call))
    if (block['type'] === 'tool_use') deltas.push({ type: 'tool-input', index: 0, call: call++, json: JSON.stringify(block['input'] ?? {}) })
  }
  deltas.push(...finish(document))
  const usage = readUsage(document['usage'])
  if (usage) deltas.push({ type: 'usage', usage })
  return deltas
}

/**
 * What a block says at its start. Blocks of Anthropic's own tools (search, code execution, compaction) have no
 * counterpart; requests that could bring them are refused on their way here.
 */
function opening(block: JsonObject, call: number): Delta[] {
  switch (block['type']) {
    case 'text':
      return block['text'] ? [{ type: 'text', index: 0, text: stringOf(block['text']) ?? '' }] : []
    case 'thinking':
      return block['thinking'] || block['signature'] ? [{ type: 'reasoning', index: 0, text: stringOf(block['thinking']) ?? '', ...given('signature', stringOf(block['signature']) || undefined) }] : []
    case 'tool_use':
      return [{ type: 'tool-start', index: 0, call, id: stringOf(block['id']) ?? `toolu_${call}`, name: stringOf(block['name']) ?? '' }]
  }
  return []
}

interface OpenTool {
  readonly call: number
  readonly input: unknown
  written: boolean
}

function streamReader(): DeltaReader {
  let fold = new UsageFold()
  /** By block index; given up when the block stops. */
  const tools = new Map<number, OpenTool>()
  let calls = 0
  let started = false
  let finished = false

  function blockDelta(index: number, delta: JsonObject): Delta[] {
    switch (delta['type']) {
      case 'text_delta':
        return [{ type: 'text', index: 0, text: stringOf(delta['text']) ?? '' }]
      case 'thinking_delta':
        return delta['thinking'] ? [{ type: 'reasoning', index: 0, text: stringOf(delta['thinking']) ?? '' }] : []
      case 'signature_delta':
        return [{ type: 'reasoning', index: 0, text: '', ...given('signature', stringOf(delta['signature'])) }]
      case 'input_json_delta': {
        const tool = tools.get(index)
        const json = stringOf(delta['partial_json'])
        if (!tool || !json) return []
        tool.written = true
        return [{ type: 'tool-input', index: 0, call: tool.call, json }]
      }
    }
    return []
  }

  return streamDeltaReader({
    complete: () => finished,
    event(document) {
      const at = numberOf(document['index']) ?? 0
      switch (document['type']) {
        case 'message_start': {
          const head = objectOf(document['message'])
          fold = new UsageFold()
          const usage = fold.add(head['usage'])
          const deltas: Delta[] = started ? [] : [start(head)]
          started = true
          if (usage) deltas.push({ type: 'usage', usage })
          return deltas
        }
        case 'content_block_start': {
          const block = objectOf(document['content_block'])
          if (block['type'] === 'tool_use') tools.set(at, { call: calls, input: block['input'], written: false })
          return opening(block, block['type'] === 'tool_use' ? calls++ : 0)
        }
        case 'content_block_delta':
          return blockDelta(at, objectOf(document['delta']))
        case 'content_block_stop': {
          const tool = tools.get(at)
          tools.delete(at)
          // A tool without arguments writes none; elsewhere their JSON must parse.
          return tool && !tool.written ? [{ type: 'tool-input', index: 0, call: tool.call, json: JSON.stringify(isObject(tool.input) ? tool.input : {}) }] : []
        }
        case 'message_delta': {
          const ends = finish(objectOf(document['delta']))
          const usage = fold.add(document['usage'])
          if (ends.length > 0) finished = true
          if (usage) ends.push({ type: 'usage', usage })
          return ends
        }
        case 'message_stop':
          finished = true
          return []
        case 'error':
          return [readError(document) as Delta]
      }
      return []
    },
  })
}
