import { describe, expect, it } from 'vitest'
import { batching, priority, throttle } from '../../plugins/builtin.ts'
import { readPlant } from '../../src/sim/plants/parameters.ts'
import { simulate, type SimulationOptions } from '../../src/sim/simulate.ts'
import { PHASES } from '../../src/sim/workload/phases.ts'
import { generate, type WorkloadPhase } from '../../src/sim/workload/workload.ts'

const classes = [{ name: 'interactive', priority: 0, startMs: 500, e2eMs: 800, quantile: 0.95 }]
const plant = readPlant({ kind: 'batch-server', baseMs: 40, perWorkMs: 8, maxBatch: 64 })
const setting = { capacityPerS: 90, mix: [{ share: 1, work: 1 }], stretch: 0.3 }

function run(phases: readonly WorkloadPhase[], seed: number, more: Partial<SimulationOptions> = {}) {
  return simulate({ ...generate(phases, seed), plant, classes, plugins: [throttle(), priority(), batching()], seed, ...more })
}

describe('a simulated run', () => {
  const overload = PHASES['overload']?.(setting) ?? []

  it('is the same byte for byte with the same seed, decisions with their inputs included, and another with another', async () => {
    const [one, two, other] = [await run(overload, 7), await run(overload, 7), await run(overload, 8)]
    expect(one.decisions.length).toBeGreaterThan(0)
    expect(JSON.stringify(one)).toBe(JSON.stringify(two))
    expect(JSON.stringify(one)).not.toBe(JSON.stringify(other))
  })

  it('counts every request once, whatever became of it', async () => {
    const made = generate(overload, 3)
    const result = await run(overload, 3)
    expect(result.offered).toBe(made.requests.length)
    expect(Object.values(result.outcomes).reduce((a, b) => a + b, 0)).toBe(made.requests.length)
    expect(result.attempts).toBeGreaterThan(made.requests.length)
    expect(result.phases.reduce((sum, phase) => sum + phase.offered, 0)).toBe(made.requests.length)
  })

  it.for([0, 2])('counts requests that are still open at the end as missed, those that would have come back (%i times) as well', async (retries) => {
    const flood = generate([{ name: 'flood', durationS: 5, perS: 2_000, mix: [{ share: 1, work: 1 }] }], 1)
    for (const knobs of [{}, { 'lane.max_queue': 100 }]) {
      const hopeless = await simulate({ ...flood, plant, classes, plugins: [], seed: 1, drainMs: 1_000, client: { retries }, knobs })
      expect(hopeless.offered).toBe(flood.requests.length)
      expect(hopeless.goodput).toBeLessThan(0.2)
    }
  })

  it('leaves requests whose caller would have left anyway out of the count, under every policy the same ones', async () => {
    const phases = PHASES['aborts']?.(setting) ?? []
    const [ours, none] = [await run(phases, 2), await run(phases, 2, { plugins: [] })]
    expect(ours.outcomes['left early']).toBeGreaterThan(100)
    expect(ours.offered).toBe(none.offered)
    expect(ours.goodputFromFirst).toBeLessThanOrEqual(ours.goodput)
  })

  it('reports what a disturbance did: settling, moves, waste', async () => {
    const result = await run([...(PHASES['steady']?.(setting) ?? []), ...overload], 5)
    expect(result.settling.map((one) => one.phase)).toEqual(['steady', 'before overload', 'overload 3x', 'after overload'])
    expect(Object.keys(result.movesPerMinute).length).toBeGreaterThan(0)
    expect(result.wastedShare).toBeGreaterThanOrEqual(0)
    expect(result.wastedShare).toBeLessThan(0.3)
    expect(result.classes['interactive']?.e2eMs.p50).toBeGreaterThan(0)
  })
})
