/** The hub's requests as Anthropic's. */
import type { CanonicalRequest, ChatRequest, Message, Part, Sampling } from '../canonical.ts'
import { invalid, unsupported } from '../shared/check-body.ts'
import { given, isObject } from '../shared/json-value.ts'

/** This protocol demands a bound; others leave it to the model. Every current model allows this much. */
const DEFAULT_MAX_TOKENS = 4_096

export function anthropicFromCanonical(request: CanonicalRequest): { path: string; body: unknown } {
  if (request.kind === 'embedding') throw unsupported('input', 'this provider has no embeddings')
  if (request.kind === 'completion') throw unsupported('prompt', 'this provider has no plain completions')
  refuse(request.sampling)
  const lead = request.messages.findIndex(({ role }) => role !== 'system')
  const head = lead === -1 ? request.messages : request.messages.slice(0, lead)
  const system = head.flatMap((message, i) => blocks(message.content, `${message.at ?? `messages[${i}]`}.content`))
  const prompt = {
    model: request.model,
    messages: conversation(request.messages.slice(head.length), head.length),
    ...(system.length === 0 ? {} : { system: plain(system) }),
    ...tools(request),
    ...outputConfig(request),
  }
  if (request.countTokens) return { path: '/messages/count_tokens', body: prompt }
  const { sampling } = request
  return {
    path: '/messages',
    body: {
      ...prompt,
      max_tokens: sampling.maxTokens ?? DEFAULT_MAX_TOKENS,
      stream: request.stream,
      ...given('temperature', sampling.temperature),
      ...given('top_p', sampling.topP),
      ...given('top_k', sampling.topK),
      ...given('stop_sequences', sampling.stop),
      ...(request.user === undefined ? {} : { metadata: { user_id: request.user } }),
    },
  }
}

/** Names as the client knows them: whoever comes here speaks OpenAI's protocol or one like it. */
function refuse(sampling: Sampling): void {
  const { n, temperature } = sampling
  if (n !== undefined && n !== 1) throw unsupported('n', 'there is one choice')
  if (temperature !== undefined && temperature > 1) throw unsupported('temperature', 'it ends at 1')
  if (sampling.topLogprobs !== undefined) throw unsupported('logprobs', 'there are none')
  if (sampling.logitBias !== undefined && Object.keys(sampling.logitBias).length > 0) throw unsupported('logit_bias', 'there is none')
  if (sampling.seed !== undefined) throw unsupported('seed', 'there is none')
  if (sampling.minP) throw unsupported('min_p', 'there is none')
  if (sampling.frequencyPenalty) throw unsupported('frequency_penalty', 'there is none')
  if (sampling.presencePenalty) throw unsupported('presence_penalty', 'there is none')
  if (sampling.repetitionPenalty !== undefined && sampling.repetitionPenalty !== 1) throw unsupported('repetition_penalty', 'there is none')
}

interface Turn {
  readonly role: 'user' | 'assistant' | 'system'
  readonly content: unknown[]
  readonly tools: boolean
}

/** Results of one round of tools belong into one message, with what the user says next behind them. */
function conversation(messages: readonly Message[], offset: number): unknown[] {
  const turns: Turn[] = []
  messages.forEach((message, i) => {
    const at = message.at ?? `messages[${offset + i}]`
    if (message.name !== undefined) throw unsupported(`${at}.name`, 'messages have no names')
    const content = blocks(message.content, `${at}.content`)
    const role = message.role === 'tool' ? 'user' : message.role
    const last = turns.at(-1)
    if (last?.tools && role === 'user') last.content.push(...content)
    else turns.push({ role, content, tools: message.role === 'tool' })
  })
  return turns.map(({ role, content }) => ({ role, content: plain(content) }))
}

/** One text says the same as a list of it. */
function plain(content: readonly unknown[]): unknown {
  const [only] = content
  return content.length === 1 && isObject(only) && only['type'] === 'text' && Object.keys(only).length === 2 ? only['text'] : content
}

function blocks(parts: readonly Part[], path: string): unknown[] {
  return parts.map((part, i) => block(part, `${path}[${i}]`))
}

function block(part: Part, path: string): unknown {
  const cache = 'cacheControl' in part && part.cacheControl ? { cache_control: { type: 'ephemeral', ...given('ttl', part.cacheControl.ttl) } } : {}
  switch (part.type) {
    case 'text':
      return { type: 'text', text: part.text, ...cache }
    case 'image':
      if (part.detail !== undefined && part.detail !== 'auto') throw unsupported(`${path}.image_url.detail`, 'there is no choice of detail')
      return { type: 'image', source: imageSource(part), ...cache }
    case 'tool-call':
      return { type: 'tool_use', id: part.id, name: part.name, input: toolInput(part.input, path), ...cache }
    case 'tool-result':
      return { type: 'tool_result', tool_use_id: part.id, content: plain(blocks(part.content, `${path}.content`)), ...(part.isError ? { is_error: true } : {}), ...cache }
    case 'reasoning':
      if (part.redacted !== undefined) return { type: 'redacted_thinking', data: part.redacted }
      if (part.signature === undefined) throw unsupported(path, 'reasoning without a signature is not accepted back')
      return { type: 'thinking', thinking: part.text, signature: part.signature }
    case 'refusal':
      throw unsupported(path, 'a refusal is no content there')
  }
}

const DATA_URL = /^data:([^;,]+);base64,(.*)$/s

function imageSource(part: Extract<Part, { type: 'image' }>): object {
  if (part.base64 !== undefined) return { type: 'base64', media_type: part.mediaType ?? 'image/png', data: part.base64 }
  const data = DATA_URL.exec(part.url ?? '')
  return data ? { type: 'base64', media_type: data[1], data: data[2] } : { type: 'url', url: part.url }
}

function toolInput(json: string, path: string): unknown {
  let value: unknown
  try {
    value = json === '' ? {} : JSON.parse(json)
  } catch {
    value = undefined
  }
  if (!isObject(value)) throw invalid(path, 'expected the arguments to be a JSON object')
  return value
}

function tools(request: ChatRequest): object {
  if (!request.tools) return {}
  const { toolChoice, parallelToolCalls } = request
  const alone = parallelToolCalls === false ? { disable_parallel_tool_use: true } : {}
  const choice = typeof toolChoice === 'object' ? { type: 'tool', name: toolChoice.name } : toolChoice === 'required' ? { type: 'any' } : toolChoice === 'none' ? { type: 'none' } : { type: 'auto' }
  return {
    tools: request.tools.map((tool) => ({ name: tool.name, ...given('description', tool.description), input_schema: tool.parameters, ...given('strict', tool.strict) })),
    ...(toolChoice === undefined && parallelToolCalls !== false ? {} : { tool_choice: toolChoice === 'none' ? choice : { ...choice, ...alone } }),
  }
}

const EFFORTS = new Set(['low', 'medium', 'high', 'xhigh', 'max'])

function outputConfig({ responseFormat, reasoningEffort }: ChatRequest): object {
  if (responseFormat?.type === 'json') throw unsupported('response_format', 'only a JSON schema can be demanded there')
  if (reasoningEffort !== undefined && !EFFORTS.has(reasoningEffort)) throw unsupported('reasoning_effort', `it takes ${[...EFFORTS].join(', ')}`)
  if (responseFormat === undefined && reasoningEffort === undefined) return {}
  return { output_config: { ...given('effort', reasoningEffort), ...(responseFormat === undefined ? {} : { format: { type: 'json_schema', schema: responseFormat.schema } }) } }
}
