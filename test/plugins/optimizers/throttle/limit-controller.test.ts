import { describe, expect, it } from 'vitest'
import type { Controller, ControllerInput, Sample, SloClass } from '../../../../src/index.ts'
import { knobs } from '../../../../plugins/optimizers/throttle/declares.ts'
import { limitController } from '../../../../plugins/optimizers/throttle/limit-controller.ts'
import { KnobRegistry } from '../../../../src/knobs/registry.ts'
import { controllerConformance } from '../../../conformance/controller.ts'
import { virtualClock } from '../../../support/virtual-clock.ts'

controllerConformance(limitController as Controller, { knobs: [knobs.limit] })

interface Plant {
  /** ms per token with this many in flight. */
  itl: (inFlight: number) => number
  tokens?: number
  slo?: SloClass | undefined
  slots?: number
  /** Most that demand would put in flight. */
  demand?: number
  /** Multiplies every duration. */
  scale?: number
  /** Share of calls that are turned away. */
  rejects?: (inFlight: number) => number
  noise?: number
  seed?: number
  perWindow?: number
  start?: number
}

const itlSlo = (itlMs: number): SloClass => ({ name: 'x', priority: 0, itlMs, quantile: 0.95 })

/** Plain numbers: what a backend with this latency curve shows its controller, a window at a time. */
function drive(initial: Plant) {
  let plant = initial
  const clock = virtualClock({ seed: initial.seed ?? 1 })
  const registry = new KnobRegistry({ clock, values: { [knobs.limit.name]: initial.start ?? knobs.limit.default } })
  registry.declare(knobs.limit)
  const scope = { backend: 'b' }
  let state = limitController.init()
  let nowMs = 1_000
  const limits: number[] = []
  const reasons: string[] = []
  const limit = (): number => registry.get(knobs.limit.name).for(scope).value
  return {
    limit,
    limits,
    reasons,
    set(change: Partial<Plant>) {
      plant = { ...plant, ...change }
      return this
    },
    windows(count: number) {
      for (let i = 0; i < count; i++) {
        const scale = plant.scale ?? 1
        const inFlight = Math.max(1, Math.floor(Math.min(limit(), plant.slots ?? 1_000, plant.demand ?? 1_000)))
        const tokens = plant.tokens ?? 100
        const n = plant.perWindow ?? 25
        const work: Sample[] = []
        const service: Sample[] = []
        const rejects: Sample[] = []
        const rejected = Math.round((plant.rejects?.(inFlight) ?? 0) * n)
        const roundMs = plant.itl(inFlight) * tokens * scale
        // All that are in flight take one round trip; n calls end in n/inFlight of them.
        const windowMs = (roundMs * n) / inFlight
        for (let j = 0; j < n; j++) {
          const atMs = nowMs + (windowMs * (j + 1)) / n
          const y = plant.itl(inFlight) * scale * (1 + (plant.noise ?? 0) * (clock.random() - 0.5))
          if (j < rejected) rejects.push({ y: 1, x: y * tokens, atMs })
          else {
            rejects.push({ y: 0, x: y * tokens, atMs })
            work.push({ y, x: tokens, atMs })
            service.push({ y: y * tokens, x: 0, atMs })
          }
        }
        nowMs += Math.max(windowMs, roundMs)
        const reading = (points: Sample[]) => ({ status: 'fresh' as const, samples: points.length, ageMs: 0, points })
        const slo = plant.slo && { ...plant.slo, ...(plant.slo.itlMs === undefined ? {} : { itlMs: plant.slo.itlMs * scale }), ...(plant.slo.e2eMs === undefined ? {} : { e2eMs: plant.slo.e2eMs * scale }) }
        const input: ControllerInput = {
          nowMs,
          scope,
          slo,
          readings: { rejects: reading(rejects), work: reading(work), service: reading(service), ttft: reading([]), inFlight: reading(work.map(({ atMs }) => ({ y: inFlight, x: 0, atMs }))), offered: { status: 'fresh', samples: 1, ageMs: 0, value: 1 } },
          knobs: { [knobs.limit.name]: registry.controllerView(knobs.limit.name, scope) },
          facts: { slots: plant.slots ?? 1_000, maxBatch: 1 },
          mayProbe: true,
        }
        const decision = limitController.decide(state, input)
        state = decision.state
        for (const move of decision.moves) registry.move(move.knob, scope, move.to, { ignoreCooldown: true })
        limits.push(limit())
        reasons.push(decision.why.reason)
      }
      return this
    },
  }
}

/** 10 ms alone, 40 ms at 61. */
const linear = (inFlight: number): number => 10 + (inFlight - 1) * 0.5

describe('limit controller', () => {
  it('finds the limit that the SLO allows, and holds it', () => {
    const run = drive({ itl: linear, slo: itlSlo(40) }).windows(60)
    // 0.97 · 40 = 38.8 ms at 58.6; the dead band ends at 37.6 ms, 56.
    expect(run.limit()).toBeGreaterThan(52)
    expect(run.limit()).toBeLessThan(62)
    expect(new Set(run.limits.slice(-20)).size).toBe(1)
  })

  it('gives the same limit for answers of any length (±5%)', () => {
    const base = drive({ itl: linear, slo: itlSlo(40) }).windows(60).limit()
    for (const tokens of [10, 1_000, 4_000]) expect(Math.abs(drive({ itl: linear, slo: itlSlo(40), tokens }).windows(60).limit() / base - 1)).toBeLessThan(0.05)
  })

  it('decides the same when every duration is scaled', () => {
    const base = drive({ itl: linear, slo: itlSlo(40), noise: 0.2 }).windows(60).limits
    for (const scale of [0.01, 3, 50]) {
      const scaled = drive({ itl: linear, slo: itlSlo(40), noise: 0.2, scale }).windows(60).limits
      scaled.forEach((limit, i) => expect(limit).toBeCloseTo(base[i] as number, 6))
    }
  })

  it('does not drift in an hour of constant overload, with noise', () => {
    const run = drive({ itl: linear, slo: itlSlo(40), noise: 0.1 }).windows(2_000)
    const settled = run.limits.slice(100)
    expect(Math.max(...settled) / Math.min(...settled)).toBeLessThan(1.25)
    expect(Math.max(...settled.map((limit) => linear(Math.floor(limit))))).toBeLessThan(40)
  })

  it('never grows while demand, not the limit, is what is in flight; and then never shrinks either', () => {
    const run = drive({ itl: linear, slo: itlSlo(40), demand: 8 }).windows(200)
    expect(new Set(run.limits)).toEqual(new Set([knobs.limit.default]))
    expect(run.reasons).toContain('app_limited')
  })

  it('cuts fast when the backend slows down, from what is in flight, and recovers', () => {
    const run = drive({ itl: linear, slo: itlSlo(40) }).windows(60)
    const before = run.limit()
    run.set({ itl: (n) => 3 * linear(n) }).windows(20)
    expect(3 * linear(Math.floor(run.limit()))).toBeLessThan(40 * 1.1)
    run.set({ itl: linear }).windows(40)
    expect(run.limit()).toBeGreaterThan(before * 0.9)
  })

  it('goes to its floor when everything times out, and comes back (no latch-up)', () => {
    const run = drive({ itl: linear, slo: itlSlo(40), rejects: () => 1 }).windows(30)
    expect(run.limit()).toBe(1)
    run.set({ rejects: () => 0 }).windows(80)
    expect(run.limit()).toBeGreaterThan(50)
  })

  it('cuts by 0.7 for rejects, once a round trip however many there are', () => {
    const run = drive({ itl: linear, slo: itlSlo(400) }).windows(1)
    const before = run.limit()
    run.set({ rejects: () => 0.5 }).windows(1)
    expect(run.limit()).toBeCloseTo(Math.min(before, 32) * 0.7, 5)
  })

  it('meets a whole-call target as well', () => {
    const run = drive({ itl: linear, slo: { name: 'x', priority: 0, e2eMs: 4_000, quantile: 0.95 } }).windows(60)
    const serviceMs = linear(Math.floor(run.limit())) * 100
    expect(serviceMs).toBeLessThan(4_000 * 0.85)
    expect(serviceMs).toBeGreaterThan(4_000 * 0.7)
  })

  describe('without a latency target', () => {
    const none: SloClass = { name: 'interactive', priority: 0, startMs: 500, quantile: 0.95 }
    /** Throughput grows up to 40 in flight, then only latency does. */
    const knee = (inFlight: number): number => (inFlight <= 40 ? 10 : (10 * inFlight) / 40)

    it('finds the knee, from below and from above, and stays near it', () => {
      for (const plant of [{ start: 8 }, { start: 32 }, { start: 150 }]) {
        const run = drive({ itl: knee, slo: none, noise: 0.05, ...plant }).windows(300)
        const settled = run.limits.slice(120)
        const throughput = settled.map((limit) => Math.floor(limit) / knee(Math.floor(limit)))
        expect(Math.min(...throughput) / (40 / 10)).toBeGreaterThan(0.85)
        expect(Math.max(...settled.map((limit) => knee(Math.floor(limit))))).toBeLessThan(20)
        const moves = settled.filter((limit, i) => i > 0 && limit !== settled[i - 1]).length
        expect(moves / settled.length).toBeLessThan(0.35)
      }
    })

    it('grows as long as that brings more done, on a backend that batches continuously', () => {
      const run = drive({ itl: linear, slo: none, noise: 0.05 }).windows(200)
      const rate = (inFlight: number): number => inFlight / linear(inFlight)
      expect(rate(Math.floor(run.limit()))).toBeGreaterThan(0.55 * rate(1_000))
    })

    it('does not let latency drift past its multiple of the uncongested one', () => {
      const run = drive({ itl: linear, slo: none, noise: 0.05 }).windows(1_000)
      expect(linear(Math.floor(Math.max(...run.limits.slice(200))))).toBeLessThan(5 * linear(1) * 1.3 * 3)
    })

    it('is not strangled for ever by a backend that has become slower for good', () => {
      const run = drive({ itl: knee, slo: none }).windows(100)
      run.set({ itl: (n) => 8 * knee(n) }).windows(300)
      expect(run.limit()).toBeGreaterThan(25)
    })

    it('never exceeds what the backend has slots for', () => {
      expect(Math.max(...drive({ itl: () => 10, slo: none, slots: 40 }).windows(100).limits)).toBeLessThanOrEqual(40)
    })
  })
})
