/** How vLLM, llama.cpp's server, Ollama and TGI differ from OpenAI on the wire: one small reply each, in that server's shape. */
import type { ServerResponse } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { adaptBody } from '../../../../plugins/backends/openai/adapt-body.ts'
import { FLAVORS, type Flavor } from '../../../../plugins/backends/openai/flavors.ts'
import { openai, type OpenAiOptions } from '../../../../plugins/backends/openai/openai.ts'
import { openAiProtocol, type Backend, type Delta } from '../../../../src/index.ts'
import { readAll, serve, wireCall } from '../backend-calls.ts'
import { httpUpstream, type Received, type Upstream } from '../upstream.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const thing of opened.splice(0)) await thing.close()
})

async function pair(answer: (request: Received, res: ServerResponse) => void, options: Partial<OpenAiOptions>): Promise<{ upstream: Upstream; backend: Backend }> {
  const upstream = await httpUpstream(answer)
  const backend = openai({ name: 'up', baseUrl: `${upstream.url}/v1`, ...options })
  opened.push(backend, upstream)
  return { upstream, backend }
}

const DONE = 'data: [DONE]\n\n'
const event = (document: unknown): string => `data: ${JSON.stringify(document)}\n\n`
const STREAM = { model: 'm', messages: [{ role: 'user', content: 'hi' }], stream: true }

interface Shape {
  readonly stream: string
  readonly tokens: number
  readonly usage: { inputTokens: number; outputTokens: number; cachedInputTokens?: number } | undefined
  readonly deltas: readonly Partial<Delta>[]
}

const timings = (predicted: number): object => ({ cache_n: 7, prompt_n: 10, prompt_ms: 251.51, predicted_n: predicted, predicted_ms: 407.6, predicted_per_second: 68.7 })

const SHAPES: { readonly [F in 'vllm' | 'llama.cpp' | 'ollama' | 'tgi']: Shape } = {
  // Usage on every event with `continuous_usage_stats`; `stop_reason` names the stop sequence.
  vllm: {
    stream:
      event({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }], prompt_token_ids: null, usage: { prompt_tokens: 12, total_tokens: 12, completion_tokens: 0 } }) +
      event({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: { content: 'Hel' }, logprobs: null, finish_reason: null, token_ids: null }], usage: { prompt_tokens: 12, total_tokens: 13, completion_tokens: 1 } }) +
      event({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: { content: 'lo' }, logprobs: null, finish_reason: 'stop', stop_reason: '\n', token_ids: null }], usage: { prompt_tokens: 12, total_tokens: 14, completion_tokens: 2 } }) +
      event({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [], usage: { prompt_tokens: 12, total_tokens: 14, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 8 } } }) +
      DONE,
    tokens: 2,
    usage: { inputTokens: 12, outputTokens: 2, cachedInputTokens: 8 },
    deltas: [{ type: 'text', text: 'Hel' }, { type: 'text', text: 'lo' }, { type: 'finish', reason: 'stop', stopSequence: '\n' }],
  },
  // Keys in another order, `content: null` first, timings beside the choices, usage in the event that ends.
  'llama.cpp': {
    stream:
      event({ choices: [{ finish_reason: null, index: 0, delta: { role: 'assistant', content: null } }], created: 1, id: 'chatcmpl-2', model: 'm', system_fingerprint: 'b9554', object: 'chat.completion.chunk' }) +
      event({ choices: [{ finish_reason: null, index: 0, delta: { reasoning_content: ' hm' } }], created: 1, id: 'chatcmpl-2', model: 'm', object: 'chat.completion.chunk', timings: timings(1) }) +
      event({ choices: [{ finish_reason: null, index: 0, delta: { content: 'yes' } }], created: 1, id: 'chatcmpl-2', model: 'm', object: 'chat.completion.chunk', timings: timings(2) }) +
      event({ choices: [{ finish_reason: 'length', index: 0, delta: {} }], created: 1, id: 'chatcmpl-2', model: 'm', object: 'chat.completion.chunk' }) +
      event({ choices: [], created: 1, id: 'chatcmpl-2', model: 'm', object: 'chat.completion.chunk', usage: { completion_tokens: 2, prompt_tokens: 17, total_tokens: 19, prompt_tokens_details: { cached_tokens: 7 } }, timings: timings(2) }) +
      DONE,
    tokens: 2,
    usage: { inputTokens: 17, outputTokens: 2, cachedInputTokens: 7 },
    deltas: [{ type: 'reasoning', text: ' hm' }, { type: 'text', text: 'yes' }, { type: 'finish', reason: 'length' }],
  },
  // `reasoning`, a whole tool call in one event, empty content beside it.
  ollama: {
    stream:
      event({ id: 'chatcmpl-3', object: 'chat.completion.chunk', created: 1, model: 'm', system_fingerprint: 'fp_ollama', choices: [{ index: 0, delta: { role: 'assistant', content: '', reasoning: 'Okay' }, finish_reason: null }] }) +
      event({ id: 'chatcmpl-3', object: 'chat.completion.chunk', created: 1, model: 'm', system_fingerprint: 'fp_ollama', choices: [{ index: 0, delta: { role: 'assistant', content: '', tool_calls: [{ id: 'call_x', index: 0, type: 'function', function: { name: 'ls', arguments: '{"a":1}' } }] }, finish_reason: null }] }) +
      event({ id: 'chatcmpl-3', object: 'chat.completion.chunk', created: 1, model: 'm', system_fingerprint: 'fp_ollama', choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: 'tool_calls' }] }) +
      DONE,
    tokens: 2,
    usage: undefined,
    deltas: [{ type: 'reasoning', text: 'Okay' }, { type: 'tool-start', id: 'call_x', name: 'ls' }, { type: 'tool-input', json: '{"a":1}' }, { type: 'finish', reason: 'tool-calls' }],
  },
  // No space after `data:`, `eos_token` as its reason, no [DONE] in old versions.
  tgi: {
    stream: [{ index: 0, delta: { role: 'assistant', content: 'Hi' }, logprobs: null, finish_reason: null }, { index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: 'eos_token' }]
      .map((choice) => `data:${JSON.stringify({ object: 'chat.completion.chunk', id: '', created: 1, model: 'm', system_fingerprint: '3.0-sha', choices: [choice], usage: null })}\n\n`)
      .join(''),
    tokens: 1,
    usage: undefined,
    deltas: [{ type: 'text', text: 'Hi' }, { type: 'finish', reason: 'stop' }],
  },
}

describe.each(Object.entries(SHAPES) as [keyof typeof SHAPES, Shape][])('%s', (flavor, shape) => {
  it('streams through unchanged, counted right', async () => {
    const { backend } = await pair((_, res) => void res.writeHead(200, { 'content-type': 'text/event-stream' }).end(shape.stream), { flavor })
    const call = wireCall('openai', '/chat/completions', STREAM)
    const { bytes, chunks } = await readAll(await serve(backend, call))
    expect(bytes.toString()).toBe(shape.stream)
    expect(chunks.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(shape.tokens)
    expect(call.settlement?.outcome).toBe('ok')
    expect(call.usage).toEqual(shape.usage ?? { inputTokens: 0, outputTokens: shape.tokens })
  })

  it('is read in full for other protocols', () => {
    const reader = openAiProtocol.deltaReader('chat', true)
    const read = [...reader.push(Buffer.from(shape.stream)), ...reader.end()].filter(({ type }) => type !== 'start' && type !== 'usage')
    expect(read).toMatchObject(shape.deltas)
    expect(read).toHaveLength(shape.deltas.length)
  })

  it('with trackUsage strips only the event that was asked for', async () => {
    const { backend } = await pair((_, res) => void res.writeHead(200, { 'content-type': 'text/event-stream' }).end(shape.stream), { flavor, trackUsage: true })
    const call = wireCall('openai', '/chat/completions', STREAM)
    const { bytes } = await readAll(await serve(backend, call))
    const events = shape.stream.split(/(?<=\n\n)/)
    expect(bytes.toString()).toBe(events.filter((one) => !one.includes('"choices":[]')).join(''))
    if (shape.usage) expect(call.usage).toEqual(shape.usage)
  })

  it('is asked for its health where it keeps it, and for its metrics', async () => {
    const { backend, upstream } = await pair((_, res) => void res.writeHead(200).end('{}'), { flavor })
    expect(await backend.health?.(new AbortController().signal)).toEqual({ healthy: true })
    expect(upstream.received[0]?.path).toBe(flavor === 'ollama' ? '/api/version' : '/health')
    expect(FLAVORS[flavor].metricsPath).toBe(flavor === 'ollama' ? undefined : '/metrics')
    expect(backend.limits.slots).toBe(FLAVORS[flavor].slots)
  })
})

describe('errors that call themselves a success', () => {
  it.each([
    ['vllm', { object: 'error', message: 'The model does not exist', type: 'NotFoundError', param: null, code: 404 }, 404],
    ['vllm', { error: { message: 'too long', type: 'BadRequestError', param: null, code: 400 } }, 400],
    ['tgi', { error: 'Model is overloaded', error_type: 'overloaded' }, 502],
    ['ollama', { error: { message: 'model "x" not found', type: 'api_error', param: null, code: null } }, 502],
  ] as [Flavor, object, number][])('%s: %j', async (flavor, document, status) => {
    const { backend } = await pair((_, res) => void res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(document)), { flavor })
    const reply = await serve(backend, wireCall('openai', '/chat/completions', { ...STREAM, stream: false }))
    expect(reply.status).toBe(status)
    expect(JSON.parse((await readAll(reply)).bytes.toString())).toEqual(document)
  })

  it('in a stream, in the words of TGI', async () => {
    const { backend } = await pair((_, res) => void res.writeHead(200, { 'content-type': 'text/event-stream' }).end('data:{"error":"Request failed during generation","error_type":"generation"}\n\n'), { flavor: 'tgi' })
    const call = wireCall('openai', '/chat/completions', STREAM)
    await readAll(await serve(backend, call))
    expect(call.settlement).toMatchObject({ outcome: 'error', reason: 'in_band_error' })
  })
})

describe('tool calls in TGI’s shape: arguments are an object, the id is a number or always the same, the reason is another', () => {
  const call = { id: 0, type: 'function', function: { description: null, name: 'weather', arguments: { city: 'Oslo', days: 3 } } }
  const said: readonly Partial<Delta>[] = [{ type: 'tool-start', call: 0, name: 'weather' }, { type: 'tool-input', call: 0, json: '{"city":"Oslo","days":3}' }, { type: 'finish', reason: 'tool-calls' }]
  const document = (field: 'message' | 'delta', reason: string) => ({ object: 'x', id: '', created: 1, model: 'm', choices: [{ index: 0, [field]: { role: 'assistant', tool_calls: [call] }, logprobs: null, finish_reason: reason }] })

  it.each([
    ['in one piece', false, JSON.stringify(document('message', 'eos_token'))],
    ['in a stream', true, event(document('delta', 'stop')) + DONE],
  ])('%s', (_, stream, text) => {
    const reader = openAiProtocol.deltaReader('chat', stream)
    expect([...reader.push(Buffer.from(text)), ...reader.end()].filter(({ type }) => type !== 'start')).toMatchObject(said)
    // Beside the path, where a cache asks whether an answer is one to keep: a forced call of OpenAI's own ends by `stop`, too.
    const side = openAiProtocol.sideReader('chat', stream)
    expect([side.push(Buffer.from(text)), side.end()].flatMap(({ deltas }) => deltas ?? [])).toContainEqual({ type: 'finish', index: 0, reason: 'tool-calls' })
  })

  it('a message without any is none, whatever its text quotes', () => {
    for (const message of [{ role: 'assistant', content: 'x', tool_calls: null }, { role: 'assistant', content: '"tool_calls":[{', tool_calls: [] }]) {
      const side = openAiProtocol.sideReader('chat', false)
      expect([side.push(Buffer.from(JSON.stringify({ choices: [{ index: 0, message, finish_reason: 'stop' }] }))), side.end()].flatMap(({ deltas }) => deltas ?? [])).toContainEqual({ type: 'finish', index: 0, reason: 'stop' })
    }
  })
})

it('translated bodies use the flavor\'s own words', () => {
  const chat = { model: 'm', messages: [], max_tokens: 5, stream: true, stream_options: { include_usage: true } }
  expect(adaptBody(FLAVORS.vllm, chat)).toEqual(chat)
  expect(adaptBody(FLAVORS.openai, chat)).toEqual({ model: 'm', messages: [], max_completion_tokens: 5, stream: true, stream_options: { include_usage: true } })
  expect(adaptBody(FLAVORS.mistral, chat)).toEqual({ model: 'm', messages: [], max_tokens: 5, stream: true })
  expect(adaptBody(FLAVORS.openai, { model: 'm', prompt: 'x', max_tokens: 5 })).toEqual({ model: 'm', prompt: 'x', max_tokens: 5 })
})

it('every flavor is complete', () => {
  for (const [name, facts] of Object.entries(FLAVORS)) {
    expect(facts.slots, name).toBeGreaterThan(0)
    expect(facts.healthPath).toMatch(/^(?:\.\/|\/)/)
    expect(facts.lever).toBe('concurrency')
  }
})
