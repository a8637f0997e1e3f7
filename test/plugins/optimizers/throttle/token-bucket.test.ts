import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TokenBucket, type Charge } from '../../../../plugins/optimizers/throttle/token-bucket.ts'

/** A provider's bucket: full at first, refilled at the limit, refunds what was reserved and not used when a call ends. */
class Provider {
  level: number
  readonly capacity: number
  readonly perMs: number
  atMs = 0

  constructor(perMinute: number, burstShare: number) {
    this.capacity = this.level = perMinute * burstShare
    this.perMs = perMinute / 60_000
  }

  to(nowMs: number): void {
    this.level = Math.min(this.capacity, this.level + this.perMs * (nowMs - this.atMs))
    this.atMs = nowMs
  }

  take(amount: number): boolean {
    if (this.level < amount) return false
    this.level -= amount
    return true
  }

  refund(amount: number): void {
    this.level = Math.min(this.capacity, this.level + amount)
  }
}

const step = fc.record({
  afterMs: fc.integer({ min: 0, max: 4_000 }),
  reserve: fc.integer({ min: 1, max: 40 }),
  usedShare: fc.double({ min: 0, max: 1, noNaN: true }),
  /** Which of the calls under way ends; its headers are made when it was let in, or when it ends. */
  ends: fc.option(fc.record({ which: fc.nat(100), atEnd: fc.boolean() })),
})

describe('token bucket', () => {
  it('is never above the provider’s truth, whatever ends in whatever order, and never has a call turned away', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 120 }), fc.double({ min: 0.1, max: 1, noNaN: true }), (steps, burstShare) => {
        const provider = new Provider(600, burstShare)
        const ours = new TokenBucket(600)
        const open: { charge: Charge; reserve: number; used: number; remainingAtStart: number }[] = []
        let now = 0
        for (const { afterMs, reserve, usedShare, ends } of steps) {
          now += afterMs
          provider.to(now)
          if (ours.waitMs(reserve, now) === 0) {
            const larger = reserve > ours.capacity
            const charge = ours.charge(reserve, now)
            if (!provider.take(reserve)) {
              expect(larger).toBe(true)
              ours.correct(charge, 0, now)
            } else open.push({ charge, reserve, used: Math.floor(reserve * usedShare), remainingAtStart: Math.floor(provider.level) })
          }
          if (ends && open.length > 0) {
            const [call] = open.splice(ends.which % open.length, 1)
            if (!call) continue
            provider.refund(call.reserve - call.used)
            ours.reconcile({ limit: 600, remaining: ends.atEnd ? Math.floor(provider.level) : call.remainingAtStart }, call.charge, now)
            ours.correct(call.charge, call.used, now)
          }
          expect(ours.level(now)).toBeLessThanOrEqual(provider.level + 1e-6)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('sends nearly all that the provider grants, from its headers alone', () => {
    const provider = new Provider(600, 1 / 6)
    const ours = new TokenBucket(undefined)
    let sent = 0
    for (let now = 0; now <= 600_000; now += 10) {
      provider.to(now)
      if (ours.waitMs(1, now) > 0) continue
      const charge = ours.charge(1, now)
      expect(provider.take(1)).toBe(true)
      ours.reconcile({ limit: 600, remaining: Math.floor(provider.level) }, charge, now)
      sent++
    }
    expect(sent).toBeGreaterThan(0.98 * 6_000)
  })

  it('without a word from the provider never lets any minute hold more than the limit, and wastes little', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ afterMs: fc.integer({ min: 0, max: 9_000 }), amount: fc.integer({ min: 1, max: 10 }) }), { minLength: 1, maxLength: 80 }), (steps) => {
        const bucket = new TokenBucket(100)
        const sent: { atMs: number; amount: number }[] = []
        let now = 12_345
        for (const { afterMs, amount } of steps) {
          now += afterMs
          for (let wait = bucket.waitMs(amount, now); wait > 0; wait = bucket.waitMs(amount, now)) now += wait
          const inMinute = sent.filter(({ atMs }) => now - atMs < 60_000).reduce((sum, one) => sum + one.amount, 0)
          expect(inMinute + amount).toBeLessThanOrEqual(100 + 1e-6)
          bucket.charge(amount, now)
          sent.push({ atMs: now, amount })
        }
      }),
    )
    const busy = new TokenBucket(100)
    let sent = 0
    for (let now = 0; now < 600_000; now += 50) {
      if (busy.waitMs(1, now) > 0) continue
      busy.charge(1, now)
      sent++
    }
    expect(sent).toBeGreaterThan(0.88 * 1_000)
  })

  it('gives back what was reserved and not used, once, and charges what was used beyond', () => {
    const bucket = new TokenBucket(10_000)
    const charge = bucket.charge(400, 1_000)
    expect(bucket.level(1_000)).toBe(600)
    bucket.correct(charge, 100, 1_000)
    bucket.correct(charge, 100, 1_000)
    expect(bucket.level(1_000)).toBe(900)
    bucket.correct(charge, 1_200, 1_000)
    expect(bucket.level(1_000)).toBe(-200)
    expect(bucket.level(60_000)).toBe(1_000)
  })

  it('counts what was sent after the call that brought the news as not in it; older news is left', () => {
    const bucket = new TokenBucket(1_000)
    const [first, , late] = [bucket.charge(10, 1_000), bucket.charge(20, 1_000), bucket.charge(30, 1_000)]
    bucket.reconcile({ limit: 1_000, remaining: 500 }, first, 1_000)
    expect(bucket.level(1_000)).toBe(450)
    bucket.reconcile({ remaining: 90 }, late, 1_000)
    expect(bucket.level(1_000)).toBe(90)
    bucket.reconcile({ remaining: 400 }, first, 1_000)
    expect(bucket.level(1_000)).toBe(90)
  })

  it('follows a quota that is cut, and one that comes back', () => {
    const bucket = new TokenBucket(6_000)
    const told = (limit: number, remaining: number, now: number): void => bucket.reconcile({ limit, remaining }, bucket.charge(1, now), now)
    told(6_000, 1_000, 0)
    told(3_000, 40, 1_000)
    expect([bucket.limit, bucket.capacity, bucket.level(1_000), bucket.level(2_000), bucket.level(60_000)]).toEqual([3_000, 500, 40, 90, 500])
    told(6_000, 800, 61_000)
    expect([bucket.limit, bucket.capacity, bucket.level(61_000)]).toEqual([6_000, 800, 800])
  })

  it('takes up a limit that the provider states, never above the configured one, and ignores nonsense', () => {
    const open = new TokenBucket(undefined)
    expect(open.waitMs(1e9, 0)).toBe(0)
    open.reconcile({ limit: 60, remaining: 59.9 }, open.charge(1, 1_000), 1_000)
    expect([open.limit, open.level(1_000)]).toEqual([60, 59])
    const configured = new TokenBucket(50)
    configured.reconcile({ limit: 600 }, configured.charge(0, 1_000), 1_000)
    expect(configured.limit).toBe(50)
    const before = [configured.limit, configured.capacity, configured.level(2_000)]
    for (const bad of [{ limit: -1 }, { limit: Number.NaN }, { remaining: -5 }, { remaining: Number.NaN }, { limit: 0 }, { remaining: Number.POSITIVE_INFINITY }]) configured.reconcile(bad, configured.charge(0, 2_000), 2_000)
    expect([configured.limit, configured.capacity, configured.level(2_000)]).toEqual(before)
    // Nobody else's bucket: more than the whole limit cannot remain.
    configured.reconcile({ remaining: 5_000 }, configured.charge(0, 2_000), 2_000)
    expect(configured.level(2_000)).toBe(50)
  })

  it('lets a call that is larger than the whole bucket go when it is full', () => {
    const bucket = new TokenBucket(100)
    expect(bucket.waitMs(500, 0)).toBe(0)
    bucket.charge(500, 0)
    expect(bucket.waitMs(1, 10)).toBeGreaterThan(300_000)
  })

  it('says how long those ahead take', () => {
    const bucket = new TokenBucket(6_000)
    bucket.reconcile({ limit: 6_000, remaining: 100 }, bucket.charge(0, 0), 0)
    expect(bucket.waitMs(1, 0, 99)).toBe(0)
    expect(bucket.waitMs(1, 0, 199)).toBeCloseTo(1_000)
  })
})
