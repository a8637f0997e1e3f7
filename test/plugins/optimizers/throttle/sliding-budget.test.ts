import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SlidingBudget, type Charge } from '../../../../plugins/optimizers/throttle/sliding-budget.ts'

describe('sliding budget', () => {
  it('never lets a minute hold more than the limit, and waits no longer than about a second too long', () => {
    const step = fc.record({ afterMs: fc.integer({ min: 0, max: 9_000 }), amount: fc.integer({ min: 1, max: 40 }) })
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 80 }), (steps) => {
        const budget = new SlidingBudget(100)
        const sent: { atMs: number; amount: number }[] = []
        let now = 12_345
        for (const { afterMs, amount } of steps) {
          now += afterMs
          for (let wait = budget.waitMs(amount, now), turns = 0; wait > 0 && turns < 100; wait = budget.waitMs(amount, now), turns++) now += wait
          expect(budget.waitMs(amount, now)).toBe(0)
          const inMinute = sent.filter(({ atMs }) => now - atMs < 60_000).reduce((sum, one) => sum + one.amount, 0)
          expect(inMinute + amount).toBeLessThanOrEqual(100)
          budget.charge(amount, now)
          sent.push({ atMs: now, amount })
          // What was freed more than 61 s ago is free.
          const recent = sent.filter(({ atMs }) => now - atMs < 61_000).reduce((sum, one) => sum + one.amount, 0)
          expect(budget.available(now)).toBeGreaterThanOrEqual(100 - recent)
        }
      }),
    )
  })

  it('gives back what was reserved and not used, once, and charges what was used beyond', () => {
    const budget = new SlidingBudget(1_000)
    const charge: Charge = budget.charge(400, 1_000)
    budget.correct(charge, 100, 2_000)
    expect(budget.available(2_000)).toBe(900)
    budget.correct(charge, 100, 2_000)
    expect(budget.available(2_000)).toBe(900)
    budget.correct(charge, 250, 30_000)
    expect(budget.available(30_000)).toBe(750)
    expect(budget.available(62_000)).toBe(850)
    expect(budget.available(95_000)).toBe(1_000)
    budget.correct(charge, 0, 500_000)
    expect(budget.available(500_000)).toBe(1_000)
  })

  it('believes the provider when it counts more, never when it counts less', () => {
    const budget = new SlidingBudget(1_000)
    budget.charge(200, 1_000)
    budget.reconcile({ remaining: 100 }, 1_000, 1_500)
    expect(budget.available(1_500)).toBe(100)
    budget.reconcile({ remaining: 5_000 }, 1_600, 1_700)
    expect(budget.available(1_700)).toBe(800)
    budget.reconcile({ remaining: 50, resetMs: 5_000 }, 1_800, 2_000)
    expect(budget.available(2_000)).toBe(50)
    expect(budget.available(7_001)).toBe(800)
  })

  it('counts what was sent after the call that brought the news as not in it', () => {
    const budget = new SlidingBudget(1_000)
    budget.charge(100, 1_000)
    budget.charge(300, 3_000)
    budget.reconcile({ remaining: 500 }, 1_000, 4_000)
    expect(budget.available(4_000)).toBe(200)
    // Older news than what is known.
    budget.reconcile({ remaining: 10 }, 500, 4_500)
    expect(budget.available(4_500)).toBe(200)
  })

  it('takes up a limit that the provider states, never above the configured one, and ignores nonsense', () => {
    const open = new SlidingBudget(undefined)
    expect(open.waitMs(1e9, 0)).toBe(0)
    open.reconcile({ limit: 60, remaining: 59.9 }, 1_000, 1_000)
    expect(open.available(1_000)).toBe(59)
    const configured = new SlidingBudget(50)
    configured.reconcile({ limit: 600 }, 1_000, 1_000)
    expect(configured.limit).toBe(50)
    for (const bad of [{ limit: -1 }, { limit: Number.NaN }, { remaining: -5 }, { remaining: Number.NaN }, { limit: 0 }, { remaining: Number.POSITIVE_INFINITY }]) configured.reconcile(bad, 2_000, 2_000)
    expect([configured.limit, configured.available(2_000)]).toEqual([50, 50])
  })

  it('lets a call that is larger than the whole budget go when nothing else is used', () => {
    const budget = new SlidingBudget(100)
    expect(budget.waitMs(500, 0)).toBe(0)
    budget.charge(1, 0)
    expect(budget.waitMs(500, 10)).toBeGreaterThan(59_000)
  })
})
