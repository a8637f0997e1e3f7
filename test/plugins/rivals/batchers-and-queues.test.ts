/** Batchers, queues and client throttles of others: their rules in numbers, and one published behaviour each. */
import { describe, expect, it } from 'vitest'
import { rejectProbability, SlidingCounts } from '../../../plugins/rivals/client-throttle.ts'
import { clipperStep, quantileLine } from '../../../plugins/rivals/clipper.ts'
import { adaptiveQueue, timeoutMs } from '../../../plugins/rivals/codel-lifo.ts'
import { CorkOptimizer, leastSquares } from '../../../plugins/rivals/cork.ts'
import { clientThrottle, clipper, codelLifo, cork, fixed, rayServe, triton } from '../../../plugins/rivals/index.ts'
import { tritonSize } from '../../../plugins/rivals/triton.ts'
import type { Plugin, Waiter } from '../../../src/index.ts'
import { readPlant } from '../../../src/sim/plants/parameters.ts'
import { simulate, type SimulationOptions } from '../../../src/sim/simulate.ts'
import { generate, type WorkloadPhase } from '../../../src/sim/workload/workload.ts'

const plant = readPlant({ kind: 'batch-server', name: 'plant', baseMs: 80, perWorkMs: 14, maxBatch: 64, noise: 0.05 })
const classes = [{ name: 'interactive', priority: 0, startMs: 500, e2eMs: 1_000, quantile: 0.95 }]
const load = (name: string, perS: number, durationS: number): WorkloadPhase => ({ name, perS, durationS, mix: [{ share: 1, work: 1 }] })
const run = (plugins: Plugin[], phases: WorkloadPhase[], more: Partial<SimulationOptions> = {}) => simulate({ ...generate(phases, 3), plant, classes, plugins, seed: 3, client: { retries: 0 }, ...more })
const sizes: (onSize: (size: number) => void) => Partial<SimulationOptions> = (onSize) => ({
  watch: ({ governor }) => {
    const seen = new WeakSet<object>()
    governor.lane('plant').attach([{ name: 'watch', onDispatch: (batch) => { if (!seen.has(batch)) onSize(batch.calls.length) } }])
  },
})

describe('SRE client throttle', () => {
  it('p = max(0, (requests − K·accepts)/(requests + 1))', () => {
    expect(rejectProbability(100, 100, 2)).toBe(0)
    expect(rejectProbability(100, 50, 2)).toBe(0)
    expect(rejectProbability(100, 25, 2)).toBeCloseTo(50 / 101)
    expect(rejectProbability(0, 0, 2)).toBe(0)
  })
  it('counts over a window that slides', () => {
    const counts = new SlidingCounts(24_000)
    counts.requested(0)
    counts.accepted(0)
    counts.requested(12_000)
    expect(counts.totals(12_000)).toEqual({ requests: 2, accepts: 1 })
    expect(counts.totals(25_000)).toEqual({ requests: 1, accepts: 0 })
  })
  it('keeps most calls from a backend that refuses all, and lets them through again when it does not (published behaviour)', async () => {
    const result = await run([clientThrottle({ windowMs: 10_000 })], [load('well', 20, 10), { ...load('refusing', 20, 20), faults: [{ kind: 'down', atMs: 0, down: true }, { kind: 'down', atMs: 20_000, down: false }] }, load('after', 20, 30)])
    expect(result.rejects['client_throttle'] ?? 0).toBeGreaterThan(100)
    // Slowly: accepts must outweigh the refusals that it remembers.
    expect(result.phases[2]?.goodput).toBeGreaterThan(0.2)
  })
  it('is no help against a backend that is slow instead of refusing: late answers count as accepted (its failure)', async () => {
    const result = await run([clientThrottle({})], [load('overload', 150, 15)])
    expect(result.goodput).toBeLessThan(0.3)
  })
})

describe('CoDel with adaptive LIFO', () => {
  it('gives N while the queue was empty within N, else M', () => {
    expect(timeoutMs(950, 1_000, 100, 5)).toBe(100)
    expect(timeoutMs(850, 1_000, 100, 5)).toBe(5)
  })
  it('takes the newest first while the queue stands', () => {
    let standing = false
    const queue = adaptiveQueue(() => standing)
    const waiters = [1, 2, 3].map((n) => ({ arrivedMs: n }) as Waiter)
    for (const waiter of waiters) queue.add(waiter)
    expect(queue.first()).toBe(waiters[0])
    standing = true
    expect(queue.first()).toBe(waiters[2])
    expect(queue.take(2, () => true)).toEqual([waiters[2], waiters[1]])
    expect(queue.size).toBe(1)
  })
  it('keeps those that it serves quick under overload (published behaviour)', async () => {
    const [codel, none] = [await run([codelLifo({ limit: 32, intervalMs: 300, targetMs: 50 }), fixed({ batch: 32 })], [load('overload', 150, 15)]), await run([fixed({ batch: 32 })], [load('overload', 150, 15)])]
    expect(codel.classes['interactive']?.e2eMs.p95).toBeLessThan(1_500)
    expect(none.classes['interactive']?.e2eMs.p95).toBeGreaterThan(5_000)
  })
})

describe('Triton', () => {
  it('sends a preferred size, the largest one, or whatever there is once the oldest has waited long enough', () => {
    const settings = { maxBatch: 32, preferred: [4, 8, 16], delayMs: 5 }
    expect(tritonSize(3, 0, settings)).toBe(0)
    expect(tritonSize(3, 5, settings)).toBe(3)
    expect(tritonSize(5, 0, settings)).toBe(4)
    expect(tritonSize(15, 0, settings)).toBe(8)
    expect(tritonSize(40, 0, settings)).toBe(32)
  })
  it('forms only preferred sizes while calls keep coming (published behaviour)', async () => {
    const seen: number[] = []
    await run([triton({ maxBatch: 16, preferred: [4, 8, 16], delayMs: 10_000 })], [load('busy', 45, 20)], sizes((size) => seen.push(size)))
    const preferred = seen.filter((size) => [4, 8, 16].includes(size)).length
    expect(preferred / seen.length).toBeGreaterThan(0.7)
  })
})

describe('Ray Serve', () => {
  it('never forms more than ten, and so never gets past what ten at a time bring (published default)', async () => {
    const seen: number[] = []
    const result = await run([rayServe()], [load('more than ten bear', 55, 20)], sizes((size) => seen.push(size)))
    expect(Math.max(...seen)).toBe(10)
    // 10 / (80 + 140) ms = 45 a second.
    expect(result.goodput).toBeLessThan(0.6)
  })
})

describe('BentoML CORK', () => {
  it('fits t = a·n + b by least squares', () => {
    const line = leastSquares([1, 2, 4, 8].map((n) => ({ n, ms: 7 * n + 20 })))
    expect(line?.a).toBeCloseTo(7)
    expect(line?.b).toBeCloseTo(20)
    expect(leastSquares([{ n: 4, ms: 10 }, { n: 4, ms: 12 }])).toBeUndefined()
  })
  it('holds while n(w + a) ≤ .95 of the average wait, and gives up heads with a·n + b past the target', () => {
    const optimizer = new CorkOptimizer(1_000)
    optimizer.a = 2
    optimizer.b = 10
    optimizer.wait = 50
    expect(optimizer.holds(5, 7)).toBe(true)
    expect(optimizer.holds(5, 8)).toBe(false)
    expect(optimizer.expired(10, 969, 1_000)).toBe(false)
    expect(optimizer.expired(10, 970, 1_000)).toBe(true)
    expect(optimizer.expired(1, 5_000, 1_000)).toBe(false)
  })
  it('latches up: with a slow estimate everything is given up and no new sample comes (its published failure)', () => {
    const optimizer = new CorkOptimizer(200)
    // Sizes that hardly vary, times that do: the line through them is steep by chance.
    for (const [n, ms] of [[8, 90], [8, 95], [8, 91], [9, 160], [8, 92], [9, 158]] as const) optimizer.log(n, 1, ms)
    expect(optimizer.a).toBeGreaterThan(50)
    expect(optimizer.expired(4, 0, 200)).toBe(true)
    for (let round = 0; round < 1_000; round++) expect(optimizer.expired(4, 0, 200)).toBe(true)
  })
  it('serves in batches within its target on a quiet day', async () => {
    const result = await run([cork({ maxLatencyMs: 1_000 })], [load('quiet', 30, 20)])
    expect(result.goodput).toBeGreaterThan(0.98)
  })
})

describe('Clipper', () => {
  it('adds a step until the target is missed, then takes a tenth off', () => {
    const settings = { targetMs: 100, step: 2, backoff: 0.9, maxBatch: 64 }
    expect(clipperStep(10, 99, settings)).toBe(12)
    expect(clipperStep(40, 101, settings)).toBe(36)
    expect(clipperStep(1, 500, settings)).toBe(1)
    expect(clipperStep(63, 1, settings)).toBe(64)
  })
  it('draws the line through the upper quantile', () => {
    const points = Array.from({ length: 300 }, (_, i) => ({ n: (i % 10) + 1, ms: 20 + 5 * ((i % 10) + 1) + (i % 7) }))
    const { slope, intercept } = quantileLine(points, 0.99)
    expect(slope * 5 + intercept).toBeGreaterThan(45)
    expect(slope * 5 + intercept).toBeLessThan(62)
  })
  it('finds the size whose run meets the target (published behaviour)', async () => {
    const seen: number[] = []
    await run([clipper({ targetMs: 300 })], [load('busy', 120, 30)], sizes((size) => seen.push(size)))
    // 80 + 14·n = 300: n = 15.7.
    const late = seen.slice(-60, -1)
    expect(Math.max(...late)).toBeLessThanOrEqual(20)
    expect(Math.min(...late)).toBeGreaterThanOrEqual(10)
  })
  it('collapses to one at a time when it steers the whole latency under overload (its failure)', async () => {
    const seen: number[] = []
    await run([clipper({ targetMs: 300, latency: 'whole' })], [load('overload', 120, 30)], sizes((size) => seen.push(size)))
    expect(seen.slice(-10)).toEqual(Array.from({ length: 10 }, () => 1))
  })
})

describe('no control, and fixed settings', () => {
  it('without control an overload is everybody’s; with a short queue it is only those turned away', async () => {
    const [none, short] = [await run([], [load('overload', 150, 15)]), await run([fixed({ batch: 32, queue: 16 })], [load('overload', 150, 15)])]
    expect(none.goodput).toBeLessThan(0.25)
    expect(short.goodput).toBeGreaterThan(none.goodput + 0.1)
  })
})
