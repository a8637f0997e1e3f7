/** A plant that is fitted to what another one did behaves like it. */
import { describe, expect, it } from 'vitest'
import type { ServedCall } from '../../src/sim/fit.ts'
import { fitBatchServer } from '../../src/sim/fit-batch-server.ts'
import { fitHostedApi } from '../../src/sim/fit-hosted-api.ts'
import { fitLlmServer } from '../../src/sim/fit-llm-server.ts'
import { theilSen } from '../../src/sim/robust-fit.ts'
import { llmServerParameters, type LlmServerParameters } from '../../src/sim/plants/llm-server.ts'
import { simulate } from '../../src/sim/simulate.ts'
import { generate } from '../../src/sim/workload/workload.ts'
import { batchServerParameters, batchTimeMs } from '../../src/sim/plants/batch-server.ts'
import { normal, seededRandom } from '../../src/sim/seeded-random.ts'

const random = seededRandom(5)
const noisy = (ms: number, sigma: number): number => ms * Math.exp(sigma * normal(random))

describe('fit', () => {
  it('finds base, price, noise, and no curve where there is none', () => {
    const points = Array.from({ length: 300 }, (_, i) => ({ work: (i % 30) + 1, ms: noisy(40 + 6 * ((i % 30) + 1), 0.05) }))
    const { plant, quality } = fitBatchServer(points)
    expect(plant).toMatchObject({ kind: 'batch-server' })
    if (plant.kind !== 'batch-server') throw new Error('another plant')
    expect(Math.abs(plant.baseMs - 40)).toBeLessThan(4)
    expect(Math.abs(plant.perWorkMs - 6)).toBeLessThan(0.4)
    expect(Math.abs(plant.noise - 0.05)).toBeLessThan(0.015)
    expect(plant.curve).toBeUndefined()
    expect(quality.medianError).toBeLessThan(0.06)
  })
  it.each([
    ['a cliff', (work: number) => batchTimeMs(batchServerParameters.parse({ kind: 'batch-server', baseMs: 30, perWorkMs: 3, cliffWork: 20, cliffFactor: 6 }), work)],
    ['a curve that flattens, with a step', (work: number) => 25 + 9 * work ** 0.85 + (work > 12 ? 30 : 0)],
  ])('follows %s', (_, truth) => {
    const points = Array.from({ length: 400 }, (_, i) => ({ work: (i % 40) + 1, ms: noisy(truth((i % 40) + 1), 0.03) }))
    const { plant, quality } = fitBatchServer(points)
    if (plant.kind !== 'batch-server') throw new Error('another plant')
    for (const work of [2, 5, 10, 15, 18, 25, 30, 40]) expect(Math.abs(batchTimeMs(plant, work) / truth(work) - 1), `at ${work}`).toBeLessThan(0.08)
    expect(quality.medianError).toBeLessThan(0.04)
    // It can be read back from a file.
    expect(batchServerParameters.parse(JSON.parse(JSON.stringify(plant)))).toEqual(plant)
  })
  it('is not bent by a tenth of broken batches', () => {
    const points = Array.from({ length: 200 }, (_, i) => ({ work: (i % 20) + 1, ms: i % 10 === 0 ? 5_000 : 20 + 2 * ((i % 20) + 1) }))
    const { plant } = fitBatchServer(points)
    if (plant.kind !== 'batch-server') throw new Error('another plant')
    expect(Math.abs(plant.baseMs - 20)).toBeLessThan(3)
  })
  it.each<[string, Told]>([
    ['as they are made', (ms) => ms],
    ['when the reader’s loop gets round to it', (ms) => Math.ceil(ms / 30) * 30],
    ['all at the end, two times of three', (ms, endMs, i) => (i % 3 === 0 ? ms : endMs)],
  ])('finds what a step, a sequence and a prompt token cost, tokens told %s', async (_, told) => {
    const truth = llmServerParameters.parse({ kind: 'llm-server', name: 'truth', maxSequences: 32, stepBaseMs: 4, decodeTokenMs: 0.3, prefillTokenMs: 0.1, contextTokenMs: 0 })
    const { plant, quality } = fitLlmServer(await servedBy(truth, told), { maxSequences: 32 })
    if (plant.kind !== 'llm-server') throw new Error('another plant')
    expect(plant.maxSequences).toBe(32)
    const stepMs = (p: LlmServerParameters, sequences: number): number => p.stepBaseMs + p.decodeTokenMs * sequences
    for (const sequences of [1, 4, 16, 32]) expect(Math.abs(stepMs(plant, sequences) / stepMs(truth, sequences) - 1), `${sequences} sequences`).toBeLessThan(0.1)
    expect(Math.abs(plant.prefillTokenMs / truth.prefillTokenMs - 1)).toBeLessThan(0.2)
    expect(quality.medianError).toBeLessThan(0.15)
  })
  it('leaves out calls that waited inside the server, when it is told how many run at once', async () => {
    const truth = llmServerParameters.parse({ kind: 'llm-server', name: 'truth', maxSequences: 8, stepBaseMs: 4, decodeTokenMs: 0.3, prefillTokenMs: 0.1, contextTokenMs: 0 })
    const { plant } = fitLlmServer(await servedBy(truth), { maxSequences: 8 })
    if (plant.kind !== 'llm-server') throw new Error('another plant')
    expect(Math.abs((plant.stepBaseMs + 8 * plant.decodeTokenMs) / 6.4 - 1)).toBeLessThan(0.1)
  })
  it('finds a hosted API’s latency', () => {
    const points = Array.from({ length: 300 }, (_, i) => ({ inputTokens: 10, outputTokens: 10 + (i % 50) * 4, startMs: i, firstMs: i, endMs: i + noisy(300 + 12 * (10 + (i % 50) * 4), 0.2) }))
    const { plant } = fitHostedApi(points, { requestsPerMinute: 60, inputTokensPerMinute: 1_000, outputTokensPerMinute: 1_000 })
    if (plant.kind !== 'hosted-api') throw new Error('another plant')
    expect(Math.abs(plant.tokenMs - 12)).toBeLessThan(1.5)
    expect(Math.abs(plant.tail - 0.2)).toBeLessThan(0.06)
  })
  it('says what is missing', () => {
    expect(() => fitBatchServer([{ work: 1, ms: 1 }])).toThrow('expected at least 8 batches, got 1')
    expect(() => fitBatchServer(Array.from({ length: 20 }, () => ({ work: 4, ms: 10 })))).toThrow('expected batches of different sizes')
    expect(theilSen([{ x: 1, y: 2 }])).toBeUndefined()
  })
})

type Told = (atMs: number, endMs: number, call: number) => number

/** What a reader sees of calls to a plant that goes from idle to overload. */
async function servedBy(plant: LlmServerParameters, told: Told = (ms) => ms): Promise<ServedCall[]> {
  const calls: ServedCall[] = []
  const mix = [{ share: 1, inputTokens: 60, outputTokens: 30, spread: 0.6, stream: true }]
  await simulate({
    ...generate([{ name: 'ramp', durationS: 40, perS: (atS) => atS, mix }], 3),
    plant,
    plugins: [],
    client: { retries: 0 },
    watch: ({ governor }) => governor.onCallSettled((call) => {
      const { dispatchedMs, firstTokenMs, endMs } = call.timings
      if (call.settlement?.outcome !== 'ok' || dispatchedMs === undefined || firstTokenMs === undefined || endMs === undefined) return
      calls.push({ startMs: dispatchedMs, firstMs: told(firstTokenMs, endMs, calls.length), endMs: told(endMs, endMs, calls.length), inputTokens: call.usage.inputTokens, outputTokens: call.usage.outputTokens })
    }),
  })
  return calls
}
