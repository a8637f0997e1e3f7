/** The cache behind real sockets: who may share, and what is replayed. */
import express from 'express'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { cache } from '../../plugins/builtin.ts'
import { createGovernor } from '../../src/index.ts'
import { fakeChat } from '../support/fake-chat.ts'
import { makeGate } from '../support/gate.ts'
import { httpBench, question } from '../support/http-bench.ts'
import { listen } from '../support/listen.ts'
import { waitFor } from '../support/wait-for.ts'

const asked = { ...question, temperature: 0 }
const chat = '/v1/chat/completions'

describe('a cache behind the gateway', () => {
  it('two tenants with the same prompt never share an entry, and nobody’s key is seen', async () => {
    const backend = fakeChat()
    const bench = await httpBench({ backends: [backend], governor: { plugins: [cache({ shadowRate: 0 })] } })
    const ask = (key: string): Promise<Response> => bench.post(chat, asked, { authorization: `Bearer ${key}` })
    expect((await ask('sk-alpha-secret')).headers.get('x-flyball-cache')).toBe('miss')
    expect((await ask('sk-beta-secret')).headers.get('x-flyball-cache')).toBe('miss')
    expect((await ask('sk-alpha-secret')).headers.get('x-flyball-cache')).toBe('hit')
    expect((await ask('sk-beta-secret')).headers.get('x-flyball-cache')).toBe('hit')
    expect(backend.seen).toHaveLength(2)
    const everything = (await bench.metrics()) + (await (await fetch(`${bench.url}/admin/state`)).text())
    expect(everything).not.toMatch(/secret/)
    const inspected = await fetch(`${bench.url}/admin/commands/cache.inspect`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' })
    expect(await inspected.text()).not.toMatch(/secret|"hi"/)
  })

  it('replays a stream to the official client as it was', async () => {
    const backend = fakeChat({ gapMs: 2 })
    const bench = await httpBench({ backends: [backend], governor: { plugins: [cache({ shadowRate: 0 })] } })
    const client = new OpenAI({ baseURL: `${bench.url}/v1`, apiKey: 'k', maxRetries: 0 })
    const collect = async (): Promise<unknown[]> => {
      const parts: unknown[] = []
      for await (const chunk of await client.chat.completions.create({ ...asked, messages: [{ role: 'user', content: 'hi' }], stream: true, stream_options: { include_usage: true } })) parts.push([chunk.choices[0]?.delta.content, chunk.choices[0]?.finish_reason, chunk.usage?.total_tokens])
      return parts
    }
    const first = await collect()
    expect(await collect()).toEqual(first)
    expect(backend.seen).toHaveLength(1)
  })

  it('many who ask at once are served by one; whoever leaves does not take the others along', async () => {
    const { gate, open } = makeGate()
    const backend = fakeChat({ gate })
    const bench = await httpBench({ backends: [backend], governor: { plugins: [cache({ shadowRate: 0 })] } })
    const leaver = new AbortController()
    const first = fetch(`${bench.url}${chat}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(asked), signal: leaver.signal })
    await waitFor(() => backend.seen.length === 1)
    const others = Array.from({ length: 9 }, () => bench.post(chat, asked))
    await new Promise((resolve) => setTimeout(resolve, 50))
    leaver.abort()
    await expect(first).rejects.toThrow()
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(backend.abortedAtMs).toEqual([])
    open()
    for (const other of others) expect((await other).status).toBe(200)
    expect(backend.seen).toHaveLength(1)
    await waitFor(() => bench.governor.lane('fake').inFlight === 0)
  })

  it('purges through the admin API', async () => {
    const backend = fakeChat()
    const bench = await httpBench({ backends: [backend], governor: { plugins: [cache({ shadowRate: 0 })] } })
    await bench.post(chat, asked)
    const purge = await fetch(`${bench.url}/admin/commands/cache.purge`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' })
    expect(await purge.json()).toEqual({ result: { purged: 1 } })
    await bench.post(chat, asked)
    expect(backend.seen).toHaveLength(2)
  })
})

describe('a cache behind a guard', () => {
  it('keeps whole pages by key, shares one run among those who ask at once, and no cookies', async () => {
    const { gate, open } = makeGate()
    let runs = 0
    const governor = createGovernor({ plugins: [cache({ shadowRate: 0 })] })
    const app = express()
    app.get('/page/:name', governor.guard({ operation: 'page', key: (req) => req.url ?? null }), async (req, res) => {
      runs++
      await gate
      res.cookie('session', `secret-${runs}`).json({ page: req.params.name, runs })
    })
    await governor.start()
    const server = await listen(app)
    const ask = (name: string): Promise<Response> => fetch(`${server.url}/page/${name}`)
    const together = Array.from({ length: 5 }, () => ask('a'))
    await waitFor(() => runs === 1)
    await new Promise((resolve) => setTimeout(resolve, 50))
    open()
    const replies = await Promise.all(together)
    for (const reply of replies) expect(await reply.json()).toEqual({ page: 'a', runs: 1 })
    expect(replies.filter((reply) => reply.headers.getSetCookie().length > 0).length).toBeLessThanOrEqual(1)
    const later = await ask('a')
    expect(await later.json()).toEqual({ page: 'a', runs: 1 })
    expect(later.headers.getSetCookie()).toEqual([])
    expect(await (await ask('b')).json()).toEqual({ page: 'b', runs: 2 })
    await governor.close()
    await server.close()
  })

  it('asks for nothing in the background: a handler has one response to write, and failed attempts would look like trouble', async () => {
    let runs = 0
    const governor = createGovernor({ plugins: [cache({ shadowRate: 0.5 })], knobs: { 'cache.ttl_s': 0.2 } })
    const app = express()
    app.get('/page', governor.guard({ operation: 'page', key: () => 'k' }), (_req, res) => void res.json({ runs: ++runs }))
    await governor.start()
    const server = await listen(app)
    const ask = async (): Promise<unknown> => (await fetch(`${server.url}/page`)).json()
    const states: string[] = []
    governor.lane('page').attach([{ name: 'watch', onSettle: (_call, { outcome }) => void states.push(outcome) }])
    await ask()
    // All through its time to live, its last fifth included.
    for (let i = 0; i < 30 && runs === 1; i++) {
      await ask()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    expect(runs).toBe(2)
    expect(states).toEqual(['ok', 'ok'])
    await governor.close()
    await server.close()
  })
})
