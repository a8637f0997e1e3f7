/** The hub's requests as OpenAI's. */
import type { CanonicalRequest, ChatRequest, Message, Part, Sampling } from '../canonical.ts'
import { unsupported } from '../shared/check-body.ts'
import { given } from '../shared/json-value.ts'

export function openAiFromCanonical(request: CanonicalRequest): { path: string; body: unknown } {
  switch (request.kind) {
    case 'chat':
      if (request.countTokens) throw unsupported('messages', 'this provider does not count tokens')
      return { path: '/chat/completions', body: chat(request) }
    case 'completion':
      return {
        path: '/completions',
        body: {
          ...common(request),
          prompt: request.prompts.length === 1 ? request.prompts[0] : request.prompts,
          ...given('echo', request.echo),
          ...given('suffix', request.suffix),
          ...sampling(request.sampling, 'max_tokens'),
          ...given('logprobs', request.sampling.topLogprobs),
        },
      }
    case 'embedding':
      return { path: '/embeddings', body: { model: request.model, ...given('user', request.user), input: request.inputs, ...given('dimensions', request.dimensions), encoding_format: request.encoding } }
  }
}

const common = (request: { model: string; stream: boolean; user?: string; includeUsage: boolean }) => ({
  model: request.model,
  stream: request.stream,
  ...(request.stream && request.includeUsage ? { stream_options: { include_usage: true } } : {}),
  ...given('user', request.user),
})

function sampling(values: Sampling, limit: 'max_tokens' | 'max_completion_tokens') {
  return {
    ...given(limit, values.maxTokens),
    ...given('temperature', values.temperature),
    ...given('top_p', values.topP),
    ...given('top_k', values.topK),
    ...given('min_p', values.minP),
    ...given('repetition_penalty', values.repetitionPenalty),
    ...given('frequency_penalty', values.frequencyPenalty),
    ...given('presence_penalty', values.presencePenalty),
    ...given('seed', values.seed),
    ...given('stop', values.stop),
    ...given('n', values.n),
    ...given('logit_bias', values.logitBias),
  }
}

function chat(request: ChatRequest) {
  const { toolChoice, responseFormat, sampling: values } = request
  return {
    ...common(request),
    messages: request.messages.flatMap((message, i) => messages(message, message.at ?? `messages[${i}]`)),
    ...(request.tools ? { tools: request.tools.map((tool) => ({ type: 'function', function: { name: tool.name, ...given('description', tool.description), parameters: tool.parameters, ...given('strict', tool.strict) } })) } : {}),
    ...given('tool_choice', typeof toolChoice === 'object' ? { type: 'function', function: { name: toolChoice.name } } : toolChoice),
    ...given('parallel_tool_calls', request.parallelToolCalls),
    // Every compatible server knows this name; only OpenAI's reasoning models insist on the newer one.
    ...sampling(values, 'max_tokens'),
    ...(values.topLogprobs === undefined ? {} : { logprobs: true, top_logprobs: values.topLogprobs }),
    ...given('reasoning_effort', request.reasoningEffort),
    ...(responseFormat === undefined
      ? {}
      : { response_format: responseFormat.type === 'json' ? { type: 'json_object' } : { type: 'json_schema', json_schema: { name: responseFormat.name, schema: responseFormat.schema, ...given('strict', responseFormat.strict) } } }),
  }
}

/** A message of the hub may hold several tool results; here each is a message. */
function messages(message: Message, path: string): unknown[] {
  const results = message.content.filter((part) => part.type === 'tool-result')
  const rest = message.content.filter((part) => part.type !== 'tool-result')
  const written: unknown[] = results.map((part) => {
    const at = `${path}.content[${message.content.indexOf(part)}]`
    noCacheControl(part, at)
    if (part.content.some(({ type }) => type === 'image')) throw unsupported(`${at}.content`, 'tool messages hold no images')
    const result = content(part.content, `${at}.content`)
    return { role: 'tool', tool_call_id: part.id, content: part.isError ? failed(result) : result }
  })
  if (rest.length === 0 && results.length > 0) return written
  if (message.role === 'tool') throw unsupported(`${path}.content`, 'tool messages hold results only')
  const calls = rest.filter((part) => part.type === 'tool-call')
  const reasoning = rest.filter((part) => part.type === 'reasoning')
  const refusals = rest.filter((part) => part.type === 'refusal')
  const said = rest.filter((part) => part.type === 'text' || part.type === 'image')
  for (const part of reasoning) if (part.redacted !== undefined || part.signature !== undefined) throw unsupported(`${path}.content[${message.content.indexOf(part)}]`, 'signed or redacted thinking belongs to its provider')
  for (const part of calls) noCacheControl(part, `${path}.content[${message.content.indexOf(part)}]`)
  written.push({
    role: message.role,
    content: said.length === 0 && (calls.length > 0 || refusals.length > 0) ? null : content(said, `${path}.content`),
    ...given('name', message.name),
    ...(reasoning.length === 0 ? {} : { reasoning_content: reasoning.map(({ text }) => text).join('') }),
    ...(refusals.length === 0 ? {} : { refusal: refusals.map(({ text }) => text).join('') }),
    ...(calls.length === 0 ? {} : { tool_calls: calls.map(({ id, name, input }) => ({ id, type: 'function', function: { name, arguments: input } })) }),
  })
  return written
}

/** Tool messages have no error flag: models read of a failure in the result's own words, so those say it. */
function failed(result: unknown): unknown {
  if (Array.isArray(result)) return [{ type: 'text', text: 'Error:' }, ...(result as unknown[])]
  return result === '' ? 'Error' : `Error: ${result as string}`
}

function noCacheControl(part: Part, path: string): void {
  if ('cacheControl' in part && part.cacheControl) throw unsupported(`${path}.cache_control`, 'caching is automatic there')
}

/** Plain text where that says all: every server reads it, not every one reads parts. */
function content(parts: readonly Part[], path: string): unknown {
  parts.forEach((part, i) => noCacheControl(part, `${path}[${i}]`))
  if (parts.length === 0) return ''
  const [only] = parts
  if (parts.length === 1 && only?.type === 'text') return only.text
  return parts.map((part, i) => {
    if (part.type === 'text') return { type: 'text', text: part.text }
    if (part.type === 'image') return { type: 'image_url', image_url: { url: part.url ?? `data:${part.mediaType ?? 'image/png'};base64,${part.base64 ?? ''}`, ...given('detail', part.detail) } }
    throw unsupported(`${path}[${i}].type`, 'only text and images are translated here')
  })
}
