/** The official `@anthropic-ai/sdk` client against a gateway over a backend of ours: nothing of it is adapted. */
import Anthropic from '@anthropic-ai/sdk'
import express from 'express'
import { afterEach, describe, expect, it } from 'vitest'
import { createGovernor, type Governor, type GovernorOptions } from '../../src/index.ts'
import { fakeChat, type FakeChat, type FakeChatOptions } from '../support/fake-chat.ts'
import { makeGate } from '../support/gate.ts'
import { listen } from '../support/listen.ts'
import { quickest } from '../support/quickest.ts'
import { waitFor } from '../support/wait-for.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const thing of opened.splice(0)) await thing.close()
})

const question = { model: 'fake-model', max_tokens: 50, messages: [{ role: 'user' as const, content: 'hi' }] }

async function bench(options: FakeChatOptions = {}, more: GovernorOptions = {}): Promise<{ client: Anthropic; governor: Governor; backend: FakeChat }> {
  const backend = fakeChat(options)
  const governor = createGovernor({ ...more, backends: [backend] })
  const app = express()
  app.use('/v1', governor.gateway())
  await governor.start()
  const server = await listen(app)
  opened.push(governor, server)
  return { client: new Anthropic({ baseURL: server.url, apiKey: 'k', maxRetries: 0 }), governor, backend }
}

describe('official anthropic client', () => {
  it('gets a whole message and a streamed one, with usage', async () => {
    const { client } = await bench()
    const message = await client.messages.create(question)
    expect(message).toMatchObject({ type: 'message', role: 'assistant', content: [{ type: 'text', text: 'Hello there.' }], stop_reason: 'end_turn', usage: { output_tokens: 3 } })
    const stream = client.messages.stream(question)
    const pieces: string[] = []
    stream.on('text', (text) => pieces.push(text))
    expect((await stream.finalMessage()).content).toEqual(message.content)
    expect(pieces).toEqual(['Hello', ' there', '.'])
  })

  it('aborts mid-stream: the backend is told within 50 ms and the slot comes back', async () => {
    const { client, governor, backend } = await bench({ words: Array.from({ length: 1_000 }, () => ' x'), gapMs: 5 })
    const tookMs = await quickest(50, async () => {
      const before = backend.abortedAtMs.length
      let seen = 0
      let leftMs = 0
      for await (const _ of await client.messages.create({ ...question, stream: true })) {
        if (++seen < 5) continue
        leftMs = performance.now()
        break
      }
      await waitFor(() => backend.abortedAtMs.length > before && governor.lane('fake').inFlight === 0)
      return (backend.abortedAtMs[before] as number) - leftMs
    })
    expect(tookMs).toBeLessThan(50)
  })

  it('aborts while queued: the call never reaches the backend', async () => {
    const { gate, open } = makeGate()
    const { client, governor, backend } = await bench({ slots: 1, gate })
    const first = client.messages.create(question)
    await waitFor(() => backend.seen.length === 1)
    const abort = new AbortController()
    const second = client.messages.create(question, { signal: abort.signal })
    await waitFor(() => governor.lane('fake').waiting === 1)
    abort.abort()
    await expect(second).rejects.toThrow(Anthropic.APIUserAbortError)
    await waitFor(() => governor.lane('fake').waiting === 0)
    open()
    await first
    expect(backend.seen).toHaveLength(1)
  })

  it('gets errors in its own shape: unknown models, wrong fields, failures before and inside a stream', async () => {
    const { client } = await bench({ failAt: 2 })
    await expect(client.messages.create({ ...question, model: 'typo' })).rejects.toMatchObject({ status: 404, error: { type: 'error', error: { type: 'not_found_error' } } })
    await expect(client.messages.create({ ...question, max_tokens: 'many' as never })).rejects.toMatchObject({ status: 400, error: { error: { type: 'invalid_request_error', message: expect.stringContaining('max_tokens') } } })
    await expect(client.messages.create(question)).rejects.toMatchObject({ status: 502, error: { error: { type: 'api_error' } } })
    const parts: string[] = []
    await expect(client.messages.stream(question).on('text', (text) => parts.push(text)).finalMessage()).rejects.toThrow(Anthropic.APIError)
    expect(parts.join('')).toBe('Hello there')
  })

  it('is told when to come back, and comes back', async () => {
    const { gate, open } = makeGate()
    const { client, backend, governor } = await bench({ slots: 1, gate }, { knobs: { 'lane.max_queue': 1 } })
    const running = client.messages.create(question)
    await waitFor(() => backend.seen.length === 1)
    const queued = client.messages.create(question)
    await waitFor(() => governor.lane('fake').waiting === 1)
    const refused = (await client.messages.create(question).catch((thrown: unknown) => thrown)) as InstanceType<typeof Anthropic.APIError>
    expect(refused).toMatchObject({ status: 429, error: { error: { type: 'rate_limit_error' } } })
    expect(Number(refused.headers?.get('retry-after-ms'))).toBeGreaterThan(0)
    const patient = client.messages.create(question, { maxRetries: 2 })
    open()
    const answers = await Promise.all([running, queued, patient])
    expect(answers.map(({ content }) => content[0])).toMatchObject(Array.from({ length: 3 }, () => ({ text: 'Hello there.' })))
  })
})
