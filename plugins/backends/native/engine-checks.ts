/** What the engines refuse before they start on it, and the errors they fail with. */
import { FlyballError } from '../../../src/index.ts'
import { MAX_STOP_STRINGS, MAX_TOP_LOGPROBS, type GenerateRequest } from './engine-contract.ts'

/** @param room tokens that must fit beside the prompt */
export function checkPrompt(tokens: ArrayLike<number>, vocabulary: number, contextLength: number, room: number): void {
  if (tokens.length === 0) throw invalid('the prompt has no tokens')
  if (tokens.length + room > contextLength) throw invalid(`the prompt has ${tokens.length} tokens, the context is ${contextLength}`)
  for (let index = 0; index < tokens.length; index++) {
    const token = tokens[index] as number
    if (!(Number.isInteger(token) && token >= 0 && token < vocabulary)) throw invalid(`token ${token} at ${index} is not in the vocabulary of ${vocabulary}`)
  }
}

export function checkGenerate({ maxTokens, sampling, stopStrings, logprobs = 0, attentionWindow = 1, attentionSinks = 0, priority = 0 }: GenerateRequest): void {
  const whole = (name: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): void => {
    if (!Number.isInteger(value) || value < least || value > most) throw invalid(`${name}: expected a whole number from ${least} to ${most}, got ${value}`)
  }
  const within = (name: string, value: number, least: number, most: number): void => {
    if (!(value >= least && value <= most)) throw invalid(`${name}: expected ${least} to ${most}, got ${value}`)
  }
  whole('maxTokens', maxTokens, 1)
  whole('logprobs', logprobs, 0, MAX_TOP_LOGPROBS)
  whole('attentionWindow', attentionWindow, 1)
  whole('attentionSinks', attentionSinks, 0)
  whole('stopStrings', stopStrings.length, 0, MAX_STOP_STRINGS)
  whole('seed', sampling.seed, 0)
  whole('topK', sampling.topK, 0)
  within('priority', priority, -(2 ** 31), 2 ** 31 - 1)
  within('temperature', sampling.temperature, 0, 100)
  within('topP', sampling.topP, 0, 1)
  within('minP', sampling.minP, 0, 1)
  within('repetitionPenalty', sampling.repetitionPenalty, 0.01, 100)
}

export function invalid(message: string): FlyballError {
  return new FlyballError('invalid_request', { message })
}

export function cancelled(signal: AbortSignal): FlyballError {
  return new FlyballError('cancelled', { cause: signal.reason })
}

export function failed(how: string): FlyballError {
  return new FlyballError('backend_failed', { message: `The native engine failed: ${how}.` })
}
