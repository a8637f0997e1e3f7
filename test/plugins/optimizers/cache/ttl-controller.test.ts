import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Controller, ControllerInput, Sample } from '../../../../src/index.ts'
import { knobs } from '../../../../plugins/optimizers/cache/declares.ts'
import { estimateHazard, longestTtlS, staleShare } from '../../../../plugins/optimizers/cache/hazard.ts'
import { ttlController } from '../../../../plugins/optimizers/cache/ttl-controller.ts'
import { exponential, seededRandom } from '../../../../src/sim/seeded-random.ts'
import { KnobRegistry } from '../../../../src/knobs/registry.ts'
import { controllerConformance } from '../../../conformance/controller.ts'
import { virtualClock } from '../../../support/virtual-clock.ts'

controllerConformance(ttlController as Controller, { knobs: [knobs.ttlS] })

/** One key that is asked at Poisson times, changes at rate μ, and is fetched again when older than the TTL. */
function drive(options: { perS: number; askedPerS?: number; seed?: number; scale?: number; budget?: number; start?: number }) {
  const scale = options.scale ?? 1
  const random = seededRandom(options.seed ?? 1)
  const clock = virtualClock()
  const registry = new KnobRegistry({ clock, values: { [knobs.ttlS.name]: (options.start ?? knobs.ttlS.default) } })
  registry.declare({ ...knobs.ttlS, cooldownMs: 0 })
  const scope = { class: 'c' }
  const budget = options.budget ?? 0.02
  let perS = options.perS / scale
  const askedPerS = (options.askedPerS ?? 2) / scale
  let state = ttlController.init()
  let nowS = 0
  let version = 0
  let nextChangeS = exponential(random, 1 / perS)
  let cached = { version: 0, atS: 0 }
  let hits = 0
  let stale = 0
  const moves: number[] = []
  const ttl = (): number => registry.get(knobs.ttlS.name).for(scope).value
  const feed = (points: Sample[]): void => {
    const input: ControllerInput = {
      nowMs: nowS * 1_000,
      scope,
      slo: undefined,
      readings: { change: { status: 'fresh', samples: points.length, ageMs: 0, points }, budget: { status: 'fresh', samples: 1, ageMs: 0, value: budget } },
      knobs: { [knobs.ttlS.name]: registry.controllerView(knobs.ttlS.name, scope) },
      facts: {},
      mayProbe: true,
    }
    const decision = ttlController.decide(state, input)
    state = decision.state
    for (const move of decision.moves) {
      registry.move(move.knob, scope, move.to, { ignoreCooldown: true })
      moves.push(ttl())
    }
  }
  return {
    ttl,
    moves,
    get staleShare() {
      return stale / hits
    },
    get hits() {
      return hits
    },
    /** One-sided 95% upper bound of the share of stale hits. */
    get staleUpper() {
      return stale / hits + 1.645 * Math.sqrt(Math.max(stale, 1)) / hits
    },
    reset() {
      hits = 0
      stale = 0
      return this
    },
    rate(to: number) {
      perS = to / scale
      nextChangeS = nowS + exponential(random, 1 / perS)
      return this
    },
    asks(count: number, shadowRate = 0.01) {
      for (let i = 0; i < count; i++) {
        nowS += exponential(random, 1 / askedPerS)
        while (nextChangeS < nowS) {
          version++
          nextChangeS += exponential(random, 1 / perS)
        }
        const ageS = nowS - cached.atS
        const hit = ageS <= ttl()
        if (hit) {
          hits++
          if (cached.version !== version) stale++
        }
        if (!hit || random() < shadowRate) {
          feed([{ y: cached.version === version ? 0 : 1, x: ageS, atMs: nowS * 1_000 }])
          cached = { version, atS: nowS }
        }
      }
      return this
    },
    /** Observations alone: until the TTL is at most `below`; how many it took. */
    observationsUntil(below: number): number {
      for (let i = 1; i <= 500; i++) {
        const ageS = ttl()
        feed([{ y: random() < 1 - Math.exp(-perS * ageS) ? 1 : 0, x: ageS, atMs: nowS * 1_000 }])
        if (ttl() <= below) return i
      }
      return 501
    },
  }
}

describe('hazard', () => {
  it('finds the rate that made the samples, and bounds it in nine runs of ten', () => {
    let covered = 0
    let ratio = 0
    const runs = 300
    for (let seed = 1; seed <= runs; seed++) {
      const random = seededRandom(seed)
      const samples = Array.from({ length: 60 }, () => {
        const ageS = 1 + random() * 30
        return { ageS, count: 1, changed: random() < 1 - Math.exp(-0.02 * ageS) ? 1 : 0 }
      })
      const found = estimateHazard(samples)
      if (!found) throw new Error('no estimate')
      ratio += found.perS / 0.02 / runs
      if (found.upperPerS >= 0.02) covered++
    }
    expect(Math.abs(ratio - 1)).toBeLessThan(0.1)
    expect(covered / runs).toBeGreaterThan(0.87)
    expect(covered / runs).toBeLessThan(0.97)
  })

  it('takes sampling noise at age 0 out', () => {
    const random = seededRandom(5)
    const samples = Array.from({ length: 2_000 }, () => {
      const ageS = random() * 40
      return { ageS, count: 1, changed: random() < 1 - 0.7 * Math.exp(-0.01 * ageS) ? 1 : 0 }
    })
    expect(estimateHazard(samples, 0.3)?.perS).toBeGreaterThan(0.008)
    expect(estimateHazard(samples, 0.3)?.perS).toBeLessThan(0.012)
    expect(estimateHazard(samples)?.perS).toBeGreaterThan(0.02)
  })

  it('is positive and ordered for any samples', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ ageS: fc.double({ min: 1e-3, max: 1e5, noNaN: true }), count: fc.constant(1), changed: fc.nat(1) }), { minLength: 1, maxLength: 60 }), (samples) => {
        const found = estimateHazard(samples)
        expect(found && found.lowerPerS <= found.perS && found.perS <= found.upperPerS && found.upperPerS > 0 && Number.isFinite(found.upperPerS)).toBe(true)
      }),
    )
  })

  it('gives the TTL whose stale share is the budget: about 2·budget/μ', () => {
    for (const budget of [0.001, 0.02, 0.2]) {
      expect(staleShare(0.5, longestTtlS(0.5, budget))).toBeCloseTo(budget, 6)
      if (budget <= 0.02) expect(longestTtlS(0.5, budget) / ((2 * budget) / 0.5)).toBeCloseTo(1, 1)
    }
  })
})

describe('ttl controller', { timeout: 60_000 }, () => {
  it('keeps the upper bound of stale hits within the budget, at most of the TTL that the rate allows', () => {
    for (const [perS, seed] of [[0.001, 1], [0.01, 2], [0.0002, 3]] as const) {
      const run = drive({ perS, seed }).asks(60_000).reset().asks(60_000)
      expect(run.staleUpper, `at ${perS}/s`).toBeLessThanOrEqual(0.02)
      expect(run.ttl(), `at ${perS}/s`).toBeGreaterThan(0.4 * longestTtlS(perS, 0.02))
    }
  })

  it('cuts to half within 24 observations (median; 60 in nine runs of ten) when answers begin to change ten times as often', () => {
    const counts = Array.from({ length: 20 }, (_, seed) => {
      const run = drive({ perS: 0.001, seed: seed + 1 }).asks(30_000)
      // At the age that the TTL allows one in 25 has changed before and one in 3 after.
      return run.rate(0.01).observationsUntil(run.ttl() / 2)
    }).sort((a, b) => a - b)
    expect(counts[counts.length >> 1]).toBeLessThanOrEqual(24)
    expect(counts[Math.floor(counts.length * 0.9)]).toBeLessThanOrEqual(60)
  })

  it('decides the same when every duration is scaled', () => {
    const base = drive({ perS: 0.001, start: 10 }).asks(3_000)
    const scaled = drive({ perS: 0.001, scale: 10, start: 100 }).asks(3_000)
    expect(scaled.moves).toHaveLength(base.moves.length)
    scaled.moves.forEach((move, i) => expect(move / (base.moves[i] as number)).toBeCloseTo(10, 1))
  })

  it('raises by a quarter at most at a time, and cuts at once', () => {
    const run = drive({ perS: 0.0001, start: 5 }).asks(5_000)
    run.moves.forEach((move, i) => expect(move / (i === 0 ? 5 : (run.moves[i - 1] as number))).toBeLessThanOrEqual(knobs.ttlS.maxUp + 1e-9))
    const before = run.ttl()
    run.rate(1)
    expect(run.observationsUntil(before / 4)).toBeLessThan(60)
  })

  it('comes back from the shortest TTL when answers stop changing', () => {
    const run = drive({ perS: 5 }).asks(2_000)
    expect(run.ttl()).toBeLessThan(1)
    run.rate(0.0001).asks(40_000)
    expect(run.ttl()).toBeGreaterThan(20)
  })
})
