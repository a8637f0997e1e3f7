/** OpenAI's requests to the hub. */
import { FlyballError } from '../../core/errors.ts'
import type { CacheControl, CanonicalRequest, ChatRequest, Message, Part, Sampling, Tool, ToolChoice } from '../canonical.ts'
import { checkBody, invalid, unsupported } from '../shared/check-body.ts'
import { checkFields } from '../shared/field-table.ts'
import { arrayOf, booleanOf, given, isObject, numberOf, objectOf, stringOf, type JsonObject } from '../shared/json-value.ts'
import { CHAT_FIELDS, COMPLETION_FIELDS, EMBEDDING_FIELDS, MESSAGE_FIELDS, TOOL_FIELDS } from './request-fields.ts'
import { chatSchema, completionSchema, embeddingSchema } from './request-schema.ts'

export function openAiToCanonical(operation: string, body: unknown): CanonicalRequest {
  switch (operation) {
    case 'chat':
      checkBody(chatSchema, body)
      return chat(body as JsonObject)
    case 'completions':
      checkBody(completionSchema, body)
      return completion(body as JsonObject)
    case 'embeddings':
      checkBody(embeddingSchema, body)
      return embedding(body as JsonObject)
  }
  throw new FlyballError('not_found', { message: `There is no operation ${operation} in this protocol.` })
}

function common(body: JsonObject) {
  const user = stringOf(body['user']) ?? stringOf(body['safety_identifier'])
  const includeUsage = booleanOf(objectOf(body['stream_options'])['include_usage']) ?? false
  return { model: body['model'] as string, stream: booleanOf(body['stream']) ?? false, includeUsage, ...given('user', user) }
}

/** One entry, or several, of text or token ids. */
function texts(input: unknown): readonly (string | readonly number[])[] {
  if (typeof input === 'string') return [input]
  const list = arrayOf(input)
  return typeof list[0] === 'number' ? [list as readonly number[]] : (list as readonly (string | readonly number[])[])
}

function sampling(body: JsonObject, topLogprobs: number | undefined): Sampling {
  const { stop } = body
  const stops = typeof stop === 'string' ? [stop] : Array.isArray(stop) && stop.length > 0 ? (stop as readonly string[]) : undefined
  return {
    ...given('maxTokens', numberOf(body['max_completion_tokens']) ?? numberOf(body['max_tokens'])),
    ...given('temperature', numberOf(body['temperature'])),
    ...given('topP', numberOf(body['top_p'])),
    ...given('topK', numberOf(body['top_k'])),
    ...given('minP', numberOf(body['min_p'])),
    ...given('repetitionPenalty', numberOf(body['repetition_penalty'])),
    ...given('frequencyPenalty', numberOf(body['frequency_penalty'])),
    ...given('presencePenalty', numberOf(body['presence_penalty'])),
    ...given('seed', numberOf(body['seed'])),
    ...given('stop', stops),
    ...given('n', numberOf(body['n'])),
    ...given('topLogprobs', topLogprobs),
    ...given('logitBias', isObject(body['logit_bias']) ? (body['logit_bias'] as Readonly<Record<string, number>>) : undefined),
  }
}

function completion(body: JsonObject): CanonicalRequest {
  checkFields(body, COMPLETION_FIELDS)
  return { kind: 'completion', ...common(body), prompts: texts(body['prompt']), ...given('echo', booleanOf(body['echo'])), ...given('suffix', stringOf(body['suffix'])), sampling: sampling(body, numberOf(body['logprobs'])) }
}

function embedding(body: JsonObject): CanonicalRequest {
  checkFields(body, EMBEDDING_FIELDS)
  const { model, user } = common(body)
  return { kind: 'embedding', model, stream: false, ...given('user', user), inputs: texts(body['input']), ...given('dimensions', numberOf(body['dimensions'])), encoding: body['encoding_format'] === 'base64' ? 'base64' : 'float' }
}

function chat(body: JsonObject): ChatRequest {
  checkFields(body, CHAT_FIELDS)
  const tools = arrayOf(body['tools']).map(tool)
  return {
    kind: 'chat',
    ...common(body),
    messages: arrayOf(body['messages']).map((entry, i) => message(objectOf(entry), `messages[${i}]`)),
    ...(tools.length === 0 ? {} : { tools }),
    ...given('toolChoice', toolChoice(body['tool_choice'])),
    ...given('parallelToolCalls', booleanOf(body['parallel_tool_calls'])),
    sampling: sampling(body, body['logprobs'] === true ? (numberOf(body['top_logprobs']) ?? 0) : undefined),
    ...given('responseFormat', responseFormat(body['response_format'])),
    ...given('reasoningEffort', stringOf(body['reasoning_effort'])),
  }
}

const ROLES: { readonly [role: string]: Message['role'] } = { system: 'system', developer: 'system', user: 'user', assistant: 'assistant', tool: 'tool' }

function message(value: JsonObject, path: string): Message {
  checkFields(value, MESSAGE_FIELDS, `${path}.`)
  const name = stringOf(value['role']) ?? ''
  const role = Object.hasOwn(ROLES, name) ? ROLES[name] : undefined
  if (role === undefined) throw name === 'function' ? unsupported(`${path}.role`, 'functions are the deprecated form of tools') : invalid(`${path}.role`, 'expected one of system, developer, user, assistant, tool')
  const content = parts(value['content'], `${path}.content`)
  if (role === 'tool') {
    const id = stringOf(value['tool_call_id'])
    if (id === undefined) throw invalid(`${path}.tool_call_id`, 'expected string, got nothing')
    return { role, content: [{ type: 'tool-result', id, content }] }
  }
  const reasoning = stringOf(value['reasoning_content']) ?? stringOf(value['reasoning'])
  const refusal = stringOf(value['refusal'])
  const all: Part[] = [
    ...(reasoning ? [{ type: 'reasoning', text: reasoning } as const] : []),
    ...content,
    ...(refusal ? [{ type: 'refusal', text: refusal } as const] : []),
    ...arrayOf(value['tool_calls']).map((entry, i) => toolCall(objectOf(entry), `${path}.tool_calls[${i}]`)),
  ]
  return { role, content: all, ...given('name', stringOf(value['name'])) }
}

function parts(content: unknown, path: string): Part[] {
  if (typeof content === 'string') return content === '' ? [] : [{ type: 'text', text: content }]
  return arrayOf(content).map((entry, i) => part(objectOf(entry), `${path}[${i}]`))
}

function part(value: JsonObject, path: string): Part {
  const cache = isObject(value['cache_control']) ? { cacheControl: { ...given('ttl', stringOf(value['cache_control']['ttl'])) } satisfies CacheControl } : {}
  switch (value['type']) {
    case 'text':
      checkFields(value, { type: 'carried', text: 'carried', cache_control: 'carried' }, `${path}.`)
      if (typeof value['text'] !== 'string') throw invalid(`${path}.text`, 'expected string')
      return { type: 'text', text: value['text'], ...cache }
    case 'refusal':
      return { type: 'refusal', text: stringOf(value['refusal']) ?? '' }
    case 'image_url': {
      checkFields(value, { type: 'carried', image_url: 'carried', cache_control: 'carried' }, `${path}.`)
      const image = objectOf(value['image_url'])
      checkFields(image, { url: 'carried', detail: 'carried' }, `${path}.image_url.`)
      const url = stringOf(image['url'])
      if (url === undefined) throw invalid(`${path}.image_url.url`, 'expected string')
      return { type: 'image', url, ...given('detail', stringOf(image['detail'])), ...cache }
    }
  }
  throw unsupported(`${path}.type`, 'only text and images are translated')
}

function toolCall(value: JsonObject, path: string): Part {
  if (value['type'] !== undefined && value['type'] !== 'function') throw unsupported(`${path}.type`, 'only functions are translated')
  const fn = objectOf(value['function'])
  const id = stringOf(value['id'])
  if (id === undefined) throw invalid(`${path}.id`, 'expected string')
  return { type: 'tool-call', id, name: stringOf(fn['name']) ?? '', input: stringOf(fn['arguments']) ?? '' }
}

function tool(value: unknown, i: number): Tool {
  const entry = objectOf(value)
  const path = `tools[${i}]`
  if (entry['type'] !== 'function') throw unsupported(`${path}.type`, 'only functions are translated')
  checkFields(entry, { type: 'carried', function: 'carried' }, `${path}.`)
  const fn = objectOf(entry['function'])
  checkFields(fn, TOOL_FIELDS, `${path}.function.`)
  const name = stringOf(fn['name'])
  if (name === undefined) throw invalid(`${path}.function.name`, 'expected string')
  return { name, ...given('description', stringOf(fn['description'])), parameters: fn['parameters'] ?? { type: 'object', properties: {} }, ...given('strict', booleanOf(fn['strict'])) }
}

function toolChoice(value: unknown): ToolChoice | undefined {
  if (value === undefined || value === null) return undefined
  if (value === 'auto' || value === 'none' || value === 'required') return value
  const name = stringOf(objectOf(objectOf(value)['function'])['name'])
  if (name === undefined) throw unsupported('tool_choice', 'only auto, none, required and a named function are translated')
  return { name }
}

function responseFormat(value: unknown): ChatRequest['responseFormat'] {
  if (value === undefined || value === null) return undefined
  const format = objectOf(value)
  switch (format['type']) {
    case 'text':
      return undefined
    case 'json_object':
      return { type: 'json' }
    case 'json_schema': {
      const schema = objectOf(format['json_schema'])
      checkFields(schema, { name: 'carried', schema: 'carried', strict: 'carried' }, 'response_format.json_schema.')
      return { type: 'schema', name: stringOf(schema['name']) ?? 'answer', schema: schema['schema'] ?? {}, ...given('strict', booleanOf(schema['strict'])) }
    }
  }
  throw unsupported('response_format.type', 'only text, json_object and json_schema are translated')
}
