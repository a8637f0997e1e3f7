/** A plant that is fitted to what another one did behaves like it. */
import { describe, expect, it } from 'vitest'
import { fitBatchServer, fitHostedApi, fitLlmServer, theilSen } from '../../src/sim/fit.ts'
import { batchServerParameters, batchTimeMs } from '../../src/sim/plants/batch-server.ts'
import { normal, seededRandom } from '../../src/sim/seeded-random.ts'

const random = seededRandom(5)
const noisy = (ms: number, sigma: number): number => ms * Math.exp(sigma * normal(random))

describe('fit', () => {
  it('finds base, price, noise, and no cliff where there is none', () => {
    const points = Array.from({ length: 300 }, (_, i) => ({ work: (i % 30) + 1, ms: noisy(40 + 6 * ((i % 30) + 1), 0.05) }))
    const { plant, quality } = fitBatchServer(points)
    expect(plant).toMatchObject({ kind: 'batch-server' })
    if (plant.kind !== 'batch-server') throw new Error('another plant')
    expect(Math.abs(plant.baseMs - 40)).toBeLessThan(4)
    expect(Math.abs(plant.perWorkMs - 6)).toBeLessThan(0.4)
    expect(Math.abs(plant.noise - 0.05)).toBeLessThan(0.015)
    expect(plant.cliffWork).toBeUndefined()
    expect(quality.medianError).toBeLessThan(0.06)
  })
  it('finds a cliff within a few items', () => {
    const truth = batchServerParameters.parse({ kind: 'batch-server', baseMs: 30, perWorkMs: 3, cliffWork: 20, cliffFactor: 6 })
    const points = Array.from({ length: 400 }, (_, i) => ({ work: (i % 40) + 1, ms: noisy(batchTimeMs(truth, (i % 40) + 1), 0.03) }))
    const { plant } = fitBatchServer(points)
    if (plant.kind !== 'batch-server') throw new Error('another plant')
    expect(Math.abs((plant.cliffWork ?? 0) - 20)).toBeLessThanOrEqual(3)
    expect(Math.abs(plant.cliffFactor - 6)).toBeLessThan(2)
    for (const work of [5, 18, 30, 40]) expect(Math.abs(batchTimeMs(plant, work) / batchTimeMs(truth, work) - 1)).toBeLessThan(0.12)
  })
  it('is not bent by a tenth of broken batches', () => {
    const points = Array.from({ length: 200 }, (_, i) => ({ work: (i % 20) + 1, ms: i % 10 === 0 ? 5_000 : 20 + 2 * ((i % 20) + 1) }))
    const { plant } = fitBatchServer(points)
    if (plant.kind !== 'batch-server') throw new Error('another plant')
    expect(Math.abs(plant.baseMs - 20)).toBeLessThan(3)
  })
  it('finds what a step, a sequence and a prompt token cost', () => {
    const points = Array.from({ length: 200 }, (_, i) => {
      const concurrency = (i % 20) + 1
      const inputTokens = 100 + (i % 7) * 200
      return { inputTokens, outputTokens: 51, ttftMs: 15 + 0.05 * inputTokens, decodeMs: 50 * (12 + 0.5 * concurrency), concurrency }
    })
    const { plant } = fitLlmServer(points)
    expect(plant).toMatchObject({ kind: 'llm-server', stepBaseMs: 12, decodeTokenMs: 0.5, prefillTokenMs: 0.05 })
  })
  it('finds a hosted API’s latency', () => {
    const points = Array.from({ length: 300 }, (_, i) => ({ inputTokens: 10, outputTokens: 10 + (i % 50) * 4, ttftMs: 0, decodeMs: noisy(300 + 12 * (10 + (i % 50) * 4), 0.2), concurrency: 1 }))
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
