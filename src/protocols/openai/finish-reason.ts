import type { FinishReason } from '../../core/reply.ts'

const READ: { readonly [reason: string]: FinishReason } = { stop: 'stop', eos: 'stop', stop_sequence: 'stop', eos_token: 'stop', length: 'length', model_length: 'length', max_tokens: 'length', tool_calls: 'tool-calls', function_call: 'tool-calls', content_filter: 'content-filter' }

const WRITE: { readonly [R in FinishReason]: string } = { stop: 'stop', length: 'length', 'tool-calls': 'tool_calls', 'content-filter': 'content_filter', pause: 'stop', refusal: 'content_filter', other: 'stop' }

export const readFinishReason = (reason: string): FinishReason => (Object.hasOwn(READ, reason) ? (READ[reason] as FinishReason) : 'other')
export const writeFinishReason = (reason: FinishReason): string => WRITE[reason]
