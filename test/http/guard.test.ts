/** Handlers that exist already, behind a governor. */
import { get } from 'node:http'
import { AsyncLocalStorage } from 'node:async_hooks'
import express, { type ErrorRequestHandler, type RequestHandler } from 'express'
import { describe, expect, it } from 'vitest'
import { createGovernor, definePlugin, flyballSignal, FlyballError, type Chunk, type GovernorOptions, type GuardOptions, type Reply } from '../../src/index.ts'
import { z } from 'zod'
import { makeGate } from '../support/gate.ts'
import { listen, type Listening } from '../support/listen.ts'
import { quickest } from '../support/quickest.ts'
import { waitFor } from '../support/wait-for.ts'

async function guarded(options: GuardOptions, handler: RequestHandler, more: { governor?: GovernorOptions; onError?: ErrorRequestHandler } = {}) {
  const governor = createGovernor({ ...more.governor })
  const app = express()
  const settled: string[] = []
  governor.onCallSettled((call) => settled.push(call.settlement?.outcome ?? ''))
  app.use('/work', governor.guard(options), handler)
  if (more.onError) app.use(more.onError)
  await governor.start()
  const server: Listening = await listen(app)
  return { governor, url: `${server.url}/work`, settled, close: () => governor.close().then(server.close) }
}

/** Keeps whole replies by key, as a cache does. */
function miniCache(): { plugin: ReturnType<ReturnType<typeof definePlugin>>; hits: () => number } {
  const kept = new Map<string, { reply: Reply; chunks: Chunk[] }>()
  let hits = 0
  const factory = definePlugin({
    name: 'mini',
    phase: 'reuse',
    doc: 'For tests.',
    options: z.strictObject({}),
    create: () => ({
      async handler(call, next) {
        if (!call.cacheKey) return next(call)
        const known = kept.get(`${call.tenant} ${call.cacheKey}`)
        const replay = ({ reply, chunks }: { reply: Reply; chunks: Chunk[] }): Reply => ({
          ...reply,
          body: {
            async *[Symbol.asyncIterator]() {
              yield* chunks
            },
          },
          cancel() {},
        })
        if (known) {
          hits++
          call.note('cache', 'hit')
          return replay(known)
        }
        const reply = await next(call)
        const chunks: Chunk[] = []
        const body = async function* (): AsyncGenerator<Chunk> {
          for await (const chunk of reply.body) {
            chunks.push(chunk)
            yield chunk
          }
          kept.set(`${call.tenant} ${call.cacheKey}`, { reply, chunks })
        }
        return { ...reply, body: body() }
      },
    }),
  })
  return { plugin: factory(), hits: () => hits }
}

describe('a guarded handler', () => {
  it('answers as before, counted and traced', async () => {
    const { governor, url, settled, close } = await guarded({ operation: 'predict' }, (_req, res) => void res.status(201).set('x-mine', '1').json({ answer: 42 }))
    const reply = await fetch(url)
    expect([reply.status, reply.headers.get('x-mine'), await reply.json()]).toEqual([201, '1', { answer: 42 }])
    await waitFor(() => settled.length === 1)
    expect(settled).toEqual(['ok'])
    expect(governor.lane('predict').inFlight).toBe(0)
    await close()
  })

  it('is let in slot by slot, and a full queue is refused through next(error), with status, retry advice and no stack', async () => {
    const { gate, open } = makeGate()
    let running = 0
    let most = 0
    const { governor, url, close } = await guarded(
      { operation: 'predict', slots: 2 },
      (_req, res, next) => {
        most = Math.max(most, ++running)
        gate.then(() => { running--; res.end('done') }, next)
      },
      { governor: { knobs: { 'lane.max_queue': 1 } } },
    )
    const admitted = [fetch(url), fetch(url)]
    await waitFor(() => running === 2)
    admitted.push(fetch(url))
    await waitFor(() => governor.lane('predict').waiting === 1)
    // Express's own error handler writes this one.
    const refused = await fetch(url)
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after-ms'))).toBeGreaterThan(0)
    expect(await refused.text()).not.toMatch(/\bat .*:\d+/)
    open()
    for (const reply of admitted) expect((await reply).status).toBe(200)
    expect(most).toBe(2)
    await close()
  })

  it('hears by its signal that its client left, and gives its slot back', async () => {
    const seen: (AbortSignal | undefined)[] = []
    const { governor, url, settled, close } = await guarded({ operation: 'predict', slots: 1 }, (req) => void seen.push(flyballSignal(req)))
    const tookMs = await quickest(50, async () => {
      seen.length = 0
      const req = get(url).on('error', () => {})
      await waitFor(() => seen.length === 1)
      expect(seen[0]?.aborted).toBe(false)
      const leftMs = performance.now()
      req.destroy()
      await waitFor(() => seen[0]?.aborted === true && governor.lane('predict').inFlight === 0)
      return performance.now() - leftMs
    })
    expect(tookMs).toBeLessThan(50)
    expect(new Set(settled)).toEqual(new Set(['cancelled']))
    await close()
  })

  it('that leaves the queue is never entered', async () => {
    const { gate, open } = makeGate()
    let entered = 0
    const { governor, url, close } = await guarded({ operation: 'predict', slots: 1 }, (_req, res, next) => {
      entered++
      gate.then(() => void res.end(), next)
    })
    const first = fetch(url)
    await waitFor(() => entered === 1)
    const second = get(url).on('error', () => {})
    await waitFor(() => governor.lane('predict').waiting === 1)
    second.destroy()
    await waitFor(() => governor.lane('predict').waiting === 0)
    open()
    await first
    expect(entered).toBe(1)
    await close()
  })

  it('streams straight through', async () => {
    const { gate, open } = makeGate()
    const { url, close } = await guarded({ operation: 'predict' }, async (_req, res) => {
      res.write('first ')
      await gate
      res.end('second')
    })
    const reader = ((await fetch(url)).body as ReadableStream<Uint8Array>).getReader()
    expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe('first ')
    open()
    expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe('second')
    await close()
  })

  it('keeps its own errors and the host’s error handler', async () => {
    const { url, settled, close } = await guarded(
      { operation: 'predict' },
      async () => {
        throw new RangeError('mine')
      },
      { onError: (error: Error, _req, res, _next) => void res.status(418).json({ handled: error.message }) },
    )
    const reply = await fetch(url)
    expect([reply.status, await reply.json()]).toEqual([418, { handled: 'mine' }])
    await waitFor(() => settled.length === 1)
    expect(settled).toEqual(['error'])
    await close()
  })

  it('keeps its request’s async context, though others wake the queue', async () => {
    const requestId = new AsyncLocalStorage<string>()
    const governor = createGovernor()
    const app = express()
    app.use((req, _res, next) => requestId.run(String(req.headers['x-id']), next))
    app.use(governor.guard({ operation: 'predict', slots: 1 }), (_req, res) => void setTimeout(() => res.end(requestId.getStore()), 5))
    await governor.start()
    const server = await listen(app)
    const replies = await Promise.all(['a', 'b', 'c', 'd'].map(async (id) => (await fetch(server.url, { headers: { 'x-id': id } })).text()))
    expect(replies).toEqual(['a', 'b', 'c', 'd'])
    await governor.close()
    await server.close()
  })

  it('is refused when its class is unknown, before it runs', async () => {
    const { url, close } = await guarded({ operation: 'predict', class: () => 'nobody' }, (_req, res) => void res.end(), { onError: (error: FlyballError, _req, res, _next) => void res.status(error.status).end(error.code) })
    const reply = await fetch(url)
    expect([reply.status, await reply.text()]).toEqual([400, 'invalid_request'])
    await close()
  })
})

describe('a guarded handler with a key', () => {
  it('runs once for equal keys of one tenant, and its answer is replayed whole', async () => {
    let runs = 0
    const { plugin, hits } = miniCache()
    const { url, close } = await guarded({ operation: 'page', key: (req) => req.url ?? null }, (_req, res) => void res.status(203).set('x-run', String(++runs)).type('text/plain').send(`run ${runs}`), { governor: { plugins: [plugin] } })
    const first = await fetch(`${url}/a`)
    expect([first.status, await first.text(), first.headers.get('x-run')]).toEqual([203, 'run 1', '1'])
    const second = await fetch(`${url}/a`)
    expect([second.status, await second.text(), second.headers.get('x-run'), second.headers.get('content-type')]).toEqual([203, 'run 1', '1', 'text/plain; charset=utf-8'])
    expect(second.headers.get('x-flyball-cache')).toBe('hit')
    expect(await (await fetch(`${url}/b`)).text()).toBe('run 2')
    expect(await (await fetch(`${url}/a`, { headers: { authorization: 'Bearer other' } })).text()).toBe('run 3')
    expect([runs, hits()]).toEqual([3, 1])
    await close()
  })

  it('without a key nothing is kept', async () => {
    let runs = 0
    const { plugin } = miniCache()
    const { url, close } = await guarded({ operation: 'page', key: () => null }, (_req, res) => void res.send(`run ${++runs}`), { governor: { plugins: [plugin] } })
    expect(await (await fetch(url)).text()).toBe('run 1')
    expect(await (await fetch(url)).text()).toBe('run 2')
    await close()
  })

  it('streams while it is caught, with the reader’s pace, and replays the stream', async () => {
    const { gate, open } = makeGate()
    const { plugin, hits } = miniCache()
    const { url, close } = await guarded(
      { operation: 'page', key: () => 'k' },
      async (_req, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' })
        res.write('data: 1\n\n')
        expect(res.headersSent).toBe(true)
        await gate
        for (let i = 0; i < 100; i++) if (!res.write('x'.repeat(16_384))) await new Promise((resolve) => res.once('drain', resolve))
        res.end('data: 2\n\n')
      },
      { governor: { plugins: [plugin] } },
    )
    const reply = await fetch(url)
    const reader = (reply.body as ReadableStream<Uint8Array>).getReader()
    expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe('data: 1\n\n')
    open()
    let size = 9
    for (let next = await reader.read(); !next.done; next = await reader.read()) size += next.value.length
    expect(size).toBe(9 + 100 * 16_384 + 9)
    const again = await (await fetch(url)).text()
    expect([again.length, again.slice(0, 9), hits()]).toEqual([size, 'data: 1\n\n', 1])
    await close()
  })

  it('errors of the handler reach the host’s error handler, and its page goes out', async () => {
    const { plugin } = miniCache()
    const { url, close } = await guarded(
      { operation: 'page', key: () => 'k' },
      (_req, _res, next) => next(new RangeError('mine')),
      { governor: { plugins: [plugin] }, onError: (error: Error, _req, res, _next) => void res.status(418).send(`handled ${error.message}`) },
    )
    const reply = await fetch(url)
    expect([reply.status, await reply.text()]).toEqual([418, 'handled mine'])
    await close()
  })

  it('hears that its client left', async () => {
    let signal: AbortSignal | undefined
    const { governor, url, close } = await guarded({ operation: 'page', key: () => 'k', slots: 1 }, (req) => void (signal = flyballSignal(req)))
    const req = get(url).on('error', () => {})
    await waitFor(() => signal !== undefined)
    req.destroy()
    await waitFor(() => signal?.aborted === true && governor.lane('page').inFlight === 0)
    await close()
  })
})
