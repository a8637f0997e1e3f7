/** Real replies of real servers (`test/fixtures/upstreams`, each folder says how they were had): they pass byte for byte, are counted right, and are read in full for clients of the other protocol. */
import Anthropic from '@anthropic-ai/sdk'
import express from 'express'
import fc from 'fast-check'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { anthropic } from '../../../plugins/backends/anthropic/anthropic.ts'
import { openai } from '../../../plugins/backends/openai/openai.ts'
import { anthropicProtocol, createGovernor, openAiProtocol, type Backend, type Delta, type Governor, type Protocol } from '../../../src/index.ts'
import { cutAt } from '../../protocols/support/recordings.ts'
import { captured, type Captured } from '../../support/captured.ts'
import { listen } from '../../support/listen.ts'
import { readAll, serve, wireCall } from './backend-calls.ts'
import { httpUpstream, sendPieces, type Upstream } from './upstream.ts'

const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 20 })

const textOf = (deltas: readonly Delta[]): string => deltas.map((delta) => (delta.type === 'text' ? delta.text : '')).join('')
const read = (protocol: Protocol, operation: string, { bytes, contentType }: Captured): readonly Delta[] => {
  const reader = protocol.deltaReader(operation, contentType.startsWith('text/event-stream'))
  return [...reader.push(bytes), ...reader.end()]
}

const path = (name: string): { protocol: Protocol; operation: string; path: string } =>
  name.startsWith('message')
    ? { protocol: anthropicProtocol, operation: 'messages', path: '/messages' }
    : { protocol: openAiProtocol, ...(name.startsWith('completion') ? { operation: 'completions', path: '/completions' } : name.startsWith('embedding') ? { operation: 'embeddings', path: '/embeddings' } : { operation: 'chat', path: '/chat/completions' }) }

describe.each(['vllm', 'llama.cpp'] as const)('%s, captured', (flavor) => {
  const replies = captured(flavor)
  const streams = replies.names.filter((name) => name.endsWith('.sse'))
  const errors = replies.names.filter((name) => replies.get(name).status >= 400)
  let upstream: Upstream
  let backends: { readonly openai: Backend; readonly anthropic: Backend }
  let serving: { pieces: readonly Buffer[]; status: number; contentType: string }
  const answerWith = (name: string, at: readonly number[] = []): Captured => {
    const reply = replies.get(name)
    serving = { ...reply, pieces: cutAt(reply.bytes, at) }
    return reply
  }
  /** As it would be asked for. */
  const ask = (name: string) => {
    const { protocol, operation, path: at } = path(name)
    return { backend: protocol === anthropicProtocol ? backends.anthropic : backends.openai, call: wireCall(protocol.name, at, { model: 'shop-desk', stream: name.endsWith('.sse') }, { operation }) }
  }

  beforeAll(async () => {
    upstream = await httpUpstream((_, res) => sendPieces(res, serving.pieces, serving.contentType, serving.status))
    backends = { openai: openai({ name: 'o', flavor, baseUrl: `${upstream.url}/v1` }), anthropic: anthropic({ name: 'a', baseUrl: `${upstream.url}/v1` }) }
  })
  afterAll(async () => {
    await backends.openai.close()
    await backends.anthropic.close()
    await upstream.close()
  })

  it('passes byte for byte, cut anywhere, and ends as the server meant it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...replies.names.filter((name) => !/^(?:metrics|models)/.test(name))), cuts, async (name, at) => {
        const { bytes, status } = answerWith(name, at)
        const { backend, call } = ask(name)
        const reply = await serve(backend, call)
        expect(reply.status).toBe(status)
        expect((await readAll(reply)).bytes.equals(bytes), name).toBe(true)
        expect(call.settlement?.outcome, name).toBe(status < 400 ? 'ok' : 'error')
      }),
      { numRuns: 80 },
    )
  })

  it('is billed what the server says', async () => {
    const prompt = flavor === 'vllm' ? 8 : 10
    const usage = async (name: string) => {
      answerWith(name)
      const { backend, call } = ask(name)
      await readAll(await serve(backend, call))
      return [call.usage.inputTokens, call.usage.outputTokens]
    }
    expect(await usage('chat.json')).toEqual([prompt, 12])
    expect(await usage('chat-stream-usage.sse')).toEqual([prompt, 12])
    expect(await usage('completion.json')).toEqual([flavor === 'vllm' ? 3 : 4, 8])
    // Anthropic's input tokens leave out what was read from the cache: they are added up.
    expect(await usage('message.json')).toEqual([prompt, 12])
    expect(await usage('message-stream.sse')).toEqual([prompt, 12])
    // Not asked for, usage is not told: tokens are counted by events. One that is half a character has none of its own.
    const [, counted] = await usage('chat-stream.sse')
    expect(counted).toBeGreaterThanOrEqual(flavor === 'vllm' ? 11 : 12)
    expect(counted).toBeLessThanOrEqual(12)
  })

  it('says the same in a stream as in one piece, in both protocols', () => {
    const whole = textOf(read(openAiProtocol, 'chat', replies.get('chat.json')))
    expect(whole.length).toBeGreaterThan(20)
    for (const name of ['chat-stream.sse', 'chat-stream-usage.sse']) expect(textOf(read(openAiProtocol, 'chat', replies.get(name))), name).toBe(whole)
    for (const name of ['message.json', 'message-stream.sse']) expect(textOf(read(anthropicProtocol, 'messages', replies.get(name))), name).toBe(whole)
    expect(textOf(read(openAiProtocol, 'completions', replies.get('completion-stream.sse')))).toBe(textOf(read(openAiProtocol, 'completions', replies.get('completion.json'))))
  })

  it('streams end with a reason for each choice, and nothing in them is unheard of', () => {
    for (const name of streams) {
      const { protocol, operation } = path(name)
      const deltas = read(protocol, operation, replies.get(name))
      const choices = name === 'chat-stream-two-choices.sse' ? [0, 1] : [0]
      expect(deltas.flatMap((delta) => (delta.type === 'finish' ? [delta.index] : [])).sort(), name).toEqual(choices)
      expect(deltas.some(({ type }) => type === 'error'), name).toBe(false)
    }
  })

  it('log probabilities come through', () => {
    const [first] = read(openAiProtocol, 'chat', replies.get('chat-logprobs.json')).flatMap((delta) => (delta.type === 'text' ? (delta.logprobs ?? []) : []))
    expect(first?.logprob).toBeLessThan(0)
    expect(first?.top).toHaveLength(2)
  })

  it('models are listed by their names', async () => {
    answerWith('models.json')
    expect(await backends.openai.listModels?.(new AbortController().signal)).toEqual(['shop-desk'])
  })

  it.each(errors)('%s reaches a client of the other protocol as an error with the same status and words', async (name) => {
    answerWith(name)
    // As if the client spoke the other protocol: the reply comes back through the hub.
    const call = wireCall('other', '/x', { model: 'shop-desk' }, { operation: 'chat', canonical: () => openAiProtocol.toCanonical('chat', { model: 'shop-desk', messages: [{ role: 'user', content: 'x' }] }) })
    const reply = await serve(backends.openai, call)
    expect(reply.status).toBe(replies.get(name).status)
    const { deltas } = await readAll(reply)
    const error = deltas.find((delta) => delta.type === 'error')
    expect(error?.status).toBe(replies.get(name).status)
    const told = JSON.parse(replies.get(name).text) as { error?: { message: string }; detail?: string }
    expect(error?.message).toContain(told.error?.message ?? told.detail)
  })

  describe('through the whole gateway', () => {
    let governor: Governor
    let server: Awaited<ReturnType<typeof listen>>
    let client: Anthropic
    let openAi: OpenAI
    beforeAll(async () => {
      answerWith('models.json')
      governor = createGovernor({ backends: [openai({ name: 'up', flavor, baseUrl: `${upstream.url}/v1`, models: ['shop-desk'] })], env: {} })
      await governor.start()
      const app = express()
      app.use('/v1', governor.gateway())
      server = await listen(app)
      client = new Anthropic({ baseURL: server.url, apiKey: 'k', maxRetries: 0 })
      openAi = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'k', maxRetries: 0 })
    })
    afterAll(async () => {
      await governor.close()
      await server.close()
    })

    it('Anthropic’s client reads it', async () => {
      answerWith('chat.json')
      const whole = textOf(read(openAiProtocol, 'chat', replies.get('chat.json')))
      const message = await client.messages.create({ model: 'shop-desk', max_tokens: 12, messages: [{ role: 'user', content: 'hi' }] })
      expect(message).toMatchObject({ content: [{ type: 'text', text: whole }], stop_reason: 'max_tokens', usage: { output_tokens: 12 } })
      answerWith('chat-stream-usage.sse', [0.1, 0.33, 0.8])
      const streamed = await client.messages.stream({ model: 'shop-desk', max_tokens: 12, messages: [{ role: 'user', content: 'hi' }] }).finalMessage()
      expect(streamed).toMatchObject({ content: [{ type: 'text', text: whole }], stop_reason: 'max_tokens', usage: { output_tokens: 12 } })
      answerWith('error-too-long.json')
      await expect(client.messages.create({ model: 'shop-desk', max_tokens: 12, messages: [{ role: 'user', content: 'hi' }] })).rejects.toMatchObject({ status: 400, error: { type: 'error', error: { type: 'invalid_request_error' } } })
    })

    it('OpenAI’s client reads it', async () => {
      answerWith('chat-stream-usage.sse', [0.5])
      let text = ''
      let usage: unknown
      for await (const chunk of await openAi.chat.completions.create({ model: 'shop-desk', messages: [{ role: 'user', content: 'hi' }], stream: true, stream_options: { include_usage: true } })) {
        text += chunk.choices[0]?.delta.content ?? ''
        usage = chunk.usage ?? usage
      }
      expect(text).toBe(textOf(read(openAiProtocol, 'chat', replies.get('chat.json'))))
      expect(usage).toMatchObject({ completion_tokens: 12 })
      if (flavor === 'vllm') return
      answerWith('embedding-base64.json')
      const vector = (await openAi.embeddings.create({ model: 'shop-desk', input: 'open' })).data[0]?.embedding as number[]
      answerWith('embedding.json')
      const plain = (await openAi.embeddings.create({ model: 'shop-desk', input: ['open', 'closed'], encoding_format: 'float' })).data[0]?.embedding as number[]
      expect(vector).toHaveLength(128)
      vector.forEach((x, i) => expect(x).toBeCloseTo(plain[i] as number, 5))
    })
  })
})

it('vLLM: a tool call comes in pieces that make up its arguments', () => {
  const deltas = read(openAiProtocol, 'chat', captured('vllm').get('chat-stream-tool.sse'))
  expect(deltas.find(({ type }) => type === 'tool-start')).toMatchObject({ name: 'get_weather', id: expect.stringMatching(/^chatcmpl-tool-/) })
  // The weights are random, and so is what they write.
  expect(deltas.map((delta) => (delta.type === 'tool-input' ? delta.json : '')).join('')).toBe('989292929292929292929292929292929292888888888888')
})

it.each([
  ['ollama', 'chat-stream-tool.sse', 2, [{ type: 'tool-start', call: 0, name: 'run_command', id: 'call_wteop8bt' }, { type: 'tool-input', call: 0, json: '{"command":"ls"}' }, { type: 'tool-start', call: 1, id: 'call_rk2xye1l' }, { type: 'tool-input', call: 1, json: '{"command":"ls -l"}' }, { type: 'finish', reason: 'tool-calls' }]],
  ['tgi', 'chat-stream.sse', 1, [{ type: 'text', text: 'safe' }, { type: 'finish', reason: 'stop' }]],
])('%s, as published by others: %s', (server, name, tokens, said) => {
  const reply = captured(server).get(name)
  expect(read(openAiProtocol, 'chat', reply).filter(({ type }) => type !== 'start')).toMatchObject(said)
  const side = openAiProtocol.sideReader('chat', true)
  expect(side.push(reply.bytes).tokens).toBe(tokens)
})

describe.each([
  ['ollama', 'chat.json', 'Hello there! *adjusts glasses*', 'stop', { inputTokens: 22, outputTokens: 73 }],
  ['ollama', 'chat-stream-tool.sse', '', 'tool-calls', { outputTokens: 2 }],
  ['tgi', 'chat.json', 'Deep learning is a subfield', 'length', { inputTokens: 47, outputTokens: 20 }],
  ['tgi', 'chat-stream.sse', 'safe', 'stop', { outputTokens: 1 }],
  ['tgi', 'chat-stream-length.sse', 'Deep learning is a subfield of machine learning that involves', 'length', { outputTokens: 20 }],
] as const)('%s, as published by others: %s', (flavor, name, begins, finish, usage) => {
  const reply = captured(flavor).get(name)

  it('passes byte for byte, cut anywhere, counted right', async () => {
    let pieces: readonly Buffer[] = []
    const upstream = await httpUpstream((_, res) => sendPieces(res, pieces, reply.contentType, reply.status))
    const backend = openai({ name: 'o', flavor, baseUrl: `${upstream.url}/v1` })
    await fc.assert(
      fc.asyncProperty(cuts, async (at) => {
        pieces = cutAt(reply.bytes, at)
        const call = wireCall('openai', '/chat/completions', { model: 'm', stream: name.endsWith('.sse') }, { operation: 'chat' })
        expect((await readAll(await serve(backend, call))).bytes.equals(reply.bytes)).toBe(true)
        expect(call.usage).toMatchObject(usage)
        expect(call.settlement?.outcome).toBe('ok')
      }),
      { numRuns: 15 },
    )
    await backend.close()
    await upstream.close()
  })

  it('is read in full for other protocols', () => {
    const deltas = read(openAiProtocol, 'chat', reply)
    expect(textOf(deltas).startsWith(begins)).toBe(true)
    expect(deltas.find(({ type }) => type === 'finish')).toMatchObject({ reason: finish })
  })
})

it('TGI, as published by others: an error in plain text reaches a client of another protocol in its words', async () => {
  const reply = captured('tgi').get('error-wrong-type.txt')
  const upstream = await httpUpstream((_, res) => sendPieces(res, [reply.bytes], reply.contentType, reply.status))
  const backend = openai({ name: 'o', flavor: 'tgi', baseUrl: `${upstream.url}/v1` })
  const call = wireCall('other', '/x', { model: 'm' }, { operation: 'chat', canonical: () => openAiProtocol.toCanonical('chat', { model: 'm', messages: [{ role: 'user', content: 'x' }] }) })
  const { deltas } = await readAll(await serve(backend, call))
  expect(deltas.find(({ type }) => type === 'error')).toMatchObject({ status: 422, message: reply.text })
  await backend.close()
  await upstream.close()
})
