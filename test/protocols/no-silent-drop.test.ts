/** A translated request says everything that the client's did, or it is refused by the name of what it cannot say. */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { FlyballError, type Protocol } from '../../src/index.ts'
import { protocols } from '../../src/protocols/all.ts'
import { dataPath } from '../support/data.ts'
import { need } from '../support/need.ts'

const named = (name: string): Protocol => protocols.find((protocol) => protocol.name === name) as Protocol
const openAi = named('openai')
const anthropic = named('anthropic')

/** A value that means something, and what else it needs to mean it. */
type Sample = readonly [value: unknown, beside?: Record<string, unknown>]

const functions = [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }]

const CHAT: Readonly<Record<string, Sample>> = {
  messages: [[{ role: 'user', content: 'other' }]],
  model: ['other'],
  service_tier: ['flex'],
  modalities: [['text', 'audio']],
  verbosity: ['low'],
  reasoning_effort: ['low'],
  max_completion_tokens: [7],
  frequency_penalty: [0.5],
  presence_penalty: [0.5],
  web_search_options: [{}],
  top_logprobs: [2, { logprobs: true }],
  response_format: [{ type: 'json_schema', json_schema: { name: 'a', schema: { type: 'object' } } }],
  audio: [{ voice: 'alloy', format: 'wav' }],
  store: [true],
  moderation: [{ model: 'x' }],
  stream: [true],
  stop: ['END'],
  logit_bias: [{ '1': 2 }],
  logprobs: [true],
  max_tokens: [7],
  n: [2],
  prediction: [{ type: 'content', content: 'x' }],
  seed: [1],
  stream_options: [{ include_usage: true }, { stream: true }],
  tools: [functions],
  tool_choice: ['required', { tools: functions }],
  parallel_tool_calls: [false, { tools: functions }],
  function_call: [{ name: 'f' }],
  functions: [[{ name: 'f' }]],
  prompt_cache_options: [{ mode: 'explicit' }],
  metadata: [{ a: 'b' }],
  temperature: [0.3],
  top_p: [0.3],
  user: ['u'],
  safety_identifier: ['u'],
  prompt_cache_key: ['k'],
  prompt_cache_retention: ['24h'],
  top_k: [5],
  min_p: [0.1],
  repetition_penalty: [1.5],
}

const COMPLETION: Readonly<Record<string, Sample>> = { model: ['other'], prompt: ['other'], best_of: [2], echo: [true], frequency_penalty: [0.5], logit_bias: [{ '1': 2 }], logprobs: [1], max_tokens: [7], n: [2], presence_penalty: [0.5], seed: [1], stop: ['END'], stream: [true], stream_options: [{ include_usage: true }, { stream: true }], suffix: ['!'], temperature: [0.3], top_p: [0.3], user: ['u'] }
const EMBEDDING: Readonly<Record<string, Sample>> = { input: ['other'], model: ['other'], encoding_format: ['base64'], dimensions: [3], user: ['u'] }

const tool = [{ name: 'f', input_schema: { type: 'object' } }]
const block = (content: unknown): Sample => [[{ role: 'user', content: [content] }]]

const MESSAGES: Readonly<Record<string, Sample>> = {
  model: ['other'],
  messages: [[{ role: 'user', content: 'other' }]],
  max_tokens: [7],
  cache_control: [{ type: 'ephemeral' }],
  container: ['c'],
  context_management: [{ edits: [] }],
  diagnostics: [{}],
  inference_geo: ['eu'],
  mcp_servers: [[{ type: 'url', url: 'https://x', name: 'x' }]],
  metadata: [{ user_id: 'u' }],
  output_config: [{ effort: 'low' }],
  service_tier: ['standard_only'],
  speed: ['fast'],
  stop_sequences: [['END']],
  stream: [true],
  system: ['be brief'],
  temperature: [0.3],
  thinking: [{ type: 'enabled', budget_tokens: 1024 }],
  tools: [tool],
  tool_choice: [{ type: 'any' }, { tools: tool }],
  top_k: [5],
  top_p: [0.3],
}

const MESSAGES_INSIDE: Readonly<Record<string, { sample: Record<string, Sample>; param: string }>> = {
  'system cache mark': { sample: { system: [[{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }]] }, param: 'system' },
  'citations': { sample: { messages: block({ type: 'text', text: 'x', citations: [{ type: 'char_location' }] }) }, param: 'messages[0].content[0].citations' },
  'file': { sample: { messages: block({ type: 'image', source: { type: 'file', file_id: 'f' } }) }, param: 'messages[0].content[0].source.type' },
  'document': { sample: { messages: block({ type: 'document', source: { type: 'text', data: 'x', media_type: 'text/plain' } }) }, param: 'messages[0].content[0].type' },
  'effort of nobody else': { sample: { output_config: [{ task_budget: 1 }] }, param: 'output_config.task_budget' },
  'metadata of nobody else': { sample: { metadata: [{ user_id: 'u', other: 1 }] }, param: 'metadata.other' },
  'deferred tool': { sample: { tools: [[{ ...tool[0], defer_loading: true }]] }, param: 'tools[0].defer_loading' },
}

/** Nothing is lost although nothing changes: this protocol always reports usage. */
const ALREADY_SO = new Set(['anthropic stream_options'])

function checkField(source: Protocol, target: Protocol, operation: string, base: Record<string, unknown>, field: string, [value, beside = {}]: Sample, param = field): void {
  const translate = (body: unknown): string => JSON.stringify(target.fromCanonical(source.toCanonical(operation, body)))
  let without: string | undefined
  try {
    without = translate({ ...base, ...beside })
  } catch {
    // What stands beside it is refused already.
    return
  }
  let error: unknown
  let translated: string | undefined
  try {
    translated = translate({ ...base, ...beside, [field]: value })
  } catch (thrown) {
    error = thrown
  }
  if (error !== undefined) {
    expect(error).toBeInstanceOf(FlyballError)
    expect((error as FlyballError).code).toBe('unsupported_field')
    expect((error as FlyballError).param?.startsWith(param), `${(error as FlyballError).param} does not name ${param}`).toBe(true)
  } else if (!ALREADY_SO.has(`${target.name} ${field}`)) expect(translated, `${field} was dropped`).not.toBe(without)
}

const chatBase = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }

for (const target of protocols) {
  describe(`to ${target.name}`, () => {
    it.each(Object.entries(CHAT))('from OpenAI\'s chat: %s', (field, sample) => checkField(openAi, target, 'chat', chatBase, field, sample))
    it.each(Object.entries(MESSAGES))('from Anthropic\'s messages: %s', (field, sample) => checkField(anthropic, target, 'messages', { ...chatBase, max_tokens: 3 }, field, sample))
    it.each(Object.entries(MESSAGES_INSIDE))('from Anthropic\'s messages: %s', (_, { sample, param }) => {
      for (const [field, one] of Object.entries(sample)) checkField(anthropic, target, 'messages', { ...chatBase, max_tokens: 3 }, field, one, param)
    })
  })
}

describe('to openai', () => {
  it.each(Object.entries(COMPLETION))('from its own completions: %s', (field, sample) => checkField(openAi, openAi, 'completions', { model: 'm', prompt: 'hi' }, field, sample))
  it.each(Object.entries(EMBEDDING))('from its own embeddings: %s', (field, sample) => checkField(openAi, openAi, 'embeddings', { model: 'm', input: 'hi' }, field, sample))
})

it('completions and embeddings have nowhere to go but to their own kind', () => {
  for (const [operation, body, param] of [['completions', { model: 'm', prompt: 'x' }, 'prompt'], ['embeddings', { model: 'm', input: 'x' }, 'input']] as const) {
    expect(() => anthropic.fromCanonical(openAi.toCanonical(operation, body))).toThrow(expect.objectContaining({ code: 'unsupported_field', param }))
  }
})

need('data').describe('against OpenAI\'s own specification', () => {
  const text = gunzipSync(readFileSync(dataPath('specs/openai-openapi.yaml.gz'))).toString()

  interface Schema {
    readonly allOf?: readonly (Schema & { $ref?: string })[]
    readonly properties?: Record<string, unknown>
  }

  function fieldsOf(name: string): string[] {
    const start = text.indexOf(`\n    ${name}:`) + 1
    const end = start + (/\n    \S/.exec(text.slice(start))?.index ?? 0)
    const schema = (parse(text.slice(start, end).replaceAll('\n    ', '\n').trimStart()) as Record<string, Schema>)[name] as Schema
    const fields = new Set(Object.keys(schema.properties ?? {}))
    for (const part of schema.allOf ?? []) {
      for (const field of Object.keys(part.properties ?? {})) fields.add(field)
      if (part.$ref) for (const field of fieldsOf(part.$ref.split('/').at(-1) as string)) fields.add(field)
    }
    return [...fields]
  }

  it.each([
    ['CreateChatCompletionRequest', CHAT],
    ['CreateCompletionRequest', COMPLETION],
    ['CreateEmbeddingRequest', EMBEDDING],
  ] as const)('every field of %s is tried above', (schema, samples) => {
    const fields = fieldsOf(schema)
    expect(fields.length).toBeGreaterThan(4)
    expect(fields.filter((field) => !(field in samples))).toEqual([])
  })
})
