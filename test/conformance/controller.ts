/**
 * What every controller must be: a pure function that never breaks the knobs it turns, whatever its signals say. A third
 * party runs it as `controllerConformance(mine, { knobs: [myKnob] })` inside a vitest file.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DEFAULT_CLASSES, REASONS, type Controller, type ControllerInput, type KnobSpec, type Reading, type SloClass } from '../../src/index.ts'
import { KnobRegistry } from '../../src/knobs/registry.ts'
import { virtualClock } from '../support/virtual-clock.ts'

export interface ControllerConformance {
  readonly knobs: readonly KnobSpec[]
  /** Facts that its host would give; varied by the suite. */
  readonly facts?: Readonly<Record<string, number>>
}

const SLOS: readonly (SloClass | undefined)[] = [
  undefined,
  ...DEFAULT_CLASSES,
  { name: 'itl', priority: 0, itlMs: 40, quantile: 0.9 },
  { name: 'e2e', priority: 0, e2eMs: 800, quantile: 0.99 },
]

/** Numbers as sensors give them, and as they should not. */
const wild = fc.oneof(
  fc.double({ min: 0, max: 5_000, noNaN: true }),
  fc.constantFrom(0, 1, 1e-9, 1e12, -5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
)

function readingOf(nowMs: number, points: boolean, raw: { value: number; points: { y: number; x: number; agoMs: number }[]; status: Reading['status'] }): Reading {
  return {
    status: raw.status,
    ...(Number.isNaN(raw.value) ? {} : { value: raw.value }),
    samples: raw.points.length,
    ageMs: raw.points.length === 0 ? Number.POSITIVE_INFINITY : 0,
    ...(points ? { points: raw.points.map(({ y, x, agoMs }) => ({ y, x, atMs: nowMs - agoMs })) } : {}),
  }
}

const rawReading = fc.record({
  value: wild,
  points: fc.array(fc.record({ y: wild, x: wild, agoMs: fc.integer({ min: 0, max: 2_000 }) }), { maxLength: 30 }),
  status: fc.constantFrom<Reading['status']>('fresh', 'fresh', 'fresh', 'idle', 'stale'),
})

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) deepFreeze(inner)
  }
  return value
}

export function controllerConformance(controller: Controller, options: ControllerConformance): void {
  const reads = Object.entries(controller.reads)
  const stepArbitrary = fc.record({
    afterMs: fc.integer({ min: 1, max: 20_000 }),
    raw: fc.tuple(...reads.map(() => rawReading)),
    slo: fc.constantFrom(...SLOS),
    mayProbe: fc.boolean(),
  })
  const factsArbitrary = fc.record({ slots: fc.integer({ min: 1, max: 64 }), maxBatch: fc.integer({ min: 1, max: 128 }), maxBatchWork: fc.option(fc.integer({ min: 1, max: 10_000 }), { nil: undefined }) })

  describe(`${controller.name} as a controller`, () => {
    it('declares itself well', () => {
      expect(controller.reads).toHaveProperty(controller.primary)
      expect(controller.turns.length).toBeGreaterThan(0)
      expect([...controller.turns].sort()).toEqual(options.knobs.map((spec) => spec.name).sort())
      expect(controller.every.minSamples).toBeGreaterThanOrEqual(1)
      for (const spec of options.knobs) expect(spec.tunable).toBe(true)
    })

    it('starts from any saved state, however broken', () => {
      for (const saved of [undefined, null, 7, 'x', [], {}, { curve: { buckets: [{}] } }, { version: -1 }, { samples: 'no' }]) {
        expect(() => structuredClone(controller.init(saved))).not.toThrow()
      }
    })

    it('is pure, keeps its state serialisable, and keeps every knob within its bounds and slew, for any samples', () => {
      fc.assert(
        fc.property(fc.array(stepArbitrary, { minLength: 1, maxLength: 25 }), factsArbitrary, (steps, rawFacts) => {
          const clock = virtualClock()
          const knobs = new KnobRegistry({ clock })
          for (const spec of options.knobs) knobs.declare(spec)
          const { maxBatchWork, ...rest } = rawFacts
          const facts = { ...rest, ...(maxBatchWork === undefined ? {} : { maxBatchWork }), ...options.facts }
          const scope = Object.fromEntries(controller.scope.map((key) => [key, 'one']))
          let state = deepFreeze(controller.init())
          let nowMs = clock.monoMs()
          for (const step of steps) {
            nowMs += step.afterMs
            const input: ControllerInput = deepFreeze({
              nowMs,
              scope,
              slo: step.slo,
              readings: Object.fromEntries(reads.map(([name, read], i) => [name, readingOf(nowMs, read.points ?? false, step.raw[i] as never)])),
              knobs: Object.fromEntries(controller.turns.map((name) => [name, structuredClone(knobs.controllerView(name, scope))])),
              facts,
              mayProbe: step.mayProbe,
            })
            const decision = controller.decide(state, input)
            // The same question again, from a state that went through a file, has the same answer.
            expect(controller.decide(structuredClone(state), structuredClone(input))).toEqual(decision)
            expect(controller.init(JSON.parse(JSON.stringify(decision.state)))).toBeDefined()
            expect(REASONS).toContain(decision.why.reason)
            for (const [name, value] of Object.entries(decision.why.numbers)) expect(Number.isFinite(value), `${name} is ${value}`).toBe(true)
            if (decision.predicted !== undefined) expect(Number.isFinite(decision.predicted)).toBe(true)
            if (decision.probe) expect(step.mayProbe).toBe(true)
            for (const wish of decision.moves) {
              expect(controller.turns).toContain(wish.knob)
              expect(Number.isFinite(wish.to), `${wish.knob} to ${wish.to}`).toBe(true)
              const { spec, value: from } = knobs.controllerView(wish.knob, scope)
              const { value: to } = knobs.move(wish.knob, scope, wish.to, { ignoreCooldown: true })
              expect(to).toBeGreaterThanOrEqual(spec.min)
              expect(to).toBeLessThanOrEqual(spec.max)
              expect(to).toBeLessThanOrEqual(Math.max(from * spec.maxUp, from + spec.minStep) + 1e-9)
              expect(to).toBeGreaterThanOrEqual(Math.min(from * spec.maxDown, from - spec.minStep) - 1e-9)
            }
            state = deepFreeze(decision.state)
          }
        }),
        { numRuns: 200 },
      )
    })
  })
}
