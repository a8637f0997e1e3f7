/** Rules for times to live: in numbers, and what they do to freshness. */
import { describe, expect, it } from 'vitest'
import { dTtlRule, fixedRule, popularityRule, ttlCache } from '../../../plugins/rivals/ttl-cache.ts'
import { readPlant } from '../../../src/sim/plants/parameters.ts'
import { simulate } from '../../../src/sim/simulate.ts'
import { generate } from '../../../src/sim/workload/workload.ts'

const plant = readPlant({ kind: 'changing-answers', name: 'plant', hazardsPerS: { c: 0.05 }, serviceMs: 20 })
const phases = [{ name: 'steady', durationS: 200, perS: 20, mix: [{ share: 1, work: 1, keys: { count: 30, zipf: 1, changeClass: 'c' } }] }]
const run = (options: Parameters<typeof ttlCache>[0]) => simulate({ ...generate(phases, 4), plant, plugins: [ttlCache(options)], seed: 4 })

describe('fixed TTL', () => {
  it('is what it is', () => expect(fixedRule(123).ttlMs('k')).toBe(123))
  it('makes 1 − (1 − e^{−μT})/(μT) of an always-hit key stale (the formula of the notes)', async () => {
    const one = [{ name: 'one key', durationS: 2_000, perS: 20, mix: [{ share: 1, work: 1, keys: { count: 1, zipf: 1, changeClass: 'c' } }] }]
    const result = await simulate({ ...generate(one, 5), plant, plugins: [ttlCache({ rule: 'fixed', ttlMs: 10_000 })], seed: 5 })
    const x = 0.05 * 10
    expect(result.staleHitShare).toBeGreaterThan(1 - (1 - Math.exp(-x)) / x - 0.05)
    expect(result.staleHitShare).toBeLessThan(1 - (1 - Math.exp(-x)) / x + 0.05)
  })
})

describe('popularity TTL', () => {
  it('is a multiple of the key’s own gap', () => {
    const rule = popularityRule(10, 100_000)
    for (let i = 0; i <= 20; i++) rule.looked('hot', true, i * 100)
    for (let i = 0; i <= 2; i++) rule.looked('cold', false, i * 5_000)
    expect(rule.ttlMs('hot')).toBeCloseTo(1_000)
    expect(rule.ttlMs('cold')).toBeCloseTo(50_000)
    expect(rule.ttlMs('unknown')).toBe(100_000)
  })
  it('pays for its hits with staleness: it never looks at changes (published objective, hit ratio)', async () => {
    const result = await run({ rule: 'popularity', factor: 10 })
    expect(result.hitRatio).toBeGreaterThan(0.85)
    expect(result.staleHitShare).toBeGreaterThan(0.2)
  })
})

describe('d-TTL', () => {
  it('θ ← θ + η(h* − hit), kept in its bounds', () => {
    const rule = dTtlRule(0.8, 100, 1_000, 500)
    rule.looked('k', false, 0)
    expect(rule.thetaMs).toBeCloseTo(580)
    rule.looked('k', true, 0)
    expect(rule.thetaMs).toBeCloseTo(560)
    for (let i = 0; i < 100; i++) rule.looked('k', false, 0)
    expect(rule.thetaMs).toBe(1_000)
  })
  it('converges to the hit ratio it was told, stale or not (published behaviour, and its failure)', async () => {
    const result = await run({ rule: 'd-ttl', targetHitRatio: 0.7, ttlMs: 0, stepMs: 200 })
    expect(Math.abs(result.hitRatio - 0.7)).toBeLessThan(0.06)
    expect(result.staleHitShare).toBeGreaterThan(0.05)
  })
})

describe('stale-while-revalidate', () => {
  it('hits more than its TTL alone would, and what it serves past it is older', async () => {
    const [plain, swr] = [await run({ rule: 'fixed', ttlMs: 1_000 }), await run({ rule: 'fixed', ttlMs: 1_000, swrMs: 10_000 })]
    expect(swr.hitRatio).toBeGreaterThan(plain.hitRatio + 0.1)
    expect(swr.staleHitShare).toBeGreaterThan(plain.staleHitShare)
  })
})
