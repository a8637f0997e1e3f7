import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EMPTY_CURVE, isotonic, joinSavingMs, learn, restoreCurve, viewOf, type CostCurve } from '../../../../plugins/optimizers/batching/cost-curve.ts'

const taught = (samples: readonly (readonly [number, number])[]): CostCurve => samples.reduce((curve, [work, ms]) => learn(curve, work, ms), EMPTY_CURVE)
const sweep = (t: (work: number) => number, rounds = 20): CostCurve => taught(Array.from({ length: rounds }, () => [1, 2, 4, 8, 16, 32]).flat().map((work) => [work, t(work)] as const))

describe('cost curve', () => {
  it('is monotone in work for any samples, p95 never below p50', () => {
    const sample = fc.tuple(fc.integer({ min: 1, max: 500 }), fc.double({ min: 0.01, max: 1_000, noNaN: true }))
    fc.assert(
      fc.property(fc.array(sample, { minLength: 1, maxLength: 100 }), (samples) => {
        const view = viewOf(taught(samples))
        let last = { p50: 0, p95: 0 }
        for (let work = 1; work < 800; work += 7) {
          const now = { p50: view.p50(work), p95: view.p95(work) }
          const orderly = now.p50 >= last.p50 * (1 - 1e-9) && now.p95 >= last.p95 * (1 - 1e-9) && now.p95 >= now.p50 * (1 - 1e-9)
          if (!orderly) expect.fail(`at ${work}: ${JSON.stringify({ now, last })}`)
          last = now
        }
      }),
    )
  })

  it('is the least-squares monotone fit (brute force on three points)', () => {
    expect(isotonic([3, 1, 2], [1, 1, 1])).toEqual([2, 2, 2])
    expect(isotonic([1, 3, 2], [1, 1, 3])).toEqual([1, 2.25, 2.25])
    expect(isotonic([1, 2, 3], [1, 1, 1])).toEqual([1, 2, 3])
  })

  it('learns an affine cost within a few percent, and what joining saves', () => {
    const view = viewOf(sweep((work) => 20 + 3 * work))
    for (const work of [1, 3, 8, 20, 32]) expect(Math.abs(view.p50(work) / (20 + 3 * work) - 1)).toBeLessThan(0.05)
    expect(joinSavingMs(view, 4, 1)).toBeCloseTo(20, 0)
    expect(joinSavingMs(viewOf(sweep((work) => 5 * work)), 4, 1)).toBeCloseTo(0, 0)
  })

  it('says nothing about savings from one size alone', () => {
    const view = viewOf(taught(Array.from({ length: 50 }, () => [1, 40] as const)))
    expect(joinSavingMs(view, 1, 1)).toBe(0)
  })

  it('follows a slowdown within three batches at sizes it did not see, and back', () => {
    let curve = sweep((work) => 20 + 3 * work)
    for (let i = 0; i < 3; i++) curve = learn(curve, 4, 3 * 32)
    expect(viewOf(curve).p50(32) / (3 * 116)).toBeGreaterThan(0.85)
    expect(viewOf(curve).p50(32) / (3 * 116)).toBeLessThan(1.15)
    for (let i = 0; i < 5; i++) curve = learn(curve, 4, 32)
    expect(viewOf(curve).p50(32) / 116).toBeLessThan(1.15)
  })

  it('forgets sizes that have not been seen for long', () => {
    let curve = sweep((work) => (work > 8 ? 1_000 : 10))
    expect(viewOf(curve).seenWork).toBe(32)
    for (let i = 0; i < 500; i++) curve = learn(curve, 4, 10)
    expect(viewOf(curve).seenWork).toBe(4)
  })

  it('ignores what is not a measurement, and a saved state that does not fit', () => {
    for (const [work, ms] of [[0, 1], [1, 0], [-1, 5], [Number.NaN, 1], [1, Number.POSITIVE_INFINITY]] as const) expect(learn(EMPTY_CURVE, work, ms)).toBe(EMPTY_CURVE)
    const curve = sweep((work) => work)
    expect(restoreCurve(structuredClone(curve))).toEqual(curve)
    expect(restoreCurve({ ...curve, speed: -1 })).toBe(EMPTY_CURVE)
    expect(restoreCurve({ ...curve, buckets: [{ octave: 0, works: [1], times: [Number.NaN], lastSeq: 0 }] })).toBe(EMPTY_CURVE)
  })
})
