/** Deltas as OpenAI's event stream. */
import type { Delta } from '../../core/reply.ts'
import type { Usage } from '../../core/settlement.ts'
import type { ReplyContext, StreamWriter } from '../protocol.ts'
import { openAiError, openAiErrorOf } from './errors.ts'
import { writeFinishReason } from './finish-reason.ts'
import { writeChatLogprobs, writeCompletionLogprobs } from './logprobs.ts'
import { writeUsage } from './usage.ts'

const quote = (text: string): string => JSON.stringify(text)

export function openAiStreamWriter(operation: string, context: ReplyContext): StreamWriter {
  const chat = operation !== 'completions'
  // Nearly every event differs in a few characters only: the rest is written once.
  const head = `data: {"id":${quote(context.id)},"object":"${chat ? 'chat.completion.chunk' : 'text_completion'}","created":${context.createdS},"model":${quote(context.model)},"choices":[`
  const tail = context.includeUsage ? '],"usage":null}\n\n' : ']}\n\n'
  const opened = new Set<number>() // as many as choices
  const lengths = new Map<number, number>() // as many as choices
  let usage: Usage | undefined
  let failed = false

  const chatEvent = (index: number, delta: string, finish = 'null', logprobs = 'null'): string =>
    `${head}{"index":${index},"delta":${delta},"logprobs":${logprobs},"finish_reason":${finish}}${tail}`
  const textEvent = (index: number, text: string, finish = 'null', logprobs = 'null'): string =>
    `${head}{"index":${index},"text":${quote(text)},"logprobs":${logprobs},"finish_reason":${finish}}${tail}`

  /** The first event of a choice names its role. */
  function open(index: number): string {
    if (!chat || opened.has(index)) return ''
    opened.add(index)
    return chatEvent(index, '{"role":"assistant","content":""}')
  }

  function completion(delta: Delta): string {
    if (delta.type === 'finish') return textEvent(delta.index, '', quote(writeFinishReason(delta.reason)))
    if (delta.type !== 'text') return ''
    const offset = lengths.get(delta.index) ?? 0
    if (!delta.logprobs) return textEvent(delta.index, delta.text)
    lengths.set(delta.index, offset + delta.text.length)
    return textEvent(delta.index, delta.text, 'null', JSON.stringify(writeCompletionLogprobs(delta.logprobs, offset)))
  }

  function chatDelta(delta: Delta): string {
    switch (delta.type) {
      case 'text':
        return open(delta.index) + chatEvent(delta.index, `{"content":${quote(delta.text)}}`, 'null', delta.logprobs ? JSON.stringify(writeChatLogprobs(delta.logprobs)) : 'null')
      case 'reasoning':
        return delta.text === '' ? '' : open(delta.index) + chatEvent(delta.index, `{"reasoning_content":${quote(delta.text)}}`)
      case 'refusal':
        return open(delta.index) + chatEvent(delta.index, `{"refusal":${quote(delta.text)}}`)
      case 'tool-start':
        return open(delta.index) + chatEvent(delta.index, `{"tool_calls":[{"index":${delta.call},"id":${quote(delta.id)},"type":"function","function":{"name":${quote(delta.name)},"arguments":""}}]}`)
      case 'tool-input':
        return chatEvent(delta.index, `{"tool_calls":[{"index":${delta.call},"function":{"arguments":${quote(delta.json)}}}]}`)
      case 'finish':
        return open(delta.index) + chatEvent(delta.index, '{}', quote(writeFinishReason(delta.reason)))
      default:
        return ''
    }
  }

  return {
    contentType: 'text/event-stream; charset=utf-8',
    push(deltas) {
      let text = ''
      for (const delta of deltas) {
        if (failed) break
        if (delta.type === 'usage') usage = delta.usage
        else if (delta.type === 'error') {
          failed = true
          text += `data: ${JSON.stringify(openAiErrorOf(delta))}\n\n`
        } else text += chat ? chatDelta(delta) : completion(delta)
      }
      return Buffer.from(text)
    },
    end() {
      if (failed) return Buffer.alloc(0) // clients throw at the error: `[DONE]` would say that all went well
      const last = context.includeUsage && usage ? `${head}],"usage":${JSON.stringify(writeUsage(usage))}}\n\n` : ''
      return Buffer.from(`${last}data: [DONE]\n\n`)
    },
    fail: (error) => Buffer.from(`data: ${JSON.stringify(openAiError(error))}\n\n`),
  }
}
