/** One OpenAI document from all deltas of a reply. */
import type { Delta, FinishReason, TokenLogprob } from '../../core/reply.ts'
import type { Usage } from '../../core/settlement.ts'
import type { ReplyContext } from '../protocol.ts'
import { given } from '../shared/json-value.ts'
import { openAiErrorOf } from './errors.ts'
import { writeFinishReason } from './finish-reason.ts'
import { writeChatLogprobs, writeCompletionLogprobs } from './logprobs.ts'
import { writeUsage } from './usage.ts'

interface Choice {
  text: string
  reasoning: string
  refusal: string
  logprobs: TokenLogprob[]
  tools: { id: string; name: string; json: string }[]
  finish: FinishReason
}

const NO_USAGE: Usage = { inputTokens: 0, outputTokens: 0 }

function gather(deltas: readonly Delta[]): { choices: Choice[]; usage: Usage } {
  const choices: Choice[] = []
  let usage = NO_USAGE
  const at = (index: number): Choice => {
    for (let i = choices.length; i <= index; i++) choices.push({ text: '', reasoning: '', refusal: '', logprobs: [], tools: [], finish: 'stop' })
    return choices[index] as Choice
  }
  for (const delta of deltas) {
    switch (delta.type) {
      case 'text':
        at(delta.index).text += delta.text
        if (delta.logprobs) at(delta.index).logprobs.push(...delta.logprobs)
        break
      case 'reasoning':
        at(delta.index).reasoning += delta.text
        break
      case 'refusal':
        at(delta.index).refusal += delta.text
        break
      case 'tool-start':
        at(delta.index).tools[delta.call] = { id: delta.id, name: delta.name, json: '' }
        break
      case 'tool-input': {
        const tool = at(delta.index).tools[delta.call]
        if (tool) tool.json += delta.json
        break
      }
      case 'finish':
        at(delta.index).finish = delta.reason
        break
      case 'usage':
        usage = delta.usage
    }
  }
  if (choices.length === 0) at(0)
  return { choices, usage }
}

function chat(deltas: readonly Delta[], context: ReplyContext): unknown {
  const { choices, usage } = gather(deltas)
  return {
    id: context.id,
    object: 'chat.completion',
    created: context.createdS,
    model: context.model,
    choices: choices.map((choice, index) => ({
      index,
      message: {
        role: 'assistant',
        content: choice.text === '' && (choice.tools.length > 0 || choice.refusal !== '') ? null : choice.text,
        ...given('reasoning_content', choice.reasoning || undefined),
        refusal: choice.refusal || null,
        ...(choice.tools.length === 0 ? {} : { tool_calls: choice.tools.map(({ id, name, json }) => ({ id, type: 'function', function: { name, arguments: json } })) }),
      },
      logprobs: choice.logprobs.length === 0 ? null : writeChatLogprobs(choice.logprobs),
      finish_reason: writeFinishReason(choice.finish),
    })),
    usage: writeUsage(usage),
  }
}

function completion(deltas: readonly Delta[], context: ReplyContext): unknown {
  const { choices, usage } = gather(deltas)
  return {
    id: context.id,
    object: 'text_completion',
    created: context.createdS,
    model: context.model,
    choices: choices.map((choice, index) => ({ index, text: choice.text, logprobs: choice.logprobs.length === 0 ? null : writeCompletionLogprobs(choice.logprobs, 0), finish_reason: writeFinishReason(choice.finish) })),
    usage: writeUsage(usage),
  }
}

function encodeVector(vector: readonly number[] | Float32Array): string {
  const bytes = Buffer.allocUnsafe(vector.length * 4)
  for (let i = 0; i < vector.length; i++) bytes.writeFloatLE(vector[i] as number, i * 4)
  return bytes.toString('base64')
}

function embeddings(deltas: readonly Delta[], context: ReplyContext): unknown {
  const data: unknown[] = []
  let usage = NO_USAGE
  for (const delta of deltas) {
    if (delta.type === 'usage') usage = delta.usage
    else if (delta.type === 'embedding') data.push({ object: 'embedding', index: delta.index, embedding: context.encoding === 'base64' ? encodeVector(delta.vector) : Array.from(delta.vector) })
  }
  return { object: 'list', data, model: context.model, usage: { prompt_tokens: usage.inputTokens, total_tokens: usage.inputTokens } }
}

/** A reply that carries an `error` delta becomes the error's document. */
export function openAiUnary(operation: string, deltas: readonly Delta[], context: ReplyContext): unknown {
  const error = deltas.find((delta) => delta.type === 'error')
  if (error) return openAiErrorOf(error)
  if (operation === 'embeddings') return embeddings(deltas, context)
  return operation === 'completions' ? completion(deltas, context) : chat(deltas, context)
}
