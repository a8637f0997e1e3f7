/** From the hub's request to what an engine takes. A field that the engine cannot honour is refused by name. */
import { FlyballError, type ChatRequest, type CompletionRequest, type EmbeddingRequest, type Part, type Sampling } from '../../../src/index.ts'
import type { ChatTemplate } from './chat-template.ts'
import { MAX_STOP_STRINGS, MAX_TOP_LOGPROBS, type GenerateRequest, type SamplingParameters } from './engine-contract.ts'
import type { Tokenizer } from './tokenizer/tokenizer.ts'

/** Without a bound a small model may ramble to the end of its context. */
export const DEFAULT_MAX_TOKENS = 512
/** The OpenAI API's own default. */
const DEFAULT_TEMPERATURE = 1

export interface RequestContext {
  readonly tokenizer: Tokenizer
  readonly template: ChatTemplate
  readonly contextLength: number
  readonly random: () => number
  readonly wallMs: number
  readonly tenant: string
  readonly priority: number
  readonly attentionWindow: number | undefined
}

const refuse = (param: string, message: string): never => {
  throw new FlyballError('unsupported_field', { param, message })
}

function textOf(parts: readonly Part[], at: string): string {
  return parts.map((part, i) => (part.type === 'text' ? part.text : part.type === 'refusal' ? part.text : refuse(`${at}[${i}]`, `The native engine reads text only, got ${part.type}.`))).join('')
}

export function chatPrompt(request: ChatRequest, context: RequestContext): number[] {
  if (request.tools?.length) refuse('tools', 'The native engine has no tool calls.')
  if (request.responseFormat) refuse('response_format', 'The native engine cannot force a format.')
  const messages = request.messages.map((message, i) => ({ role: message.role, content: textOf(message.content, `messages[${i}].content`) }))
  return context.template.encode({ messages, nowMs: context.wallMs })
}

export function completionPrompts(request: CompletionRequest, context: RequestContext): number[][] {
  if (request.suffix !== undefined) refuse('suffix', 'The native engine does not fill in the middle.')
  if (request.echo) refuse('echo', 'The native engine does not echo prompts.')
  return request.prompts.map((prompt) => (typeof prompt === 'string' ? context.tokenizer.encode(prompt) : [...prompt]))
}

export function embeddingInputs(request: EmbeddingRequest, context: RequestContext): number[][] {
  if (request.dimensions !== undefined) refuse('dimensions', 'The native engine cannot shorten embeddings.')
  return request.inputs.map((input) => (typeof input === 'string' ? context.tokenizer.encode(input) : [...input]))
}

export function generateRequest(promptTokens: number[], sampling: Sampling, choice: number, context: RequestContext): GenerateRequest {
  checkSampling(sampling)
  const room = context.contextLength - promptTokens.length
  if (promptTokens.length === 0) throw new FlyballError('invalid_request', { message: 'The prompt is empty.' })
  if (room < 1) throw new FlyballError('invalid_request', { message: `The prompt has ${promptTokens.length} tokens; the model's context holds ${context.contextLength}.`, reason: 'context_length_exceeded' })
  return {
    promptTokens,
    maxTokens: Math.min(sampling.maxTokens ?? DEFAULT_MAX_TOKENS, room),
    sampling: samplingParameters(sampling, choice, context.random),
    stopTokens: [...context.tokenizer.endOfGeneration],
    stopStrings: sampling.stop ?? [],
    priority: -context.priority,
    cacheSpace: context.tenant,
    ...(sampling.topLogprobs === undefined ? {} : { logprobs: sampling.topLogprobs }),
    ...(context.attentionWindow === undefined ? {} : { attentionWindow: context.attentionWindow }),
  }
}

function checkSampling(sampling: Sampling): void {
  if (sampling.frequencyPenalty) refuse('frequency_penalty', 'The native engine has repetition_penalty instead of frequency_penalty.')
  if (sampling.presencePenalty) refuse('presence_penalty', 'The native engine has repetition_penalty instead of presence_penalty.')
  if (sampling.logitBias && Object.keys(sampling.logitBias).length > 0) refuse('logit_bias', 'The native engine has no logit_bias.')
  if ((sampling.topLogprobs ?? 0) > MAX_TOP_LOGPROBS) refuse('top_logprobs', `Expected at most ${MAX_TOP_LOGPROBS}.`)
  if ((sampling.stop?.length ?? 0) > MAX_STOP_STRINGS) refuse('stop', `Expected at most ${MAX_STOP_STRINGS} stop strings.`)
}

function samplingParameters(sampling: Sampling, choice: number, random: () => number): SamplingParameters {
  return {
    temperature: sampling.temperature ?? DEFAULT_TEMPERATURE,
    topK: sampling.topK ?? 0,
    topP: sampling.topP ?? 1,
    minP: sampling.minP ?? 0,
    repetitionPenalty: sampling.repetitionPenalty ?? 1,
    // Choices of one request must differ, and a seed must make all of them repeatable.
    seed: ((sampling.seed ?? Math.floor(random() * 2 ** 31)) + choice) % 2 ** 31,
  }
}
