/** Official clients of one protocol, upstreams of the other, the whole gateway between them. */
import Anthropic from '@anthropic-ai/sdk'
import express from 'express'
import OpenAI from 'openai'
import type { ServerResponse } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { anthropic } from '../../../plugins/backends/anthropic/anthropic.ts'
import { openai } from '../../../plugins/backends/openai/openai.ts'
import { createGovernor, type Backend } from '../../../src/index.ts'
import { listen } from '../../support/listen.ts'
import { need } from '../../support/need.ts'
import { waitFor } from '../../support/wait-for.ts'
import { cutAt, streamRecordings } from '../../protocols/support/recordings.ts'
import { httpUpstream, type Received, type Upstream } from './upstream.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const thing of opened.splice(0)) await thing.close()
})

interface Setup {
  readonly upstream: Upstream
  readonly openAi: OpenAI
  readonly anthropicClient: Anthropic
}

async function through(speaks: 'openai' | 'anthropic', answer: (request: Received, res: ServerResponse) => void, options: { dropCacheControl?: boolean } = {}): Promise<Setup> {
  // The gateway's own look at the models, before it is ready.
  const upstream = await httpUpstream((request, res) => (request.method === 'GET' ? json(res, { data: [] }) : answer(request, res)))
  const backend: Backend = speaks === 'openai' ? openai({ name: 'up', baseUrl: `${upstream.url}/v1`, apiKey: 'sk-up', ...options }) : anthropic({ name: 'up', baseUrl: `${upstream.url}/v1`, apiKey: 'sk-up' })
  const governor = createGovernor({ backends: [backend] })
  await governor.start()
  const app = express()
  app.use('/v1', governor.gateway())
  const server = await listen(app)
  opened.push(governor, server, upstream)
  return { upstream, openAi: new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'sk-client', maxRetries: 0 }), anthropicClient: new Anthropic({ baseURL: server.url, apiKey: 'sk-client', maxRetries: 0 }) }
}

const json = (res: ServerResponse, document: unknown, status = 200): void => void res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(document))
const bodyOf = (upstream: Upstream): Record<string, unknown> => JSON.parse((upstream.received.filter(({ method }) => method === 'POST').at(-1) as Received).body.toString()) as Record<string, unknown>
function stream(res: ServerResponse, pieces: readonly (Buffer | string)[]): void {
  res.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const piece of pieces) res.write(piece)
  res.end()
}

const weather = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } as const
const PNG = 'iVBORw0KGgo='

const ANTHROPIC_ANSWER = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'claude',
  content: [{ type: 'text', text: 'Let me look.' }, { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Rome' } }],
  stop_reason: 'tool_use',
  stop_sequence: null,
  usage: { input_tokens: 10, cache_read_input_tokens: 5, cache_creation_input_tokens: 2, output_tokens: 7 },
}

describe('OpenAI\'s client, Anthropic\'s upstream', () => {
  it('carries a conversation with tools and images, and brings the answer back', async () => {
    const { openAi, upstream } = await through('anthropic', (_, res) => json(res, ANTHROPIC_ANSWER))
    const answer = await openAi.chat.completions.create({
      model: 'claude',
      messages: [
        { role: 'developer', content: 'be brief' },
        { role: 'user', content: [{ type: 'text', text: 'which city?' }, { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } }, { type: 'image_url', image_url: { url: 'https://x/y.png', detail: 'auto' } }] },
        { role: 'assistant', content: null, tool_calls: [{ id: 'a', type: 'function', function: { name: 'weather', arguments: '{"city":"Oslo"}' } }, { id: 'b', type: 'function', function: { name: 'weather', arguments: '' } }] },
        { role: 'tool', tool_call_id: 'a', content: 'rain' },
        { role: 'tool', tool_call_id: 'b', content: 'which?' },
        { role: 'user', content: 'Rome then' },
      ],
      tools: [{ type: 'function', function: { name: 'weather', description: 'of a city', parameters: weather } }],
      tool_choice: 'required',
      parallel_tool_calls: false,
      max_completion_tokens: 50,
      stop: 'END',
      user: 'u1',
    })
    expect(bodyOf(upstream)).toEqual({
      model: 'claude',
      max_tokens: 50,
      stream: false,
      system: 'be brief',
      stop_sequences: ['END'],
      metadata: { user_id: 'u1' },
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'which city?' }, { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } }, { type: 'image', source: { type: 'url', url: 'https://x/y.png' } }] },
        { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'weather', input: { city: 'Oslo' } }, { type: 'tool_use', id: 'b', name: 'weather', input: {} }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: 'rain' }, { type: 'tool_result', tool_use_id: 'b', content: 'which?' }, { type: 'text', text: 'Rome then' }] },
      ],
      tools: [{ name: 'weather', description: 'of a city', input_schema: weather }],
      tool_choice: { type: 'any', disable_parallel_tool_use: true },
    })
    const { rawHeaders } = upstream.received.find(({ method }) => method === 'POST') as Received
    expect(rawHeaders).toContain('sk-up')
    expect(rawHeaders.join(' ')).not.toContain('sk-client')
    expect(answer.choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { role: 'assistant', content: 'Let me look.', tool_calls: [{ id: 'toolu_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Rome"}' } }] } })
    expect(answer.usage).toMatchObject({ prompt_tokens: 17, completion_tokens: 7, total_tokens: 24, prompt_tokens_details: { cached_tokens: 5 } })
  })

  it('reads an upstream\'s error in its own shape', async () => {
    const { openAi } = await through('anthropic', (_, res) => void res.writeHead(429, { 'content-type': 'application/json', 'retry-after': '3' }).end('{"type":"error","error":{"type":"rate_limit_error","message":"too many tokens"}}'))
    const error: unknown = await openAi.chat.completions.create({ model: 'claude', messages: [{ role: 'user', content: 'hi' }] }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.RateLimitError)
    expect((error as InstanceType<typeof OpenAI.RateLimitError>).message).toContain('too many tokens')
    expect((error as InstanceType<typeof OpenAI.RateLimitError>).headers?.get('retry-after')).toBe('3')
  })

  it.each([
    ['n', { n: 2 }],
    ['seed', { seed: 1 }],
    ['logprobs', { logprobs: true }],
    ['temperature', { temperature: 1.5 }],
    ['frequency_penalty', { frequency_penalty: 1 }],
    ['logit_bias', { logit_bias: { '1': 1 } }],
    ['response_format', { response_format: { type: 'json_object' } }],
    ['store', { store: true }],
    ['messages[0].name', { messages: [{ role: 'user', content: 'x', name: 'ann' }] }],
    ['messages[0].content[0].type', { messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data: '', format: 'wav' } }] }] }],
    ['messages[0].content[0].image_url.detail', { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://x', detail: 'high' } }] }] }],
  ])('says that %s cannot be carried', async (param, extra) => {
    const { openAi, upstream } = await through('anthropic', (_, res) => json(res, ANTHROPIC_ANSWER))
    const error: unknown = await openAi.chat.completions.create({ model: 'claude', messages: [{ role: 'user', content: 'hi' }], ...(extra as object) }).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ status: 400, param, code: 'unsupported_field' })
    expect(upstream.received.filter(({ method }) => method === 'POST')).toEqual([])
  })

  it('lets fields pass at values that change nothing', async () => {
    const { openAi } = await through('anthropic', (_, res) => json(res, ANTHROPIC_ANSWER))
    await openAi.chat.completions.create({ model: 'claude', messages: [{ role: 'user', content: 'hi' }], n: 1, store: false, service_tier: 'auto', metadata: {}, presence_penalty: 0, response_format: { type: 'text' }, logprobs: false })
  })

  it('aborts upstream when the client leaves mid-stream', async () => {
    let left = 0
    const { openAi } = await through('anthropic', (_, res) => {
      res.on('close', () => left++)
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write('event: message_start\ndata: {"type":"message_start","message":{"id":"x","usage":{"input_tokens":1,"output_tokens":1}}}\n\nevent: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}\n\n')
    })
    const reply = await openAi.chat.completions.create({ model: 'claude', messages: [{ role: 'user', content: 'hi' }], stream: true })
    for await (const chunk of reply) if (chunk.choices[0]?.delta.content === 'a') break
    expect(left).toBe(0)
    await waitFor(() => left === 1)
  })

  need('data').it('reads every recorded stream of plain answers and tools', async () => {
    const recordings = streamRecordings('anthropic', 'anthropic').filter(({ name }) => /tool-no-args|combined-context|fallback|refusal|duplicate/.test(name)).concat(streamRecordings('anthropic-sdk', 'anthropic'))
    expect(recordings.length).toBeGreaterThan(6)
    let current = recordings[0] as (typeof recordings)[number]
    const { openAi } = await through('anthropic', (_, res) => stream(res, cutAt(current.bytes, [0.11, 0.37, 0.61, 0.93])))
    for (const recording of recordings) {
      current = recording
      const deltas = [...recording.bytes.toString().matchAll(/^data: (.*)$/gm)].map((match) => JSON.parse(match[1] as string) as { type: string; delta?: { text?: string; thinking?: string; partial_json?: string } })
      const joined = (field: 'text' | 'thinking' | 'partial_json'): string => deltas.map(({ delta }) => delta?.[field] ?? '').join('')
      const reply = openAi.chat.completions.stream({ model: 'claude', messages: [{ role: 'user', content: 'hi' }], stream_options: { include_usage: true } })
      let reasoning = ''
      let usage: OpenAI.CompletionUsage | null | undefined
      for await (const chunk of reply) {
        reasoning += (chunk.choices[0]?.delta as { reasoning_content?: string } | undefined)?.reasoning_content ?? ''
        usage = chunk.usage ?? usage
      }
      const { message } = (await reply.finalChatCompletion()).choices[0] as { message: OpenAI.ChatCompletionMessage }
      expect(message.content ?? '', recording.name).toBe(joined('text'))
      expect(reasoning).toBe(joined('thinking'))
      const tool = message.tool_calls?.[0]
      if (tool?.type === 'function') expect(tool.function.arguments).toBe(joined('partial_json') || '{}')
      expect(usage?.completion_tokens, recording.name).toBeGreaterThan(0)
    }
  })
})

const OPENAI_ANSWER = {
  id: 'c',
  object: 'chat.completion',
  created: 1,
  model: 'gpt',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Let me look.', tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Rome"}' } }] }, finish_reason: 'tool_calls' }],
  usage: { prompt_tokens: 17, completion_tokens: 7, total_tokens: 24, prompt_tokens_details: { cached_tokens: 5 } },
}

describe('Anthropic\'s client, OpenAI\'s upstream', () => {
  const simple = { model: 'gpt', max_tokens: 50, messages: [{ role: 'user' as const, content: 'hi' }] }

  it('carries a conversation with tools and images, and brings the answer back', async () => {
    const { anthropicClient, upstream } = await through('openai', (_, res) => json(res, OPENAI_ANSWER))
    const answer = await anthropicClient.messages.create({
      model: 'gpt',
      max_tokens: 50,
      system: 'be brief',
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'which city?' }, { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } }] },
        { role: 'assistant', content: [{ type: 'text', text: 'hm' }, { type: 'tool_use', id: 'a', name: 'weather', input: { city: 'Oslo' } }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: 'rain' }, { type: 'text', text: 'Rome then' }] },
      ],
      tools: [{ name: 'weather', description: 'of a city', input_schema: weather as never }],
      tool_choice: { type: 'any', disable_parallel_tool_use: true },
      stop_sequences: ['END'],
      metadata: { user_id: 'u1' },
    })
    expect(bodyOf(upstream)).toEqual({
      model: 'gpt',
      stream: false,
      user: 'u1',
      max_tokens: 50,
      stop: ['END'],
      messages: [
        { role: 'system', content: 'be brief' },
        { role: 'user', content: [{ type: 'text', text: 'which city?' }, { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } }] },
        { role: 'assistant', content: 'hm', tool_calls: [{ id: 'a', type: 'function', function: { name: 'weather', arguments: '{"city":"Oslo"}' } }] },
        { role: 'tool', tool_call_id: 'a', content: 'rain' },
        { role: 'user', content: 'Rome then' },
      ],
      tools: [{ type: 'function', function: { name: 'weather', description: 'of a city', parameters: weather } }],
      tool_choice: 'required',
      parallel_tool_calls: false,
    })
    expect(answer).toMatchObject({ type: 'message', role: 'assistant', stop_reason: 'tool_use', content: [{ type: 'text', text: 'Let me look.' }, { type: 'tool_use', id: 'call_1', name: 'weather', input: { city: 'Rome' } }], usage: { input_tokens: 12, cache_read_input_tokens: 5, output_tokens: 7 } })
  })

  it('reads an upstream\'s error in its own shape', async () => {
    const { anthropicClient } = await through('openai', (_, res) => json(res, { error: { message: 'no such model', type: 'invalid_request_error', param: 'model', code: 'model_not_found' } }, 404))
    const error: unknown = await anthropicClient.messages.create(simple).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(Anthropic.NotFoundError)
    expect(error).toMatchObject({ error: { type: 'error', error: { type: 'not_found_error', message: 'no such model' } } })
  })

  it.each([
    ['thinking', { thinking: { type: 'enabled', budget_tokens: 1024 } }],
    ['container', { container: 'c' }],
    ['tools[0].type', { tools: [{ type: 'web_search_20250305', name: 'web_search' }] }],
    ['messages[0].content[0].type', { messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'url', url: 'https://x' } }] }] }],
    ['system.content[0].cache_control', { system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }] }],
  ])('says that %s cannot be carried', async (param, extra) => {
    const { anthropicClient, upstream } = await through('openai', (_, res) => json(res, OPENAI_ANSWER))
    const error: unknown = await anthropicClient.messages.create({ ...simple, ...(extra as object) }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(Anthropic.BadRequestError)
    expect((error as Error).message).toContain(param)
    expect(upstream.received.filter(({ method }) => method === 'POST')).toEqual([])
  })

  it('says in words that a tool failed: there is no other place for it', async () => {
    const { anthropicClient, upstream } = await through('openai', (_, res) => json(res, OPENAI_ANSWER))
    await anthropicClient.messages.create({
      ...simple,
      messages: [
        { role: 'assistant', content: ['a', 'b', 'c', 'd'].map((id) => ({ type: 'tool_use' as const, id, name: 'weather', input: {} })) },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 'a', content: 'no such city', is_error: true },
            { type: 'tool_result', tool_use_id: 'b', is_error: true },
            { type: 'tool_result', tool_use_id: 'c', content: [{ type: 'text', text: 'one' }, { type: 'text', text: 'two' }], is_error: true },
            { type: 'tool_result', tool_use_id: 'd', content: 'rain', is_error: false },
          ],
        },
      ],
    })
    expect((bodyOf(upstream) as { messages: unknown[] }).messages.slice(1)).toEqual([
      { role: 'tool', tool_call_id: 'a', content: 'Error: no such city' },
      { role: 'tool', tool_call_id: 'b', content: 'Error' },
      { role: 'tool', tool_call_id: 'c', content: [{ type: 'text', text: 'Error:' }, { type: 'text', text: 'one' }, { type: 'text', text: 'two' }] },
      { role: 'tool', tool_call_id: 'd', content: 'rain' },
    ])
  })

  it('loses cache marks only where the operator said so', async () => {
    const { anthropicClient, upstream } = await through('openai', (_, res) => json(res, OPENAI_ANSWER), { dropCacheControl: true })
    await anthropicClient.messages.create({ ...simple, system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }] })
    expect(JSON.stringify(bodyOf(upstream))).not.toContain('cache')
  })

  it('does not count tokens with an upstream that cannot', async () => {
    const { anthropicClient, upstream } = await through('openai', (_, res) => json(res, OPENAI_ANSWER))
    await expect(anthropicClient.messages.countTokens({ model: 'gpt', messages: simple.messages })).rejects.toBeInstanceOf(Anthropic.BadRequestError)
    expect(upstream.received.filter(({ method }) => method === 'POST')).toEqual([])
  })

  it('throws at an error inside the stream', async () => {
    const { anthropicClient } = await through('openai', (_, res) => stream(res, ['data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n', 'data: {"error":{"message":"engine died","code":500}}\n\n']))
    const reply = await anthropicClient.messages.create({ ...simple, stream: true })
    await expect((async () => { for await (const _ of reply); })()).rejects.toThrow(/engine died/)
  })

  it('throws at a stream that is cut short', async () => {
    const { anthropicClient } = await through('openai', (_, res) => stream(res, ['data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n']))
    const reply = await anthropicClient.messages.create({ ...simple, stream: true })
    await expect((async () => { for await (const _ of reply); })()).rejects.toThrow(/before it was complete/)
  })

  it('puts interleaved tool calls one after another', async () => {
    const event = (index: number, fields: object): string => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { tool_calls: [{ index, ...fields }] }, finish_reason: null }] })}\n\n`
    const { anthropicClient } = await through('openai', (_, res) =>
      stream(res, [event(0, { id: 'a', type: 'function', function: { name: 'f', arguments: '{"x"' } }), event(1, { id: 'b', type: 'function', function: { name: 'g', arguments: '{"y"' } }), event(0, { function: { arguments: ':1}' } }), event(1, { function: { arguments: ':2}' } }), 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n', 'data: [DONE]\n\n']))
    const message = await anthropicClient.messages.stream(simple).finalMessage()
    expect(message.content).toMatchObject([{ type: 'tool_use', id: 'a', name: 'f', input: { x: 1 } }, { type: 'tool_use', id: 'b', name: 'g', input: { y: 2 } }])
    expect(message.stop_reason).toBe('tool_use')
  })

  need('data').it('reads every recorded chat stream', async () => {
    const recordings = ['openai-compatible', 'deepseek', 'groq', 'mistral'].flatMap((provider) => streamRecordings(provider, 'openai')).concat(streamRecordings('openai', 'openai').filter(({ name }) => name.includes('openai-text')))
    expect(recordings.length).toBe(9)
    let current = recordings[0] as (typeof recordings)[number]
    const { anthropicClient, upstream } = await through('openai', (_, res) => stream(res, cutAt(current.bytes, [0.11, 0.37, 0.61, 0.93])))
    for (const recording of recordings) {
      current = recording
      const message = await anthropicClient.messages.stream(simple).finalMessage()
      expect(bodyOf(upstream)['stream_options']).toEqual({ include_usage: true })
      const deltas = [...recording.bytes.toString().matchAll(/^data: (\{.*)$/gm)].flatMap((match) => (JSON.parse(match[1] as string) as { choices?: { delta: { content?: unknown; reasoning_content?: string; reasoning?: string } }[] }).choices ?? [])
      const text = message.content.map((block) => (block.type === 'text' ? block.text : '')).join('')
      if (!recording.name.includes('mistral-reasoning')) expect(text, recording.name).toBe(deltas.map(({ delta }) => (typeof delta.content === 'string' ? delta.content : '')).join(''))
      else expect(text).toBe('2 + 2 = 4')
      const thinking = message.content.map((block) => (block.type === 'thinking' ? block.thinking : '')).join('')
      if (!recording.name.includes('mistral-reasoning')) expect(thinking, recording.name).toBe(deltas.map(({ delta }) => delta.reasoning_content ?? delta.reasoning ?? '').join(''))
      if (/tool-call/.test(recording.name)) {
        expect(message.stop_reason, recording.name).toBe('tool_use')
        expect(message.content.some(({ type }) => type === 'tool_use')).toBe(true)
      }
      if (!recording.name.includes('anthropic-fallback')) expect(message.usage.output_tokens, recording.name).toBeGreaterThan(0)
    }
  })
})

describe('Anthropic\'s client, Anthropic\'s upstream', () => {
  it('passes fields that nobody here knows, and counts tokens', async () => {
    const { anthropicClient, upstream } = await through('anthropic', (request, res) => json(res, request.path.endsWith('count_tokens') ? { input_tokens: 42 } : ANTHROPIC_ANSWER))
    const body = { model: 'claude', max_tokens: 5, messages: [{ role: 'user' as const, content: 'hi' }] }
    await anthropicClient.messages.create({ ...body, thinking: { type: 'enabled', budget_tokens: 1024 }, of_tomorrow: 1 } as never)
    expect(bodyOf(upstream)).toMatchObject({ of_tomorrow: 1, thinking: { type: 'enabled' } })
    expect(await anthropicClient.messages.countTokens({ model: 'claude', messages: body.messages })).toEqual({ input_tokens: 42 })
    expect(upstream.received.filter(({ method }) => method === 'POST').at(-1)?.path).toBe('/v1/messages/count_tokens')
  })
})
