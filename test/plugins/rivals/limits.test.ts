/** Each limiter by its published update rule, in plain numbers. */
import { describe, expect, it } from 'vitest'
import { aimd } from '../../../plugins/rivals/limits/aimd.ts'
import { envoyGradient } from '../../../plugins/rivals/limits/envoy-gradient.ts'
import { correlation, failsafe, rejectionShare } from '../../../plugins/rivals/limits/failsafe.ts'
import { gradient2 } from '../../../plugins/rivals/limits/gradient2.ts'
import { vegas } from '../../../plugins/rivals/limits/vegas.ts'
import { windowed } from '../../../plugins/rivals/limits/windowed.ts'

const sample = (rttMs: number, more: { inFlight?: number; dropped?: boolean; nowMs?: number } = {}) => ({ rttMs, inFlight: 1_000, dropped: false, nowMs: 0, ...more })

describe('Gradient2', () => {
  it('L ← .8L + .2(gL + 4), g = clamp(1.5·long/short, .5, 1)', () => {
    const limiter = gradient2({ initial: 100 })
    limiter.update(sample(50))
    // long = short: g = 1.
    expect(limiter.limit).toBeCloseTo(0.8 * 100 + 0.2 * 104)
    const before = limiter.limit
    limiter.update(sample(500))
    const long = (50 + 500) / 2
    expect(limiter.longMs).toBeCloseTo(long)
    expect(limiter.limit).toBeCloseTo(0.8 * before + 0.2 * (before * ((1.5 * long) / 500) + 4))
    const last = limiter.limit
    for (let i = 0; i < 8; i++) limiter.update(sample(100))
    const warmed = limiter.limit
    limiter.update(sample(1_000_000))
    // Never below half in one gradient.
    expect(limiter.limit).toBeCloseTo(0.8 * warmed + 0.2 * (warmed * 0.5 + 4))
    expect(last).toBeLessThan(before)
  })
  it('averages the long term over 600 once warm, and catches up after a recovery', () => {
    const limiter = gradient2({ initial: 100 })
    for (let i = 0; i < 10; i++) limiter.update(sample(100))
    limiter.update(sample(160))
    expect(limiter.longMs).toBeCloseTo(100 + (60 * 2) / 601)
    const long = limiter.longMs
    limiter.update(sample(10))
    expect(limiter.longMs).toBeCloseTo((long + ((10 - long) * 2) / 601) * 0.95)
  })
  it('learns nothing while less than half is used', () => {
    const limiter = gradient2({ initial: 100 })
    limiter.update(sample(50, { inFlight: 49 }))
    expect(limiter.limit).toBe(100)
  })
  it('drifts up under steady overload: what is slow for long becomes the normal (its published failure)', () => {
    const limiter = gradient2({ initial: 20 })
    for (let i = 0; i < 4_000; i++) limiter.update(sample(10 * limiter.limit, { inFlight: limiter.limit }))
    expect(limiter.limit).toBeGreaterThan(200)
  })
})

describe('Vegas', () => {
  const warm = (initial: number) => {
    const limiter = vegas({ initial })
    limiter.update(sample(100))
    return limiter
  }
  it.each([
    [100, 105, 100 + 12, 'no more than one step queued: up by beta'],
    [100, 103.5, 100 + 2, 'below alpha: up by a step, log10'],
    [100, 110, 100, 'between alpha and beta: as it is'],
    [100, 125, 100 - 2, 'above beta: down by a step'],
  ])('limit %d at round trip %d becomes %d (%s)', (limit, rtt, wanted, what) => {
    // queue = ⌈L(1 − 100/rtt)⌉; step = 2 for 100.
    const queue = Math.ceil(limit * (1 - 100 / rtt))
    const limiter = warm(limit)
    limiter.update(sample(rtt))
    if (what.startsWith('no more')) expect(queue <= 2 ? limit + 12 : queue < 6 ? limit + 2 : limit).toBe(limiter.limit)
    else if (what.startsWith('below')) expect(limiter.limit).toBe(queue <= 2 ? limit + 12 : limit + 2)
    else expect(limiter.limit).toBe(wanted)
  })
  it('takes a drop as one step down, and forgets its smallest round trip in the end', () => {
    const limiter = vegas({ initial: 100, probeMultiplier: 0.05 })
    limiter.update(sample(100))
    limiter.update(sample(200, { dropped: true }))
    expect(limiter.limit).toBe(98)
    for (let i = 0; i < 5; i++) limiter.update(sample(300))
    expect(limiter.baseMs).toBe(300)
  })
  it('reads a long answer as a queue: twice the tokens, a fraction of the limit (its failure with inference)', () => {
    const limiter = vegas({ initial: 40, max: 200, probeMultiplier: 1e9 })
    for (let i = 0; i < 200; i++) limiter.update(sample(1_000))
    const short = limiter.limit
    for (let i = 0; i < 400; i++) limiter.update(sample(4_000))
    expect(limiter.limit).toBeLessThan(short * 0.2)
  })
})

describe('AIMD', () => {
  it('one more while half is used, a tenth less on a drop or a timeout', () => {
    const limiter = aimd({ initial: 50, timeoutMs: 1_000 })
    limiter.update(sample(10, { inFlight: 25 }))
    expect(limiter.limit).toBe(51)
    limiter.update(sample(10, { inFlight: 25 }))
    expect(limiter.limit).toBe(51)
    limiter.update(sample(10, { dropped: true }))
    expect(limiter.limit).toBe(45)
    limiter.update(sample(1_001))
    expect(limiter.limit).toBe(40)
  })
  it('saws between its cut and the capacity (published behaviour)', () => {
    const limiter = aimd({ initial: 50, min: 1 })
    const seen: number[] = []
    for (let i = 0; i < 400; i++) {
      limiter.update(sample(10, { dropped: limiter.limit > 100 }))
      seen.push(limiter.limit)
    }
    const late = seen.slice(200)
    expect(Math.max(...late)).toBe(101)
    expect(Math.min(...late)).toBe(90)
  })
})

describe('windows', () => {
  it('hand over the mean of a second, with the most in flight; thin windows are thrown away', () => {
    const seen: { rttMs: number; inFlight: number; dropped: boolean }[] = []
    const limiter = windowed({ limit: 1, update: (one) => void seen.push(one) })
    for (let i = 0; i <= 20; i++) limiter.update(sample(100 + i, { nowMs: i * 50, inFlight: i }))
    expect(seen).toEqual([{ rttMs: 110, inFlight: 20, dropped: false, nowMs: 1_000 }])
    // Five in the next second: fewer than ten.
    for (let i = 1; i <= 5; i++) limiter.update(sample(100, { nowMs: 1_000 + i * 250 }))
    expect(seen).toHaveLength(1)
  })
  it('hardly ever update at the rates of language models (the published threshold, eight calls a second)', () => {
    let updates = 0
    const limiter = windowed({ limit: 1, update: () => void updates++ })
    for (let i = 0; i < 800; i++) limiter.update(sample(2_000, { nowMs: i * 125 }))
    expect(updates).toBe(0)
  })
})

describe('Envoy’s gradient', () => {
  const options = { minRttSamples: 5, updateMs: 100, minRttEveryMs: 10_000 }
  const feed = (limiter: ReturnType<typeof envoyGradient>, rttMs: number, fromMs: number, count: number, stepMs = 30): void => {
    for (let i = 0; i < count; i++) limiter.update(sample(rttMs, { nowMs: fromMs + i * stepMs }))
  }
  it('L ← gL + √(gL), g = clamp(1.25·minRTT/sampleRTT, .5, 2)', () => {
    const limiter = envoyGradient(options)
    feed(limiter, 100, 0, 5)
    expect(limiter.minRttMs).toBe(100)
    limiter.update(sample(100, { nowMs: 230 }))
    expect(limiter.limit).toBeCloseTo(3 * 1.25 + Math.sqrt(3 * 1.25))
    const before = limiter.limit
    limiter.update(sample(1_000, { nowMs: 340 }))
    expect(limiter.limit).toBeCloseTo(Math.max(3, before * 0.5 + Math.sqrt(before * 0.5)))
  })
  it('goes down to three to measure, which is what costs it calls (its published failure)', () => {
    const limiter = envoyGradient(options)
    feed(limiter, 100, 0, 5)
    feed(limiter, 100, 200, 200)
    const high = limiter.limit
    expect(high).toBeGreaterThan(30)
    limiter.update(sample(100, { nowMs: 10_500 }))
    expect(limiter.measuring).toBe(true)
    expect(limiter.limit).toBe(3)
    feed(limiter, 150, 10_600, 5)
    expect(limiter.measuring).toBe(false)
    expect(limiter.minRttMs).toBe(150)
    expect(limiter.limit).toBeCloseTo(high)
  })
  it('measures anew when it has been stuck at its smallest five times in a row', () => {
    const limiter = envoyGradient(options)
    feed(limiter, 10, 0, 5)
    feed(limiter, 1_000, 200, 40, 100)
    expect(limiter.minRttMs).toBe(1_000)
  })
})

describe('failsafe-go style', () => {
  const window = (limiter: ReturnType<typeof failsafe>, rttMs: number, fromMs: number, inFlight: number): number => {
    for (let i = 0; i < 60; i++) limiter.update(sample(rttMs, { nowMs: fromMs + i * 20, inFlight }))
    return fromMs + 1_200
  }
  it('updates once a window has a second and fifty samples', () => {
    const limiter = failsafe({ initial: 20 })
    for (let i = 0; i < 49; i++) limiter.update(sample(100, { nowMs: i * 100, inFlight: 20 }))
    expect(limiter.limit).toBe(20)
    limiter.update(sample(100, { nowMs: 4_900, inFlight: 20 }))
    expect(limiter.limit).toBeCloseTo(20 + Math.log10(20))
  })
  it('cuts when more in flight gets less done and takes longer', () => {
    const limiter = failsafe({ initial: 40 })
    let now = 0
    for (let i = 0; i < 8; i++) {
      const inFlight = 40 + i * 2
      const rtt = 100 + i * 8
      for (let k = 0; k < 60; k++) limiter.update(sample(rtt, { nowMs: now + k * (20 + i), inFlight }))
      now += 60 * (20 + i) + 1
    }
    expect(limiter.limit).toBeLessThan(40 + 2 * Math.log10(40))
  })
  it('drifts: a long incident becomes its baseline, and the limit grows again (its published failure)', () => {
    const limiter = failsafe({ initial: 40 })
    let now = window(limiter, 100, 0, 40)
    now = window(limiter, 400, now, 40)
    const cut = limiter.limit
    for (let i = 0; i < 60; i++) now = window(limiter, 400, now, 40)
    expect(limiter.baselineMs).toBeCloseTo(400, 0)
    expect(limiter.limit).toBeGreaterThan(cut)
  })
  it('rejects nobody below twice the limit queued, everybody from three times on', () => {
    expect([0, 40, 50, 60, 100].map((queued) => rejectionShare(queued, 20))).toEqual([0, 0, 0.5, 1, 1])
  })
  it('correlates', () => {
    expect(correlation([1, 2, 3, 4], [2, 4, 6, 8])).toBeCloseTo(1)
    expect(correlation([1, 2, 3, 4], [4, 3, 2, 1])).toBeCloseTo(-1)
    expect(correlation([1, 1, 1], [1, 2, 3])).toBe(0)
  })
})
