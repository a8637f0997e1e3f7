import type { FinishReason } from '../../core/reply.ts'

const READ: { readonly [reason: string]: FinishReason } = { stop: 'stop', eos: 'stop', stop_sequence: 'stop', eos_token: 'stop', length: 'length', model_length: 'length', max_tokens: 'length', tool_calls: 'tool-calls', function_call: 'tool-calls', content_filter: 'content-filter' }

const WRITE: { readonly [R in FinishReason]: string } = { stop: 'stop', length: 'length', 'tool-calls': 'tool_calls', 'content-filter': 'content_filter', pause: 'stop', refusal: 'content_filter', other: 'stop' }

/** TGI ends its tool calls like any text, and so does OpenAI those that the request forced. */
export function readFinishReason(reason: string, calledTools: boolean): FinishReason {
  const read = Object.hasOwn(READ, reason) ? (READ[reason] as FinishReason) : 'other'
  return read === 'stop' && calledTools ? 'tool-calls' : read
}

export const writeFinishReason = (reason: FinishReason): string => WRITE[reason]
