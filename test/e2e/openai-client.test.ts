/** The official client against a gateway: nothing about it knows that we are not the real thing. */
import express from 'express'
import OpenAI from 'openai'
import { afterEach, describe, expect, it } from 'vitest'
import { createGovernor, type Governor, type GovernorOptions } from '../../src/index.ts'
import { fakeChat, type FakeChat, type FakeChatOptions } from '../support/fake-chat.ts'
import { makeGate } from '../support/gate.ts'
import { listen, type Listening } from '../support/listen.ts'
import { quickest } from '../support/quickest.ts'
import { waitFor } from '../support/wait-for.ts'

interface Bench {
  client: OpenAI
  governor: Governor
  backend: FakeChat
  server: Listening
}

const opened: { governor: Governor; server: Listening }[] = []

afterEach(async () => {
  for (const { governor, server } of opened.splice(0)) {
    await governor.close()
    await server.close()
  }
})

async function bench(chat: FakeChatOptions = {}, options: GovernorOptions = {}): Promise<Bench> {
  const backend = fakeChat(chat)
  const governor = createGovernor({ ...options, backends: [backend] })
  await governor.start()
  const app = express()
  app.use('/v1', governor.gateway())
  const server = await listen(app)
  opened.push({ governor, server })
  return { client: new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'sk-test', maxRetries: 0 }), governor, backend, server }
}

const question = { model: 'fake-model', messages: [{ role: 'user' as const, content: 'hi' }] }

describe('official openai client', () => {
  it('gets a unary answer with usage', async () => {
    const { client, governor } = await bench()
    const answer = await client.chat.completions.create(question)
    expect(answer.choices[0]?.message.content).toBe('Hello there.')
    expect(answer.choices[0]?.finish_reason).toBe('stop')
    expect(answer.usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 })
    expect(governor.lane('fake').inFlight).toBe(0)
  })

  it('streams token by token, with usage when asked', async () => {
    const { client } = await bench({ gapMs: 5 })
    const stream = await client.chat.completions.create({ ...question, stream: true, stream_options: { include_usage: true } })
    const parts: string[] = []
    let usage: OpenAI.CompletionUsage | null | undefined
    for await (const chunk of stream) {
      const text = chunk.choices[0]?.delta.content
      if (text) parts.push(text)
      usage = chunk.usage ?? usage
    }
    expect(parts).toEqual(['Hello', ' there', '.'])
    expect(usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 3 })
  })

  it('lists models, and one of them', async () => {
    const { client } = await bench({ models: ['fake-model', 'team/other'] })
    const names = (await client.models.list()).data.map(({ id }) => id)
    expect(names).toEqual(['fake-model', 'team/other'])
    expect((await client.models.retrieve('team/other')).id).toBe('team/other')
    await expect(client.models.retrieve('nope')).rejects.toMatchObject({ status: 404, code: 'model_not_found' })
  })

  it('aborts mid-stream: the backend is told within 50 ms and the slot comes back', async () => {
    const { client, governor, backend } = await bench({ words: Array.from({ length: 1_000 }, () => ' x'), gapMs: 5 })
    const tookMs = await quickest(50, async () => {
      const before = backend.abortedAtMs.length
      const stream = await client.chat.completions.create({ ...question, stream: true })
      let seen = 0
      let leftMs = 0
      for await (const _ of stream) {
        if (++seen < 3) continue
        leftMs = performance.now()
        break
      }
      await waitFor(() => backend.abortedAtMs.length > before && governor.lane('fake').inFlight === 0)
      return (backend.abortedAtMs[before] as number) - leftMs
    })
    expect(tookMs).toBeLessThan(50)
  })

  it('aborts while queued: the call leaves the queue and never reaches the backend', async () => {
    const { gate, open } = makeGate()
    const { client, governor, backend } = await bench({ slots: 1, gate })
    const first = client.chat.completions.create(question)
    await waitFor(() => backend.seen.length === 1)
    const tookMs = await quickest(50, async () => {
      const abort = new AbortController()
      const second = client.chat.completions.create(question, { signal: abort.signal })
      await waitFor(() => governor.lane('fake').waiting === 1)
      const leftMs = performance.now()
      abort.abort()
      await expect(second).rejects.toThrow(OpenAI.APIUserAbortError)
      await waitFor(() => governor.lane('fake').waiting === 0)
      return performance.now() - leftMs
    })
    expect(tookMs).toBeLessThan(50)
    open()
    await first
    expect(backend.seen).toHaveLength(1)
    expect(governor.lane('fake').inFlight).toBe(0)
  })

  it('says which model is unknown to nobody, in the protocol’s shape', async () => {
    const { client } = await bench()
    const error = await client.chat.completions.create({ ...question, model: 'gpt-typo' }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.NotFoundError)
    expect(error).toMatchObject({ status: 404, code: 'model_not_found', param: 'model', type: 'invalid_request_error' })
  })

  it('refuses a field of the wrong type by its name', async () => {
    const { client } = await bench()
    await expect(client.chat.completions.create({ ...question, temperature: 'hot' as unknown as number })).rejects.toMatchObject({ status: 400, param: 'temperature' })
  })

  it('reports a backend failure without its details', async () => {
    const { client } = await bench({ failAt: 0 })
    const error = (await client.chat.completions.create(question).catch((thrown: unknown) => thrown)) as InstanceType<typeof OpenAI.APIError>
    expect(error.status).toBeGreaterThanOrEqual(500)
    expect(JSON.stringify(error.error)).not.toMatch(/secret|at .*\.ts/)
  })

  it('reports a failure inside a stream in band', async () => {
    const { client } = await bench({ failAt: 2 })
    const stream = await client.chat.completions.create({ ...question, stream: true })
    const parts: string[] = []
    await expect(
      (async () => {
        for await (const chunk of stream) parts.push(chunk.choices[0]?.delta.content ?? '')
      })(),
    ).rejects.toThrow(OpenAI.APIError)
    expect(parts.join('')).toBe('Hello there')
  })

  it('tells a client that is turned away when to come back, and the client comes back', async () => {
    const { gate, open } = makeGate()
    const { client, backend, governor } = await bench({ slots: 1, gate }, { knobs: { 'lane.max_queue': 1 } })
    const running = client.chat.completions.create(question)
    await waitFor(() => backend.seen.length === 1)
    const queued = client.chat.completions.create(question)
    await waitFor(() => governor.lane('fake').waiting === 1)
    const refused = (await client.chat.completions.create(question).catch((thrown: unknown) => thrown)) as InstanceType<typeof OpenAI.APIError>
    expect(refused.status).toBe(429)
    expect(Number(refused.headers?.get('retry-after-ms'))).toBeGreaterThan(0)
    expect(Number(refused.headers?.get('retry-after'))).toBeGreaterThan(0)
    const patient = client.chat.completions.create(question, { maxRetries: 2 })
    open()
    const answers = await Promise.all([running, queued, patient])
    expect(answers.map((answer) => answer.choices[0]?.message.content)).toEqual(['Hello there.', 'Hello there.', 'Hello there.'])
  })

  it('says who answered and where the time went', async () => {
    const { client } = await bench()
    const { response } = await client.chat.completions.create(question).withResponse()
    expect(response.headers.get('x-flyball-backend')).toBe('fake')
    expect(response.headers.get('x-flyball-class')).toBe('interactive')
    expect(response.headers.get('x-flyball-id')).toMatch(/^[0-9a-f]{32}$/)
    expect(response.headers.get('server-timing')).toMatch(/before;dur=[\d.]+, gateway;dur=[\d.]+, queue;dur=[\d.]+, upstream;dur=[\d.]+, total;dur=[\d.]+/)
  })
})
