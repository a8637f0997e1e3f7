import { describe, expect, it } from 'vitest'
import type { Controller, ControllerInput, Sample, SloClass } from '../../../../src/index.ts'
import { batchController } from '../../../../plugins/optimizers/batching/batch-controller.ts'
import { knobs } from '../../../../plugins/optimizers/batching/declares.ts'
import { KnobRegistry } from '../../../../src/knobs/registry.ts'
import { controllerConformance } from '../../../conformance/controller.ts'
import { virtualClock } from '../../../support/virtual-clock.ts'

controllerConformance(batchController as Controller, { knobs: [knobs.maxBatch, knobs.maxDelayMs] })

/** Plain numbers: a backend with cost t(work) whose batches are as full as the knob (or the demand) allows. */
function drive(options: { t: (work: number) => number; slo: SloClass; slots?: number; maxBatch?: number; maxBatchWork?: number; demand?: number; scale?: number }) {
  const scale = options.scale ?? 1
  const clock = virtualClock()
  const registry = new KnobRegistry({ clock })
  registry.declare(knobs.maxBatch)
  registry.declare({ ...knobs.maxDelayMs, default: knobs.maxDelayMs.default * scale, max: knobs.maxDelayMs.max * scale })
  const scope = { backend: 'b' }
  const scaled: SloClass = { ...options.slo, ...(options.slo.e2eMs === undefined ? {} : { e2eMs: options.slo.e2eMs * scale }) }
  let state = batchController.init()
  let nowMs = 0
  const sizes: number[] = []
  return {
    registry,
    sizes,
    size: () => registry.get(knobs.maxBatch.name).for(scope).value,
    delay: () => registry.get(knobs.maxDelayMs.name).for(scope).value,
    windows(count: number, t = options.t, demand = options.demand ?? Number.POSITIVE_INFINITY) {
      for (let i = 0; i < count; i++) {
        const most = Math.min(registry.get(knobs.maxBatch.name).for(scope).value, options.maxBatch ?? 64, demand, options.maxBatchWork ?? Number.POSITIVE_INFINITY)
        const batches = Array.from({ length: 6 }, (_, j) => Math.max(1, j === 0 ? Math.ceil(most / 2) : most))
        const points: Sample[] = batches.map((size) => ({ x: size, y: t(size) * scale, atMs: (nowMs += t(size) * scale) }))
        const input: ControllerInput = {
          nowMs,
          scope,
          slo: scaled,
          readings: { batch: { status: 'fresh', samples: 6, ageMs: 0, points }, size: { status: 'fresh', value: batches.reduce((a, b) => a + b) / 6, samples: 6, ageMs: 0, points: batches.map((size) => ({ x: size, y: size, atMs: nowMs })) }, offered: { status: 'fresh', samples: 6, ageMs: 0, value: 1 } },
          knobs: Object.fromEntries([knobs.maxBatch.name, knobs.maxDelayMs.name].map((name) => [name, registry.controllerView(name, scope)])),
          facts: { slots: options.slots ?? 1, maxBatch: options.maxBatch ?? 64, ...(options.maxBatchWork === undefined ? {} : { maxBatchWork: options.maxBatchWork }) },
          mayProbe: true,
        }
        const decision = batchController.decide(state, input)
        state = decision.state
        for (const move of decision.moves) registry.move(move.knob, scope, move.to, { ignoreCooldown: true })
        sizes.push(registry.get(knobs.maxBatch.name).for(scope).value)
      }
      return this
    },
  }
}

const e2e = (ms: number): SloClass => ({ name: 'x', priority: 0, e2eMs: ms, quantile: 0.95 })
const affine = (work: number): number => 20 + 2 * work

describe('batch controller', () => {
  it('grows to the largest batch that leaves the target intact, and stays there', () => {
    // (20 + 2B)·2 ≤ 0.9·200 ⇒ B ≤ 35
    const run = drive({ t: affine, slo: e2e(200) }).windows(30)
    expect(run.size()).toBeGreaterThanOrEqual(28)
    expect(run.size()).toBeLessThanOrEqual(35)
    expect(new Set(run.sizes.slice(-10)).size).toBe(1)
  })

  it('does not grow while batches are not full', () => {
    const run = drive({ t: affine, slo: e2e(10_000), demand: 6 }).windows(20)
    expect(run.size()).toBe(knobs.maxBatch.default)
  })

  it('cuts at once when the backend slows down, and recovers when it does (no latch-up)', () => {
    const run = drive({ t: affine, slo: e2e(200) }).windows(30)
    const before = run.size()
    run.windows(6, (work) => 4 * affine(work))
    expect(4 * affine(run.size()) * 2).toBeLessThanOrEqual(200 * 1.15 + 4 * affine(1))
    run.windows(30)
    expect(run.size()).toBeGreaterThanOrEqual(before * 0.9)
  })

  it('does not shrink where shrinking cannot help: when even one call alone takes too long', () => {
    const run = drive({ t: affine, slo: e2e(200) }).windows(10, (work) => 50 * affine(work))
    expect(run.size()).toBeGreaterThanOrEqual(knobs.maxBatch.default)
    run.windows(40)
    expect(run.size()).toBeGreaterThanOrEqual(28)
  })

  it('comes back from the smallest size', () => {
    const run = drive({ t: affine, slo: e2e(200) })
    run.registry.move(knobs.maxBatch.name, { backend: 'b' }, 4)
    run.registry.move(knobs.maxBatch.name, { backend: 'b' }, 1)
    run.windows(60)
    expect(run.size()).toBeGreaterThanOrEqual(28)
  })

  it('does not take a size that was never filled for one past a cliff', () => {
    const run = drive({ t: affine, slo: e2e(10_000), demand: 1 }).windows(20)
    expect(run.size()).toBe(knobs.maxBatch.default)
  })

  it('keeps its size when a busy machine delays every run alike', () => {
    // The delay is not the batch's: half the size would take as long.
    const run = drive({ t: affine, slo: e2e(400) }).windows(30)
    const before = run.size()
    run.windows(10, (work) => 250 + affine(work))
    expect(run.size()).toBeGreaterThanOrEqual(before / 2)
  })

  it('steps back from a cliff', () => {
    const cliff = (work: number): number => (work > 24 ? 20 + 10 * work : 20 + 2 * work)
    const run = drive({ t: cliff, slo: e2e(100_000) }).windows(40)
    const perMs = (size: number): number => size / cliff(size)
    expect(perMs(run.size())).toBeGreaterThanOrEqual(0.9 * perMs(24))
  })

  it('never asks for more than memory holds', () => {
    const run = drive({ t: affine, slo: e2e(100_000), maxBatchWork: 10 }).windows(20)
    expect(run.size()).toBeLessThanOrEqual(10)
  })

  it('holds only where joining saves something and another slot may be busy', () => {
    expect(drive({ t: affine, slo: e2e(400), slots: 2 }).windows(30).delay()).toBeGreaterThan(2)
    expect(drive({ t: (work) => 5 * work, slo: e2e(4_000), slots: 2 }).windows(30).delay()).toBe(0)
    expect(drive({ t: affine, slo: e2e(400), slots: 1 }).windows(30).delay()).toBe(0)
  })

  it('decides the same when every duration is scaled', () => {
    const base = drive({ t: affine, slo: e2e(200) }).windows(30)
    for (const scale of [0.1, 7]) expect(drive({ t: affine, slo: e2e(200), scale }).windows(30).sizes).toEqual(base.sizes)
  })
})
