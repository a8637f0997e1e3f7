/** One Anthropic document from all deltas of a reply. */
import type { Delta, FinishReason } from '../../core/reply.ts'
import type { Usage } from '../../core/settlement.ts'
import type { ReplyContext } from '../protocol.ts'
import { anthropicErrorOf } from './errors.ts'
import { writeStopReason } from './stop-reason.ts'
import { writeUsage } from './usage.ts'

type Block = { type: 'text'; text: string } | { type: 'thinking'; thinking: string; signature: string } | { type: 'tool_use'; id: string; name: string; input: unknown }

function parseInput(json: string): unknown {
  try {
    return json === '' ? {} : (JSON.parse(json) as unknown)
  } catch {
    // Models do write broken arguments; elsewhere they are a string and pass. Here nothing but an object can stand.
    return { _unparsed: json }
  }
}

/** A reply that carries an `error` delta becomes the error's document. */
export function anthropicUnary(operation: string, deltas: readonly Delta[], context: ReplyContext): unknown {
  const error = deltas.find((delta) => delta.type === 'error')
  if (error) return anthropicErrorOf(error)
  const blocks: Block[] = []
  const inputs = new Map<number, { block: Extract<Block, { type: 'tool_use' }>; json: string }>() // one reply's tool calls
  let usage: Usage = { inputTokens: 0, outputTokens: 0 }
  let finish: FinishReason = 'stop'
  let stopSequence: string | undefined
  for (const delta of deltas) {
    if ('index' in delta && delta.index !== 0) continue
    const last = blocks.at(-1)
    switch (delta.type) {
      case 'text':
      case 'refusal':
        if (last?.type === 'text') last.text += delta.text
        else if (delta.text !== '') blocks.push({ type: 'text', text: delta.text })
        break
      case 'reasoning':
        if (last?.type === 'thinking') {
          last.thinking += delta.text
          last.signature += delta.signature ?? ''
        } else blocks.push({ type: 'thinking', thinking: delta.text, signature: delta.signature ?? '' })
        break
      case 'tool-start': {
        const block = { type: 'tool_use', id: delta.id, name: delta.name, input: {} } as const
        blocks.push(block)
        inputs.set(delta.call, { block, json: '' })
        break
      }
      case 'tool-input': {
        const tool = inputs.get(delta.call)
        if (tool) tool.json += delta.json
        break
      }
      case 'finish':
        finish = delta.reason
        stopSequence = delta.stopSequence
        break
      case 'usage':
        usage = delta.usage
    }
  }
  if (operation === 'count_tokens') return { input_tokens: usage.inputTokens }
  for (const { block, json } of inputs.values()) block.input = parseInput(json)
  const reason = inputs.size > 0 && finish === 'stop' ? 'tool_use' : writeStopReason(finish, stopSequence)
  return {
    id: context.id,
    type: 'message',
    role: 'assistant',
    model: context.model,
    content: blocks,
    stop_reason: reason,
    stop_sequence: reason === 'stop_sequence' ? (stopSequence ?? null) : null,
    usage: writeUsage(usage),
  }
}
