/** Does a call cost more when many wait, or when the cache is large? In this process, without HTTP. */
import { z } from 'zod'
import { createGovernor, definePlugin, functionBackend } from '../../src/index.ts'
import { priority, throttle } from '../../plugins/builtin.ts'
import { createCache, type CacheHost, type CacheParts } from '../../plugins/optimizers/cache/cache-handler.ts'
import { cacheKey } from '../../plugins/optimizers/cache/cache-key.ts'
import { instruments, knobs, signals } from '../../plugins/optimizers/cache/declares.ts'
import type { Entry } from '../../plugins/optimizers/cache/entry-store.ts'
import { KeptAnswer } from '../../plugins/optimizers/cache/kept-answer.ts'
import type { LiveCall } from '../../src/core/call.ts'
import { quantile } from './load.ts'

export interface Scaling {
  readonly usPerCallAt10Waiting: number
  readonly usPerCallAt100kWaiting: number
  readonly usPerHitAt1kEntries: number
  readonly usPerHitAt1MEntries: number
  readonly queue100k: number
  readonly cache1M: number
}

const CALLS = 5_000
const ROUNDS = 7

export async function scaling(): Promise<Scaling> {
  const [usPerCallAt10Waiting, usPerCallAt100kWaiting] = await pair(await queued(10), await queued(100_000))
  const [usPerHitAt1kEntries, usPerHitAt1MEntries] = await pair(await cached(1_000), await cached(1_000_000))
  return { usPerCallAt10Waiting, usPerCallAt100kWaiting, usPerHitAt1kEntries, usPerHitAt1MEntries, queue100k: usPerCallAt100kWaiting / usPerCallAt10Waiting, cache1M: usPerHitAt1MEntries / usPerHitAt1kEntries }
}

/** In turns, after one turn each to warm up; both are closed afterwards. */
async function pair(a: Rig, b: Rig): Promise<[number, number]> {
  const as: number[] = []
  const bs: number[] = []
  await a.measure()
  await b.measure()
  for (let i = 0; i < ROUNDS; i++) {
    as.push(await a.measure())
    bs.push(await b.measure())
  }
  await a.close()
  await b.close()
  return [quantile(as, 0.5), quantile(bs, 0.5)]
}

interface Rig {
  /** µs per call. */
  measure(): Promise<number>
  close(): Promise<void>
}

/** `waiting` calls stay in the queue while others come and go. */
async function queued(waiting: number): Promise<Rig> {
  // Without a start target nobody is given up: the depth stays what it is.
  const governor = createGovernor({ classes: [{ name: 'patient', priority: 0, quantile: 0.95 }], plugins: [throttle(), priority()], loops: 'off', knobs: { 'lane.max_queue': 1_000_000, 'throttle.limit': 1 } })
  let release: () => void = () => {}
  governor.addBackend(functionBackend('f', (input: 'hold' | 'go') => (input === 'hold' ? new Promise<void>((resolve) => (release = resolve)) : undefined), { slots: 1 }))
  const send = (input: 'hold' | 'go', n: number): Promise<unknown> => {
    const call = governor.call({ operation: 'f', model: 'f', input, cacheKey: null, tenant: `t${n % 50}` })
    return governor.send(call).then(async (reply) => {
      for await (const _ of reply.body);
    })
  }
  const held = send('hold', 0).catch(() => {})
  const queue: Promise<unknown>[] = []
  for (let i = 0; i < waiting; i++) queue.push(send('go', i).catch(() => {}))
  await turn()
  const { waiting: depth } = governor.lane('f')
  if (depth !== waiting) throw new Error(`expected ${waiting} calls waiting, got ${depth}`)
  return {
    /** Arrivals and departures at this depth: each call is queued and taken back. */
    async measure() {
      const aborts: AbortController[] = []
      const start = process.cpuUsage()
      for (let i = 0; i < CALLS; i++) {
        const abort = new AbortController()
        const call = governor.call({ operation: 'f', model: 'f', input: 'go', cacheKey: null, tenant: `t${i % 50}`, signal: abort.signal })
        governor.send(call).catch(() => {})
        aborts.push(abort)
        if (aborts.length < 10) continue
        for (const one of aborts.splice(0)) one.abort()
        await turn()
      }
      const { user, system } = process.cpuUsage(start)
      return (user + system) / CALLS
    },
    async close() {
      release()
      await governor.close()
      await Promise.all([held, ...queue])
    },
  }
}

/** The cache with its store in reach: a million entries are put there, not asked for one by one, which takes minutes. */
async function cached(entries: number): Promise<Rig> {
  let parts: CacheParts | undefined
  const settings = { cacheSampled: false, maxEntries: 2_000_000, maxBytes: 4 * 2 ** 30, maxEntryBytes: 2 ** 20, replayBytes: 2 ** 20, shadowRate: 0, staleWhileRevalidate: true, staleIfError: true }
  const plugin = definePlugin({
    name: 'cache',
    phase: 'reuse',
    doc: 'The cache, with its store in reach.',
    options: z.strictObject({}),
    declares: { knobs, signals, instruments },
    create(host) {
      parts = createCache(host as unknown as CacheHost, settings)
      return { handler: parts.handler }
    },
  })
  const governor = createGovernor({ plugins: [plugin({})], loops: 'off', knobs: { 'cache.ttl_s': 604_800 } })
  let asked = 0
  governor.addBackend(functionBackend('f', (input: number) => (asked++, input), { slots: 1_000 }))
  const callOf = (n: number): LiveCall => governor.call({ operation: 'f', model: 'f', input: n, cacheKey: String(n) })
  const ask = async (call: LiveCall): Promise<void> => {
    const reply = await governor.send(call)
    for await (const _ of reply.body);
  }
  const first = callOf(0)
  await ask(first)
  const { store } = parts as CacheParts
  const [, pattern] = store.select({}).next().value as [string, Entry]
  for (let n = 0; n < entries; n++) {
    const found = cacheKey(Object.create(first, { input: { value: n }, cacheKey: { value: String(n) } }) as LiveCall, settings)
    if (!('key' in found)) throw new Error('expected a key')
    store.set(found.key, { ...pattern, answer: new KeptAnswer({ rawHeaders: [], chunks: [{ deltas: [{ type: 'value', value: n }], tokens: 0 }] }) })
  }
  return {
    async measure() {
      const start = process.cpuUsage()
      for (let i = 0; i < CALLS; i++) await ask(callOf((Math.imul(i, 2_654_435_761) >>> 0) % entries))
      const { user, system } = process.cpuUsage(start)
      if (asked > 1) throw new Error('expected hits only')
      return (user + system) / CALLS
    },
    close: () => governor.close(),
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
