/** What a plugin sends by `host.attempt` meets the plugins inside it, as the call itself would have: retry and fallback work behind a cache. */
import { expect, it } from 'vitest'
import { z } from 'zod'
import { cache } from '../../plugins/optimizers/cache/index.ts'
import { createGovernor, definePlugin, replyOf, type Call, type Handler, type Host } from '../../src/index.ts'
import { callHeaders } from '../../src/http/reply-headers.ts'
import type { LiveCall } from '../../src/core/call.ts'
import { answeringBackend, readAll, testHost } from '../support/test-host.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const plugin = (name: string, phase: 'reuse' | 'route' | 'observe', handler: (host: Host) => Handler) => definePlugin({ name, phase, doc: '', options: z.strictObject({}), create: (host) => ({ handler: handler(host as Host) }) })()

/** As a third party would write them. */
const retry = (times: number, seen: Call[] = []) =>
  plugin('retry', 'route', (host) => async (call, next) => {
    seen.push(call)
    let reply = await next(call)
    for (let i = 0; i < times && reply.status >= 500; i++) {
      reply.cancel()
      reply = await host.attempt(call, { purpose: 'retry' })
    }
    return reply
  })
const fallback = (backend: string) => plugin('fallback', 'route', (host) => async (call, next) => {
  const reply = await next(call)
  if (reply.status < 500) return reply
  reply.cancel()
  return host.attempt(call, { backend, purpose: 'fallback' })
})

const value = (text: string) => [{ deltas: [{ type: 'value' as const, value: text }], tokens: 1 }]
const failing = (times: number) => {
  let left = times
  return () => (left-- > 0 ? replyOf([], { status: 503 }) : value('good'))
}

function rig(plugins: Parameters<typeof testHost>[0]['plugins'], answer: (call: Call) => ReturnType<ReturnType<typeof failing>>, second = false) {
  const backend = answeringBackend(() => host.clock, { answer, slots: 1 })
  const other = answeringBackend(() => host.clock, { name: 'other', answer: () => value('other') })
  const host = testHost({ backends: second ? [backend, other] : [backend], ...(plugins ? { plugins } : {}), loops: 'off', ...(plugins?.some(({ name }) => name === 'cache') ? { knobs: { 'cache.ttl_s': 10 } } : {}) })
  return { host, backend, other, ask: (id: string) => host.clock.until(host.ask({ cacheKey: id })) }
}

it('a miss is retried by the plugin inside the cache, and its answer is kept', async () => {
  const { backend, ask } = rig([cache({ shadowRate: 0 }), retry(2)], failing(2))
  const first = await ask('a')
  expect(first).toMatchObject({ value: 'good', error: undefined })
  expect(first.call.settlement).toMatchObject({ outcome: 'ok' })
  expect(backend.calls).toHaveLength(3)
  expect((await ask('a')).value).toBe('good')
  expect(backend.calls).toHaveLength(3)
})

it('an attempt meets only what stands inside the plugin that makes it, each once', async () => {
  const seen: Call[] = []
  const { backend, ask } = rig([cache({ shadowRate: 0 }), retry(1, seen), fallback('other')], () => replyOf([], { status: 503 }), true)
  const { value: got, call } = await ask('a')
  expect(got).toBe('other')
  expect(seen).toHaveLength(1)
  expect(backend.calls).toHaveLength(1)
  expect(call.facts.get('backend')).toBe('other')
})

it('a chosen backend is kept by those inside', async () => {
  const purposes: string[] = []
  const watch = plugin('watch', 'route', () => (call, next) => {
    purposes.push(`${call.purpose}@${call.backend}`)
    return next(call)
  })
  const { other, ask } = rig([plugin('choose', 'route', (host) => (call) => host.attempt(call, { backend: 'other', purpose: 'hedge' })), watch], () => value('good'), true)
  expect((await ask('a')).value).toBe('other')
  expect(purposes).toEqual(['hedge@other'])
  expect(other.calls[0]).toMatchObject({ backend: 'other', purpose: 'hedge' })
})

it('refreshes in the background go through them, too, and count for nobody', async () => {
  let asked = 0
  const { host, backend, ask } = rig([cache({ shadowRate: 0 }), retry(1)], () => (asked++ % 2 === 0 ? replyOf([], { status: 503 }) : value('good')))
  await ask('a')
  await host.clock.advance(9_000)
  expect((await ask('a')).call.facts.get('cache')).toBe('stale')
  await host.clock.advance(1_000)
  expect(backend.calls.map(({ facts, purpose }) => [facts.get('background') ?? false, purpose])).toEqual([[false, 'serve'], [false, 'retry'], [true, 'refresh'], [true, 'retry']])
  expect(host.governor.backendStates()[0]).toMatchObject({ inFlight: 0, waiting: 0 })
})

it('a more urgent caller who joins moves the waiting attempt forward', async () => {
  const { host, backend } = rig([cache({ shadowRate: 0 }), retry(1)], () => value('x'))
  const send = (cacheKey: string, priority: number) => host.send({ cacheKey, priority })
  const running = send('running', 0)
  await host.clock.advance(1)
  const all = [running, send('slow', 10), send('slow', -1)]
  await host.clock.advance(1)
  expect([...host.governor.lane('b').waiters()].map(({ call }) => call.priority)).toEqual([-1])
  await host.clock.until(Promise.all(all.map(async ({ reply }) => readAll(await reply))))
  expect(backend.calls).toHaveLength(2)
})

it('who leaves takes the attempt along', async () => {
  const { host, backend } = rig([cache({ shadowRate: 0 }), retry(1)], () => value('x'))
  const { call, reply } = host.send({ cacheKey: 'a' })
  await host.clock.advance(2)
  expect(backend.running).toBe(1)
  ;(call as LiveCall).abort()
  await expect(reply).rejects.toMatchObject({ code: 'cancelled' })
  await host.clock.quiet()
  expect(backend.running).toBe(0)
  expect(host.governor.lane('b').inFlight).toBe(0)
})

it('where the time went is known when the head is there, before the body ends', async () => {
  for (const plugins of [[], [cache({ shadowRate: 0 }), retry(1)]]) {
    const { host } = rig(plugins, () => value('x'))
    const before = host.send({ cacheKey: 'first' })
    const { call, reply } = host.send({ cacheKey: 'a' })
    await host.clock.until(before.reply.then(readAll))
    const head = await host.clock.until(reply)
    const headers = callHeaders(call as LiveCall, host.clock.monoMs(), [])
    expect(headers).toContain('x-flyball-backend')
    expect(headers.at(-1)).toMatch(/queue;dur=10\.0, upstream;dur=10\.0, total;dur=20\.0$/)
    await host.clock.until(readAll(head))
  }
})

it('a plugin inside that breaks is told of once, and the call fails', async () => {
  const told: string[] = []
  const note = (_fields: object, message: string): void => void told.push(message)
  const clock = virtualClock()
  const broken = plugin('broken', 'route', () => () => Promise.reject(new Error('a bug')))
  const governor = createGovernor({ clock, env: {}, loops: 'off', backends: [answeringBackend(() => clock)], plugins: [cache({ shadowRate: 0 }), broken], log: { debug: note, info: note, warn: note, error: note } })
  await expect(governor.send(governor.call({ operation: 'f', model: 'm', input: {}, cacheKey: 'a' }))).rejects.toMatchObject({ code: 'internal' })
  expect(told).toEqual(['a call failed inside the gateway'])
})
