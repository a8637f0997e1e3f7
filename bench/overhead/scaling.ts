/** Does a call cost more when many wait, or when the cache is large? In this process, without HTTP. */
import { createGovernor, functionBackend } from '../../src/index.ts'
import { cache, priority, throttle } from '../../plugins/builtin.ts'
import { quantile } from './load.ts'

export interface Scaling {
  readonly usPerCallAt10Waiting: number
  readonly usPerCallAt100kWaiting: number
  readonly usPerHitAt1kEntries: number
  readonly usPerHitAt1MEntries: number
  readonly queue100k: number
  readonly cache1M: number
}

const CALLS = 20_000
const ROUNDS = 5

export async function scaling(): Promise<Scaling> {
  const few = await queued(10)
  const many = await queued(100_000)
  const small = await cached(1_000)
  const large = await cached(1_000_000)
  const pair = async (a: () => Promise<number>, b: () => Promise<number>): Promise<[number, number]> => {
    const as: number[] = []
    const bs: number[] = []
    for (let i = 0; i < ROUNDS; i++) {
      as.push(await a())
      bs.push(await b())
    }
    return [quantile(as, 0.5), quantile(bs, 0.5)]
  }
  const [usPerCallAt10Waiting, usPerCallAt100kWaiting] = await pair(few.measure, many.measure)
  const [usPerHitAt1kEntries, usPerHitAt1MEntries] = await pair(small.measure, large.measure)
  for (const one of [few, many, small, large]) await one.close()
  return { usPerCallAt10Waiting, usPerCallAt100kWaiting, usPerHitAt1kEntries, usPerHitAt1MEntries, queue100k: usPerCallAt100kWaiting / usPerCallAt10Waiting, cache1M: usPerHitAt1MEntries / usPerHitAt1kEntries }
}

interface Rig {
  /** µs per call. */
  measure(): Promise<number>
  close(): Promise<void>
}

/** `waiting` calls stay in the queue while others come and go. */
async function queued(waiting: number): Promise<Rig> {
  const governor = createGovernor({ plugins: [throttle(), priority()], loops: 'off', knobs: { 'lane.max_queue': 1_000_000, 'throttle.limit': 1 } })
  let release: () => void = () => {}
  governor.addBackend(functionBackend('f', (input: 'hold' | 'go') => (input === 'hold' ? new Promise<void>((resolve) => (release = resolve)) : undefined), { slots: 1 }))
  const send = (input: 'hold' | 'go', n: number): Promise<unknown> => {
    const call = governor.call({ operation: 'f', model: 'f', input, cacheKey: null, tenant: `t${n % 50}` })
    return governor.send(call).then(async (reply) => {
      for await (const _ of reply.body);
    })
  }
  void send('hold', 0)
  const queue: Promise<unknown>[] = []
  for (let i = 0; i < waiting; i++) queue.push(send('go', i).catch(() => {}))
  await Promise.resolve()
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
        if (aborts.length === 10) for (const one of aborts.splice(0)) { one.abort(); await Promise.resolve() }
      }
      const { user, system } = process.cpuUsage(start)
      return (user + system) / CALLS
    },
    async close() {
      release()
      await governor.close()
      await Promise.all(queue)
    },
  }
}

async function cached(entries: number): Promise<Rig> {
  const governor = createGovernor({ plugins: [cache({ maxEntries: 2_000_000, maxBytes: 4 * 2 ** 30 } as never)], loops: 'off', knobs: { 'cache.ttl_s': 604_800 } })
  governor.addBackend(functionBackend('f', (input: number) => input, { slots: 1_000 }))
  const ask = async (n: number): Promise<void> => {
    const reply = await governor.send(governor.call({ operation: 'f', model: 'f', input: n, cacheKey: String(n) }))
    for await (const _ of reply.body);
  }
  for (let i = 0; i < entries; i++) await ask(i)
  return {
    async measure() {
      const start = process.cpuUsage()
      for (let i = 0; i < CALLS; i++) await ask((Math.imul(i, 2_654_435_761) >>> 0) % entries)
      const { user, system } = process.cpuUsage(start)
      return (user + system) / CALLS
    },
    close: () => governor.close(),
  }
}
