import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ReturnTimes } from '../../../../plugins/optimizers/throttle/return-times.ts'
import { seededRandom } from '../../../../src/sim/seeded-random.ts'

describe('return times', () => {
  it('never brings more back than there is room for, until the line is longer than anybody waits', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 100, max: 2_000 }), fc.array(fc.integer({ min: 0, max: 300 }), { minLength: 10, maxLength: 80 }), (everyMs, waitMs, gaps) => {
        const times = new ReturnTimes(() => 0)
        let nowMs = 1_000
        const backs = gaps.map((gap) => (nowMs += gap) + times.next('a', waitMs, everyMs, nowMs))
        for (let i = 1; i < backs.length; i++) {
          if ((backs[i] as number) > 40_000) break
          expect((backs[i] as number) - (backs[i - 1] as number)).toBeGreaterThanOrEqual(everyMs - 1)
        }
      }),
    )
  })

  it('stays below what clients honour, and spreads a line that is longer over all of that', () => {
    const times = new ReturnTimes(seededRandom(1))
    const backs = Array.from({ length: 5_000 }, () => times.next('a', 500, 100, 0))
    expect(Math.max(...backs)).toBeLessThan(60_000)
    const late = backs.slice(1_000).sort((a, b) => a - b)
    expect(late[Math.floor(late.length / 4)]).toBeLessThan(25_000)
    expect(late[Math.floor((late.length * 3) / 4)]).toBeGreaterThan(35_000)
  })

  it('puts off a flood, not those beside it', () => {
    const times = new ReturnTimes(() => 0)
    for (let i = 0; i < 1_000; i++) times.next('flood', 500, 100, 0)
    expect(times.next('modest', 500, 100, 0)).toBeLessThan(2_000)
  })

  it('remembers a bounded number of lines, and forgets those that are through', () => {
    const times = new ReturnTimes(() => 0)
    for (let i = 0; i < 10_000; i++) times.next(`tenant ${i}`, 0, 1, i)
    expect(times.next('one more', 0, 1, 1e9)).toBe(50)
  })
})
