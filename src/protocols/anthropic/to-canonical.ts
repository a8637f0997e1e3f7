/** Anthropic's requests to the hub. */
import { FlyballError } from '../../core/errors.ts'
import type { ChatRequest, Message, Part, Tool, ToolChoice } from '../canonical.ts'
import { checkBody, invalid, unsupported } from '../shared/check-body.ts'
import { checkFields } from '../shared/field-table.ts'
import { arrayOf, booleanOf, given, isObject, numberOf, objectOf, stringOf, type JsonObject } from '../shared/json-value.ts'
import { BLOCK_FIELDS, MESSAGES_FIELDS, METADATA_FIELDS, OUTPUT_FIELDS, TOOL_FIELDS } from './request-fields.ts'
import { countTokensSchema, messagesSchema } from './request-schema.ts'

export function anthropicToCanonical(operation: string, body: unknown): ChatRequest {
  if (operation !== 'messages' && operation !== 'count_tokens') throw new FlyballError('not_found', { message: `There is no operation ${operation} in this protocol.` })
  checkBody(operation === 'messages' ? messagesSchema : countTokensSchema, body)
  const request = body as JsonObject
  checkFields(request, MESSAGES_FIELDS)
  const thinking = objectOf(request['thinking'])
  if (request['thinking'] && thinking['type'] !== 'disabled') throw unsupported('thinking', 'other providers have no thinking budget')
  const metadata = objectOf(request['metadata'])
  checkFields(metadata, METADATA_FIELDS, 'metadata.')
  const output = objectOf(request['output_config'])
  checkFields(output, OUTPUT_FIELDS, 'output_config.')
  const tools = arrayOf(request['tools']).map(tool)
  const system = blocks(request['system'], 'system')
  const { choice, parallel } = toolChoice(request['tool_choice'])
  return {
    kind: 'chat',
    model: request['model'] as string,
    stream: booleanOf(request['stream']) ?? false,
    includeUsage: true,
    ...(operation === 'count_tokens' ? { countTokens: true } : {}),
    ...given('user', stringOf(metadata['user_id'])),
    messages: [...(system.length === 0 ? [] : [{ role: 'system', content: system, at: 'system' } as const]), ...arrayOf(request['messages']).flatMap((entry, i) => messages(objectOf(entry), `messages[${i}]`))],
    ...(tools.length === 0 ? {} : { tools }),
    ...given('toolChoice', choice),
    ...given('parallelToolCalls', parallel),
    sampling: {
      ...given('maxTokens', numberOf(request['max_tokens'])),
      ...given('temperature', numberOf(request['temperature'])),
      ...given('topP', numberOf(request['top_p'])),
      ...given('topK', numberOf(request['top_k'])),
      ...(Array.isArray(request['stop_sequences']) && request['stop_sequences'].length > 0 ? { stop: request['stop_sequences'] as readonly string[] } : {}),
    },
    ...given('responseFormat', format(output['format'])),
    ...given('reasoningEffort', stringOf(output['effort'])),
  }
}

/** Tool results are messages of their own in the hub, and come first here. */
function messages(value: JsonObject, at: string): Message[] {
  checkFields(value, { role: 'carried', content: 'carried' }, `${at}.`)
  const { role } = value
  if (role !== 'user' && role !== 'assistant' && role !== 'system') throw invalid(`${at}.role`, 'expected one of user, assistant, system')
  const content = blocks(value['content'], `${at}.content`)
  const results = content.filter((part) => part.type === 'tool-result')
  const rest = content.filter((part) => part.type !== 'tool-result')
  if (results.length === 0) return [{ role, content, at }]
  return [{ role: 'tool', content: results, at }, ...(rest.length === 0 ? [] : [{ role, content: rest, at } satisfies Message])]
}

function blocks(value: unknown, path: string): Part[] {
  if (typeof value === 'string') return value === '' ? [] : [{ type: 'text', text: value }]
  return arrayOf(value).map((entry, i) => block(objectOf(entry), `${path}[${i}]`))
}

function text(value: JsonObject, field: string, path: string): string {
  const found = stringOf(value[field])
  if (found === undefined) throw invalid(`${path}.${field}`, 'expected string')
  return found
}

function block(value: JsonObject, path: string): Part {
  const type = stringOf(value['type']) ?? ''
  const fields = Object.hasOwn(BLOCK_FIELDS, type) ? BLOCK_FIELDS[type] : undefined
  if (!fields) throw unsupported(`${path}.type`, 'only text, images, tools and thinking are translated')
  checkFields(value, fields, `${path}.`)
  const cache = isObject(value['cache_control']) ? { cacheControl: given('ttl', stringOf(value['cache_control']['ttl'])) } : {}
  switch (type) {
    case 'text':
      return { type: 'text', text: text(value, 'text', path), ...cache }
    case 'image':
      return { ...image(objectOf(value['source']), `${path}.source`), ...cache }
    case 'tool_use':
      return { type: 'tool-call', id: text(value, 'id', path), name: text(value, 'name', path), input: JSON.stringify(value['input'] ?? {}), ...cache }
    case 'tool_result':
      return { type: 'tool-result', id: text(value, 'tool_use_id', path), content: blocks(value['content'], `${path}.content`), ...(value['is_error'] === true ? { isError: true } : {}), ...cache }
    case 'thinking':
      return { type: 'reasoning', text: text(value, 'thinking', path), ...given('signature', stringOf(value['signature']) || undefined) }
  }
  return { type: 'reasoning', text: '', redacted: text(value, 'data', path) }
}

function image(source: JsonObject, path: string): Extract<Part, { type: 'image' }> {
  if (source['type'] === 'base64') return { type: 'image', base64: text(source, 'data', path), mediaType: text(source, 'media_type', path) }
  if (source['type'] === 'url') return { type: 'image', url: text(source, 'url', path) }
  throw unsupported(`${path}.type`, 'files live with their provider')
}

function tool(value: unknown, i: number): Tool {
  const entry = objectOf(value)
  const path = `tools[${i}]`
  if (entry['type'] !== undefined && entry['type'] !== null && entry['type'] !== 'custom') throw unsupported(`${path}.type`, 'tools that the provider runs are its own')
  checkFields(entry, TOOL_FIELDS, `${path}.`)
  return { name: text(entry, 'name', path), ...given('description', stringOf(entry['description'])), parameters: entry['input_schema'] ?? { type: 'object', properties: {} }, ...given('strict', booleanOf(entry['strict'])) }
}

function toolChoice(value: unknown): { choice?: ToolChoice; parallel?: boolean } {
  if (value === undefined || value === null) return {}
  const { type, name, disable_parallel_tool_use: alone } = objectOf(value)
  const parallel = alone === true ? { parallel: false } : {}
  switch (type) {
    case 'auto':
    case 'none':
      return { choice: type, ...parallel }
    case 'any':
      return { choice: 'required', ...parallel }
    case 'tool':
      if (typeof name === 'string') return { choice: { name }, ...parallel }
  }
  throw invalid('tool_choice.type', 'expected one of auto, any, tool (with a name), none')
}

function format(value: unknown): ChatRequest['responseFormat'] {
  if (value === undefined || value === null) return undefined
  const { type, schema } = objectOf(value)
  if (type !== 'json_schema') throw unsupported('output_config.format.type', 'only json_schema is translated')
  return { type: 'schema', name: 'answer', schema: schema ?? {}, strict: true }
}
