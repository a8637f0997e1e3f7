/**
 * Properties of the whole: governor, lane, policies and loops together, in virtual time, against any sequence of faults.
 * The numbers are those of the table in README.md, which says where the other properties are.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { batching, priority, throttle } from '../../plugins/builtin.ts'
import type { Plugin } from '../../src/index.ts'
import { decisionLine, parseDecision } from '../../src/control/decision-file.ts'
import { replayDecisions } from '../../src/control/replay.ts'
import type { Fault } from '../../src/sim/faults.ts'
import { readPlant } from '../../src/sim/plants/parameters.ts'
import { simulate, type SimulationOptions, type SimulationResult } from '../../src/sim/simulate.ts'
import { generate, type WorkloadPhase } from '../../src/sim/workload/workload.ts'
import type { Lane } from '../../src/core/lane.ts'
import type { Governor } from '../../src/governor-contract.ts'

const SLOW = 120_000
const all = (): Plugin[] => [throttle(), priority(), batching()]
const WHOLE = [
  { name: 'interactive', priority: 0, startMs: 500, e2eMs: 1_000, quantile: 0.95 },
  { name: 'batch', priority: 10, startMs: 5_000, quantile: 0.95 },
]
const STREAM = [{ name: 'interactive', priority: 0, ttftMs: 1_000, itlMs: 30, quantile: 0.95 }]
const batchPlant = readPlant({ kind: 'batch-server', name: 'plant', baseMs: 80, perWorkMs: 14, maxBatch: 64 })
const llmPlant = readPlant({ kind: 'llm-server', name: 'plant', maxSequences: 256, stepBaseMs: 10, decodeTokenMs: 0.45, prefillTokenMs: 0.02, contextTokenMs: 0 })
const items = [{ share: 3, work: 1 }, { share: 1, work: 1, class: 'batch' }]
const chats = [{ share: 1, inputTokens: 200, outputTokens: 50, spread: 0.4, stream: true }]

function run(phases: readonly WorkloadPhase[], seed: number, more: Partial<SimulationOptions> = {}): Promise<SimulationResult> {
  return simulate({ ...generate(phases, seed), plant: batchPlant, classes: WHOLE, plugins: all(), seed, ...more })
}

/** Any run of faults within `withinMs`, each ended again by then. */
const anyFaults = (withinMs: number): fc.Arbitrary<Fault[]> => {
  const at = fc.integer({ min: 0, max: withinMs })
  const pair = (begin: (atMs: number) => Fault, end: (atMs: number) => Fault) => at.map((atMs): Fault[] => [begin(atMs), end(withinMs)])
  return fc
    .array(
      fc.oneof(
        fc.tuple(at, fc.double({ min: 0.5, max: 8, noNaN: true })).map(([atMs, factor]): Fault[] => [{ kind: 'slowdown', atMs, factor }, { kind: 'slowdown', atMs: withinMs, factor: 1 }]),
        pair((atMs) => ({ kind: 'timeouts', atMs, afterMs: 1_500 }), (atMs) => ({ kind: 'timeouts', atMs, afterMs: null })),
        pair((atMs) => ({ kind: 'refuse', atMs, share: 0.5 }), (atMs) => ({ kind: 'refuse', atMs, share: 0 })),
        pair((atMs) => ({ kind: 'down', atMs, down: true }), (atMs) => ({ kind: 'down', atMs, down: false })),
        pair((atMs) => ({ kind: 'sensors', atMs, dropped: true }), (atMs) => ({ kind: 'sensors', atMs, dropped: false })),
        at.map((atMs): Fault[] => [{ kind: 'reset', atMs }]),
        at.map((atMs): Fault[] => [{ kind: 'wall-jump', atMs, byMs: -7_200_000 }]),
        at.map((atMs): Fault[] => [{ kind: 'suspend', atMs, forMs: 3_000 }]),
      ),
      { minLength: 1, maxLength: 4 },
    )
    .map((list) => list.flat().sort((a, b) => a.atMs - b.atMs))
}

const runs = { numRuns: 6, seed: 42 }

describe('property 1: in-flight returns to 0', () => {
  it('under any faults, aborts and retries, and is never negative', async () => {
    await fc.assert(
      fc.asyncProperty(anyFaults(8_000), fc.integer({ min: 1, max: 1_000 }), async (faults, seed) => {
        let lane: Lane | undefined
        let least = 0
        let outside: Governor | undefined
        const mix = items.map((one) => ({ ...one, aborts: { share: 0.3, afterMs: 200 } }))
        await run([{ name: 'rough', durationS: 10, perS: 60, mix, faults }], seed, {
          drainMs: 60_000,
          watch: ({ governor, clock }) => {
            outside = governor
            lane = governor.lane('plant')
            const look = (): void => {
              least = Math.min(least, lane?.inFlight ?? 0, lane?.busySlots ?? 0, lane?.waiting ?? 0)
              clock.after(50, look)
            }
            look()
          },
        })
        expect(least).toBe(0)
        expect([lane?.inFlight, lane?.inFlightWork, lane?.waiting, lane?.waitingWork, lane?.busySlots]).toEqual([0, 0, 0, 0, 0])
        expect(outside?.draining).toBe(true)
      }),
      runs,
    )
  }, SLOW)
})

describe('property 2: every knob stays within its bounds and slew', () => {
  it('under any faults', async () => {
    await fc.assert(
      fc.asyncProperty(anyFaults(15_000), fc.integer({ min: 1, max: 1_000 }), async (faults, seed) => {
        let specs: Map<string, { min: number; max: number; maxUp: number; maxDown: number; minStep: number; integer?: boolean }> = new Map()
        const result = await run([{ name: 'rough', durationS: 25, perS: 55, mix: items, faults }], seed, { watch: ({ governor }) => void (specs = new Map([...governor.knobs.all()].map(({ spec }) => [spec.name, spec]))) })
        for (const record of result.decisions) {
          for (const move of record.moves) {
            const spec = specs.get(move.knob)
            if (!spec) throw new Error(`no knob ${move.knob}`)
            expect(move.to).toBeGreaterThanOrEqual(spec.min)
            expect(move.to).toBeLessThanOrEqual(spec.max)
            // A revert takes back, and a fallback goes to the default: neither is a controller's step.
            if (record.why.reason === 'revert' || record.why.reason === 'signals_stale' || record.why.reason === 'signals_back') continue
            expect(move.to).toBeLessThanOrEqual(Math.max(move.from * spec.maxUp, move.from + spec.minStep) + 1e-9)
            expect(move.to).toBeGreaterThanOrEqual(Math.min(move.from * spec.maxDown, move.from - spec.minStep) - 1e-9)
          }
        }
      }),
      runs,
    )
  }, SLOW)
})

describe('property 8: a low rate still updates', () => {
  it('one call a second, four seconds each: the limit is decided on within two minutes', async () => {
    const result = await run([{ name: 'slow', durationS: 240, perS: 1, mix: [{ share: 1, inputTokens: 50, outputTokens: 100, stream: true }] }], 1, {
      plant: readPlant({ kind: 'llm-server', name: 'plant', stepBaseMs: 40, decodeTokenMs: 0 }),
      classes: [{ name: 'interactive', priority: 0, itlMs: 20, quantile: 0.95 }],
    })
    const first = result.decisions.find((record) => record.controller === 'throttle')
    expect(first?.why.reason).toBe('slo_exceeded')
    expect((first?.monoMs ?? Number.POSITIVE_INFINITY) - 1_000).toBeLessThan(120_000)
  }, SLOW)
})

describe('property 9: no latch-up', () => {
  it.each([['batches', batchPlant, WHOLE, items, 30], ['streams', llmPlant, STREAM, chats, 8]] as const)(
    'from whatever state faults lead to, a healthy backend is back at 95% goodput: %s',
    async (_, plant, classes, mix, perS) => {
      await fc.assert(
        fc.asyncProperty(anyFaults(20_000), fc.integer({ min: 1, max: 1_000 }), async (faults, seed) => {
          const result = await run(
            [
              { name: 'faults', durationS: 20, perS, mix, faults },
              { name: 'recovery', durationS: 30, perS, mix },
              { name: 'healthy', durationS: 20, perS, mix },
            ],
            seed,
            { plant, classes },
          )
          expect(result.phases[2]?.goodput).toBeGreaterThanOrEqual(0.95)
        }),
        runs,
      )
    },
    SLOW,
  )
})

describe('property 10: work-conserving', () => {
  it('an idle backend never has calls waiting, at any quiet moment of any run', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 5, max: 120 }), fc.integer({ min: 1, max: 1_000 }), async (perS, seed) => {
        let idleWhileWaiting = 0
        await run([{ name: 'any', durationS: 8, perS, mix: items }], seed, {
          watch: ({ governor, clock }) => {
            const lane = governor.lane('plant')
            const look = (): void => {
              // A turn later: what this instant's arrivals set off has been done by then.
              void clock.sleep(0).then(() => { if (lane.waiting > 0 && lane.busySlots === 0) idleWhileWaiting++ })
              clock.after(7, look)
            }
            look()
          },
        })
        expect(idleWhileWaiting).toBe(0)
      }),
      runs,
    )
  }, SLOW)
})

describe('property 12: overload removed', () => {
  it('nothing is shed any more within 30 s, with clients that retry five times', async () => {
    for (const seed of [1, 2, 3]) {
      const result = await run(
        [
          { name: 'overload', durationS: 15, perS: 130, mix: items },
          { name: 'grace', durationS: 30, perS: 28, mix: items },
          { name: 'after', durationS: 20, perS: 28, mix: items },
        ],
        seed,
        { client: { retries: 5 } },
      )
      // An overload it was: most were turned away at first, and told when to come back.
      expect(Object.values(result.rejects).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(500)
      expect(result.phases[2]?.goodput).toBeGreaterThanOrEqual(0.99)
    }
  }, SLOW)
})

describe('property 18: sensor dropout', () => {
  it('holds, falls back in the safe direction, and comes back without oscillation', async () => {
    const result = await run(
      [
        { name: 'before', durationS: 40, perS: 12, mix: chats },
        { name: 'silent', durationS: 120, perS: 8, mix: chats, faults: [{ kind: 'sensors', atMs: 0, dropped: true }, { kind: 'sensors', atMs: 120_000, dropped: false }] },
        { name: 'back', durationS: 60, perS: 8, mix: chats },
      ],
      3,
      { plant: llmPlant, classes: STREAM },
    )
    const modes = result.decisions.filter((record) => record.why.reason === 'signals_stale' || record.why.reason === 'signals_back').map((record) => `${record.controller} ${record.mode}`)
    expect(modes).toContain('throttle hold')
    expect(modes).toContain('throttle fallback')
    expect(modes.at(-1)).toMatch(/active$/)
    const silent = result.decisions.filter((record) => record.controller === 'throttle' && record.monoMs > 71_000 && record.monoMs < 160_000 && record.why.reason !== 'signals_stale')
    expect(silent).toEqual([])
    const fallback = result.decisions.find((record) => record.mode === 'fallback')
    for (const move of fallback?.moves ?? []) expect(move.to).toBeLessThanOrEqual(move.from)
    expect(result.phases[2]?.goodput).toBeGreaterThanOrEqual(0.98)
    const after = result.decisions.filter((record) => record.monoMs > 161_000).flatMap((record) => record.moves)
    const turns = after.filter((move, i) => i > 0 && Math.sign(move.to - move.from) !== Math.sign((after[i - 1]?.to ?? 0) - (after[i - 1]?.from ?? 0)))
    expect(turns.length).toBeLessThanOrEqual(2)
  }, SLOW)
})

describe('property 19: loops together', () => {
  const cliffPlant = readPlant({ kind: 'batch-server', name: 'plant', slots: 2, baseMs: 80, perWorkMs: 10, cliffWork: 16, cliffFactor: 6, maxBatch: 64 })
  const twoClasses = [...STREAM, { name: 'batch', priority: 10, startMs: 5_000, quantile: 0.95 }]
  const mixed = chats.flatMap((one) => [{ ...one, share: 3 }, { ...one, class: 'batch' }])
  const loads = [['light', 0.6, 0.6], ['at the limit', 0.8, 1.1], ['overload', 0.75, 2.6]] as const
  it.each([['batches', batchPlant, WHOLE, items, 42], ['a cliff', cliffPlant, WHOLE, items, 90], ['streams', llmPlant, twoClasses, mixed, 18]] as const)(
    'never score more than 2% below the best single loop, under any load: %s',
    async (_, plant, classes, mix, capacityPerS) => {
      for (const [name, before, then] of loads) {
        const phases = [before, then, before].map((load, i): WorkloadPhase => ({ name: `part ${i}`, durationS: 20, perS: load * capacityPerS, mix }))
        const mean = async (plugins: () => Plugin[]): Promise<number> => {
          let sum = 0
          for (const seed of [1, 2]) sum += (await run(phases, seed, { plant, classes, plugins: plugins(), client: { retries: 0 } })).goodput
          return sum / 2
        }
        const single = [await mean(() => [throttle()]), await mean(() => [batching()]), await mean(() => [priority()])]
        expect(await mean(all), name).toBeGreaterThanOrEqual(Math.max(...single) - 0.02)
      }
    },
    SLOW,
  )
})

describe('property 20: determinism', () => {
  const phases: WorkloadPhase[] = [
    { name: 'steady', durationS: 20, perS: 40, mix: items },
    { name: 'overload', durationS: 15, perS: 110, mix: items, faults: [{ kind: 'slowdown', atMs: 5_000, factor: 2 }, { kind: 'slowdown', atMs: 10_000, factor: 1 }] },
    { name: 'after', durationS: 15, perS: 35, mix: items },
  ]

  it('replaying the decision log, through its file form, reproduces every move', async () => {
    for (const [plant, classes, scale] of [[batchPlant, WHOLE, 1], [llmPlant, STREAM, 0.3]] as const) {
      const controllers = all().flatMap((plugin) => Object.values(plugin.declares.controllers ?? {}))
      const scaled = phases.map((phase) => ({ ...phase, perS: (phase.perS as number) * scale, mix: scale === 1 ? items : chats }))
      const result = await run(scaled, 5, { plant, classes })
      const records = result.decisions.map(decisionLine).map(parseDecision)
      const replay = replayDecisions(records, controllers)
      expect(replay.replayed).toBeGreaterThan(3)
      expect(replay.differences).toEqual([])
      // None is missing: each move begins where the last one of its knob ended.
      const at = new Map<string, number>()
      for (const move of records.flatMap((record) => record.moves)) {
        expect(move.from).toBe(at.get(move.knob) ?? move.from)
        at.set(move.knob, move.to)
      }
    }
  }, SLOW)

  it('a replay notices a move that is not what the controller decides', async () => {
    const result = await run(phases, 5)
    const controllers = all().flatMap((plugin) => Object.values(plugin.declares.controllers ?? {}))
    const forged = result.decisions.filter((record) => record.input).map((record) => ({ ...record, moves: record.moves.map((move) => ({ ...move, wish: move.wish + 1 })) }))
    expect(replayDecisions(forged, controllers).differences.length).toBe(forged.length)
  }, SLOW)

  it('a dry run gives every caller what it gets with the loops off, and logs what it would have done', async () => {
    const seen = (result: SimulationResult): string => JSON.stringify({ classes: result.classes, outcomes: result.outcomes, rejects: result.rejects, attempts: result.attempts, phases: result.phases, wasted: result.wastedShare })
    const [dry, off] = [await run(phases, 9, { loops: 'dry' }), await run(phases, 9, { loops: 'off' })]
    expect(seen(dry)).toBe(seen(off))
    expect(off.decisions).toEqual([])
    expect(dry.decisions.length).toBeGreaterThan(0)
    expect(dry.decisions.every((record) => record.dry)).toBe(true)
  }, SLOW)
})
