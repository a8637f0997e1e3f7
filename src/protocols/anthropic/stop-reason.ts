import type { FinishReason } from '../../core/reply.ts'

const READ: { readonly [reason: string]: FinishReason } = { end_turn: 'stop', stop_sequence: 'stop', max_tokens: 'length', model_context_window_exceeded: 'length', tool_use: 'tool-calls', pause_turn: 'pause', refusal: 'refusal' }

const WRITE: { readonly [R in FinishReason]: string } = { stop: 'end_turn', length: 'max_tokens', 'tool-calls': 'tool_use', 'content-filter': 'refusal', pause: 'pause_turn', refusal: 'refusal', other: 'end_turn' }

export const readStopReason = (reason: string): FinishReason => (Object.hasOwn(READ, reason) ? (READ[reason] as FinishReason) : 'other')
export const writeStopReason = (reason: FinishReason, stopSequence: string | undefined): string => (reason === 'stop' && stopSequence !== undefined ? 'stop_sequence' : WRITE[reason])
