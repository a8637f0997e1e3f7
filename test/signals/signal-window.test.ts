import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { signal } from '../../src/signals/signal-spec.ts'
import { quantile } from '../../src/signals/signal-window.ts'
import { SignalRegistry } from '../../src/signals/registry.ts'
import { manualClock } from '../support/manual-clock.ts'

function window(change: Partial<Parameters<typeof signal>[0]> = {}) {
  const clock = manualClock()
  return { clock, window: new SignalRegistry(clock).declare(signal({ name: 's.x', unit: 'ms', doc: '', windowMs: 1_000, capacity: 4, staleAfterMs: 500, ...change })).for({}) }
}

describe('signal', () => {
  it('idle is not stale is not 0', async () => {
    const { clock, window: w } = window()
    expect(w.read()).toEqual({ status: 'idle', samples: 0, ageMs: Infinity })
    w.push(0)
    expect(w.read()).toMatchObject({ status: 'fresh', value: 0, samples: 1 })
    await clock.advance(10_000)
    expect(w.read().status).toBe('idle') // a quiet night
    w.demand()
    await clock.advance(501)
    expect(w.read().status).toBe('stale') // somebody asked, nothing came
    w.push(1)
    expect(w.read().status).toBe('fresh')
    w.fail()
    expect(w.read().status).toBe('stale') // the sensor broke
  })

  it('repeated demand does not postpone staleness', async () => {
    const { clock, window: w } = window()
    for (let i = 0; i < 6; i++) {
      w.demand()
      await clock.advance(100)
    }
    expect(w.read().status).toBe('stale')
  })

  it('keeps at most its capacity, newest', () => {
    const { window: w } = window({ aggregate: 'sum' })
    for (let i = 1; i <= 10; i++) w.push(i)
    expect(w.read()).toMatchObject({ samples: 4, value: 7 + 8 + 9 + 10 })
  })

  it('drops what is not a number', () => {
    const { window: w } = window()
    for (const bad of [Number.NaN, Infinity, -Infinity]) w.push(bad)
    w.push(1, Number.NaN)
    expect(w.read().samples).toBe(0)
  })

  it('hands over the samples since the last decision', () => {
    const { window: w } = window()
    w.push(1, 10)
    const seen = w.count
    w.push(2, 20)
    w.push(3, 30)
    expect(w.read({ points: true, since: seen }).points?.map((p) => [p.x, p.y])).toEqual([[20, 2], [30, 3]])
  })

  it('aggregates', () => {
    const { window: w } = window({ capacity: 100 })
    for (let i = 1; i <= 100; i++) w.push(i)
    expect(w.read({ aggregate: 'quantile', quantile: 0.95 }).value).toBe(95)
    expect(w.read({ aggregate: 'max' }).value).toBe(100)
    expect(w.read({ aggregate: 'last' }).value).toBe(100)
    expect(w.read({ aggregate: 'mean' }).value).toBe(50.5)
    expect(w.read({ aggregate: 'rate' }).value).toBe(5050)
    expect(quantile([], 0.5)).toBeNaN()
  })

  it('a quantile is what sorting would give', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { minLength: 1, maxLength: 200 }), fc.double({ min: 0, max: 1, noNaN: true }), (values, q) => {
        const sorted = [...values].sort((a, b) => a - b)
        expect(quantile(values, q)).toBe((sorted[Math.min(values.length - 1, Math.max(0, Math.ceil(q * values.length) - 1))] as number) + 0)
      }),
    )
    expect(quantile([2, 2, 2, 1, 2], 0.5)).toBe(2)
  })

  it('knows a rate that is higher than the ring can hold a window of', async () => {
    const { clock, window: w } = window({ aggregate: 'rate', windowMs: 30_000, capacity: 100 })
    for (let i = 0; i < 500; i++) {
      await clock.advance(2)
      w.push(1)
    }
    expect(w.read().value).toBeGreaterThan(490)
    expect(w.read().value).toBeLessThan(510)
  })
})
