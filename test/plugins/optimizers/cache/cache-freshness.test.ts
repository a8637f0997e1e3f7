import { describe, expect, it } from 'vitest'
import { cache } from '../../../../plugins/optimizers/cache/index.ts'
import { longestTtlS } from '../../../../plugins/optimizers/cache/hazard.ts'
import { exponential } from '../../../../src/sim/seeded-random.ts'
import { answeringBackend, testHost, type TestHost } from '../../../support/test-host.ts'

/** Answers whose classes change at different rates; the truth is known, so that staleness can be counted. */
async function run(options: { hours: number; loops?: 'on' | 'dry' | 'off'; seed?: number; ttlS?: number }) {
  const classes = { news: 1 / 300, prices: 1 / 3_000, manuals: 1 / 100_000 }
  const keysPerClass = 4
  let host: TestHost
  const truth = new Map<string, number>()
  const backend = answeringBackend(() => host.clock, { ms: () => 20, answer: (call) => [{ tokens: 0, deltas: [{ type: 'value', value: truth.get(call.input as string) ?? 0 }] }] })
  host = testHost({ backends: [backend], plugins: [cache({ classOf: (call) => (call.input as string).split(':')[0] })], loops: options.loops ?? 'on', seed: options.seed ?? 1, ...(options.ttlS === undefined ? {} : { knobs: { 'cache.ttl_s': options.ttlS } }) })
  const { clock, governor } = host
  await governor.start()
  const counted: Record<string, { hits: number; stale: number; asked: number }> = {}
  for (const [name, perS] of Object.entries(classes)) {
    counted[name] = { hits: 0, stale: 0, asked: 0 }
    for (let k = 0; k < keysPerClass; k++) {
      const key = `${name}:${k}`
      const change = (): void => void clock.after(exponential(clock.random, 1_000 / perS), () => {
        truth.set(key, (truth.get(key) ?? 0) + 1)
        change()
      })
      change()
      const ask = (): void => void clock.after(exponential(clock.random, 4_000), () => {
        ask()
        void host.ask({ input: key }).then(({ call, value }) => {
          const tally = counted[name] as { hits: number; stale: number; asked: number }
          tally.asked++
          const outcome = call.facts.get('cache')
          if (outcome !== 'hit' && outcome !== 'stale') return
          tally.hits++
          if (value !== (truth.get(key) ?? 0)) tally.stale++
        })
      })
      ask()
    }
  }
  // The first part is for learning.
  await clock.advance(options.hours >= 1 ? 1_800_000 : 300_000)
  for (const tally of Object.values(counted)) Object.assign(tally, { hits: 0, stale: 0, asked: 0 })
  await clock.advance(options.hours * 3_600_000)
  const ttl = (name: string): number => governor.knobs.get('cache.ttl_s').for({ class: name }).value
  const result = { counted, ttl, calls: backend.calls.length, classes, governor }
  await governor.close()
  return result
}

describe('freshness', () => {
  it('keeps stale hits within the budget for every class, each with a TTL that fits its own rate of change', async () => {
    const { counted, ttl, classes } = await run({ hours: 2 })
    for (const [name, perS] of Object.entries(classes)) {
      const { hits, stale, asked } = counted[name] as { hits: number; stale: number; asked: number }
      // One-sided 95% upper bound of the share.
      const upper = stale / hits + 1.645 * Math.sqrt(Math.max(1, stale)) / hits
      expect(upper, `${name}: ${stale} of ${hits}`).toBeLessThanOrEqual(0.02)
      expect(hits / asked, name).toBeGreaterThan(0.3)
      expect(ttl(name), name).toBeLessThan(longestTtlS(perS, 0.02) * 1.6)
    }
    expect(ttl('manuals')).toBeGreaterThan(5 * ttl('news'))
  }, 120_000)

  it('turns nothing and asks nothing extra in a dry run: the same upstream calls as without loops', async () => {
    const dry = await run({ hours: 0.05, loops: 'dry' })
    const off = await run({ hours: 0.05, loops: 'off' })
    expect(dry.calls).toBe(off.calls)
    expect(dry.counted).toEqual(off.counted)
    for (const name of Object.keys(dry.classes)) expect(dry.ttl(name)).toBe(1)
  }, 60_000)
})
