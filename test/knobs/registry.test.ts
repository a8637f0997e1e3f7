import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clampMove } from '../../src/knobs/knob.ts'
import { knob } from '../../src/knobs/knob-spec.ts'
import { KnobRegistry } from '../../src/knobs/registry.ts'
import { manualClock } from '../support/manual-clock.ts'

const limit = knob({ name: 'test.limit', default: 8, min: 1, max: 100, integer: true, unit: '{call}', doc: 'x', scope: ['backend'], maxInstances: 2, maxUp: 1.5, maxDown: 0.5, cooldownMs: 1_000, safeDirection: 'down' })
const at = (backend: string) => ({ backend })

function registry(options: Partial<ConstructorParameters<typeof KnobRegistry>[0]> = {}) {
  const clock = manualClock()
  const knobs = new KnobRegistry({ clock, ...options })
  knobs.declare(limit)
  return { clock, knobs }
}

describe('knob declarations', () => {
  it.each([
    [{ name: 'Bad' }, /expected a name/],
    [{ default: 200 }, /outside 1..100/],
    [{ min: 5, max: 1 }, /above max/],
    [{ maxUp: 1 }, /maxUp/],
    [{ maxDown: 1 }, /maxDown/],
  ])('refuses %j', (change, message) => expect(() => knob({ ...limit, ...change })).toThrow(message))
})

describe('knob values are layers', () => {
  it('effective = pin ?? experiment ?? fallback ?? controller ?? start', () => {
    const { knobs } = registry()
    const cell = knobs.get('test.limit').for(at('a'))
    knobs.move('test.limit', at('a'), 10)
    expect([cell.value, cell.layer]).toEqual([10, 'controller'])
    expect(knobs.setFallback('test.limit', at('a'), 4)).toBe(true)
    knobs.setExperiment('test.limit', at('a'), 20)
    knobs.pin('test.limit', at('a'), 50)
    expect([cell.value, cell.layer]).toEqual([50, 'pin'])
    knobs.unpin('test.limit', at('a'))
    expect([cell.value, cell.layer]).toEqual([20, 'experiment'])
    knobs.setExperiment('test.limit', at('a'), undefined)
    expect([cell.value, cell.layer]).toEqual([4, 'fallback'])
    knobs.setFallback('test.limit', at('a'), undefined)
    expect([cell.value, cell.layer]).toEqual([10, 'controller'])
  })

  it('lets the fallback move only in the safe direction', () => {
    const { knobs } = registry()
    expect(knobs.setFallback('test.limit', at('a'), 20)).toBe(false)
    expect(knobs.get('test.limit').for(at('a')).value).toBe(8)
  })

  it('takes start values from the environment, then config, by scope too; a bad one is named', () => {
    const { knobs } = registry({ values: { 'test.limit': 20, 'test.limit{backend=b}': 30 } })
    expect(knobs.get('test.limit').for(at('a')).value).toBe(20)
    expect(knobs.get('test.limit').for(at('b')).value).toBe(30)
    expect(registry({ env: { FLYBALL_TEST_LIMIT: '40' }, values: { 'test.limit': 20 } }).knobs.get('test.limit').for(at('a')).value).toBe(40)
    expect(() => registry({ env: { FLYBALL_TEST_LIMIT: 'many' } })).toThrow('FLYBALL_TEST_LIMIT: expected a whole number in 1..100 ({call}), got many')
    expect(registry({ values: { 'no.such': 1 } }).knobs.unknownValues()).toEqual(['no.such'])
  })

  it('shares one instance past the cap', () => {
    const { knobs } = registry()
    const declared = knobs.get('test.limit')
    declared.for(at('a'))
    declared.for(at('b'))
    expect(declared.for(at('c'))).toBe(declared.for(at('d')))
    expect(declared.for(at('c')).key).toBe('backend=_other')
  })

  it('a pin ends by itself, and a value outside the bounds is refused', async () => {
    const { clock, knobs } = registry()
    knobs.pin('test.limit', at('a'), 3, 500)
    await clock.advance(499)
    expect(knobs.get('test.limit').for(at('a')).value).toBe(3)
    await clock.advance(1)
    expect(knobs.get('test.limit').for(at('a')).value).toBe(8)
    expect(() => knobs.pin('test.limit', at('a'), 0)).toThrow('expected a whole number in 1..100, got 0')
  })

  it('refuses two controllers on one knob, and a controller on an untunable one', () => {
    const { knobs } = registry()
    knobs.declare(knob({ ...limit, name: 'test.fixed', tunable: false }))
    knobs.claim('test.limit', 'one')
    expect(() => knobs.claim('test.limit', 'two')).toThrow('controllers one and two both turn test.limit')
    expect(() => knobs.claim('test.fixed', 'one')).toThrow('not tunable')
  })
})

describe('a controller’s move', () => {
  it('waits for the cooldown, except in the safe direction', async () => {
    const { clock, knobs } = registry()
    expect(knobs.move('test.limit', at('a'), 10)).toMatchObject({ moved: true, value: 10 })
    expect(knobs.move('test.limit', at('a'), 12)).toMatchObject({ moved: false, refused: 'cooldown' })
    expect(knobs.move('test.limit', at('a'), 6)).toMatchObject({ moved: true, value: 6 })
    await clock.advance(1_000)
    expect(knobs.move('test.limit', at('a'), 100)).toMatchObject({ moved: true, value: 9, bound: 'max_up' })
  })

  it('dry: says what it would do and does nothing', () => {
    const { knobs } = registry()
    expect(knobs.move('test.limit', at('a'), 10, { dry: true })).toMatchObject({ moved: true, value: 10 })
    expect(knobs.get('test.limit').for(at('a')).value).toBe(8)
  })

  it('stays in bounds and within maxUp and maxDown for any wish', () => {
    fc.assert(
      fc.property(
        fc.record({ min: fc.double({ min: 0, max: 10, noNaN: true }), span: fc.double({ min: 0, max: 1e6, noNaN: true }), at: fc.double({ min: 0, max: 1, noNaN: true }), integer: fc.boolean(), maxUp: fc.double({ min: 1.01, max: 4, noNaN: true }), maxDown: fc.double({ min: 0, max: 0.99, noNaN: true }) }),
        fc.oneof(fc.double(), fc.constantFrom(0, -1, Infinity, -Infinity)),
        ({ min, span, at: share, integer, maxUp, maxDown }, wish) => {
          const round = (value: number): number => (integer ? Math.round(value) : value)
          const low = round(min)
          const high = Math.max(low, round(min + span))
          const spec = knob({ name: 'p.k', default: low, min: low, max: high, integer, unit: '1', doc: '', maxUp, maxDown })
          const from = Math.min(high, round(low + share * (high - low)))
          fc.pre(!Number.isNaN(wish))
          const { value } = clampMove(spec, from, wish)
          expect(value).toBeGreaterThanOrEqual(low)
          expect(value).toBeLessThanOrEqual(high)
          expect(value).toBeLessThanOrEqual(Math.max(from * maxUp, from + spec.minStep) + 1e-9)
          expect(value).toBeGreaterThanOrEqual(Math.min(from * maxDown, from - spec.minStep) - 1e-9)
          if (integer) expect(Number.isInteger(value)).toBe(true)
        },
      ),
      { numRuns: 2_000 },
    )
  })

  it('ignores a wish that is not a number', () => {
    const { knobs } = registry()
    expect(knobs.move('test.limit', at('a'), Number.NaN)).toMatchObject({ moved: false, refused: 'not_a_number' })
  })
})
