/** Plants do what their parameters say: measured through the lane, against the formula. */
import { describe, expect, it } from 'vitest'
import { batchServer, batchServerParameters, batchTimeMs } from '../../src/sim/plants/batch-server.ts'
import { changingAnswers, changingAnswersParameters } from '../../src/sim/plants/changing-answers.ts'
import { hostedApi, hostedApiParameters } from '../../src/sim/plants/hosted-api.ts'
import { llmServer, llmServerParameters } from '../../src/sim/plants/llm-server.ts'
import { readPlant } from '../../src/sim/plants/parameters.ts'
import { virtualClock } from '../../src/sim/virtual-clock.ts'
import type { Plant } from '../../src/sim/plants/plant.ts'
import type { Reply } from '../../src/core/reply.ts'
import { testCall } from '../support/calls.ts'

const clockAt = () => virtualClock({ seed: 3 })

async function drain(reply: Reply): Promise<number> {
  let tokens = 0
  for await (const chunk of reply.body) tokens += chunk.tokens
  return tokens
}

async function timed(clock: ReturnType<typeof clockAt>, work: () => Promise<unknown>): Promise<number> {
  const from = clock.monoMs()
  await clock.until(work())
  return clock.monoMs() - from
}

const request = (clock: ReturnType<typeof clockAt>, inputTokens: number, outputTokens: number, more: object = {}) =>
  testCall(clock, { input: { inputTokens, outputTokens, ...more }, work: inputTokens + outputTokens, stream: true, maxOutputTokens: outputTokens })

describe('batch server', () => {
  const p = batchServerParameters.parse({ kind: 'batch-server', baseMs: 20, perWorkMs: 2, cliffWork: 10, cliffFactor: 5, memoryWork: 20, noise: 0 })

  it('takes base plus work, more past the cliff, and fails past its memory', async () => {
    const clock = clockAt()
    const plant = batchServer(p, clock)
    const run = (works: number[]) => timed(clock, () => Promise.all(plant.run(works.map((work) => testCall(clock, { work })), new AbortController().signal)))
    expect(await run([4])).toBeCloseTo(28)
    expect(await run([4, 6])).toBeCloseTo(40)
    expect(await run([10, 4])).toBeCloseTo(20 + 20 + 4 * 10)
    await expect(run([15, 6])).rejects.toMatchObject({ reason: 'out_of_memory' })
    expect(batchTimeMs(p, 14)).toBe(80)
  })

  it('slows down, goes down, and grows when told', async () => {
    const clock = clockAt()
    const plant = batchServer(p, clock)
    plant.setSlowdown(3)
    const run = () => timed(clock, () => plant.run([testCall(clock, { work: 5 })], new AbortController().signal)[0] as Promise<Reply>)
    expect(await run()).toBeCloseTo(90)
    plant.setSlowdown(1)
    plant.reshape({ baseMs: 5, slots: 4 })
    expect(await run()).toBeCloseTo(15)
    expect(plant.limits.slots).toBe(4)
    expect(() => plant.reshape({ speling: 1 })).toThrow('there is no parameter speling')
    plant.setDown(true)
    await expect(run()).rejects.toMatchObject({ code: 'upstream_unreachable' })
  })
})

describe('language-model server', () => {
  const p = llmServerParameters.parse({ kind: 'llm-server', maxSequences: 8, tokensPerStep: 256, kvTokens: 2_000, stepBaseMs: 10, decodeTokenMs: 1, prefillTokenMs: 0.1, contextTokenMs: 0 })

  it('spends prompts at the prefill price and tokens at the step price', async () => {
    const clock = clockAt()
    const plant = llmServer(p, clock)
    const call = request(clock, 100, 20)
    let tokens = 0
    const ms = await timed(clock, async () => void (tokens = await drain(await (plant.run([call], call.signal)[0] as Promise<Reply>))))
    expect(tokens).toBe(20)
    // One step with the prompt (which makes the first token), 19 of one decoding sequence.
    expect(ms).toBeCloseTo(10 + 100 * 0.1 + 19 * 11, 3)
  })

  it('makes every token of every sequence exactly once, whoever comes, goes or is put back; KV memory is never exceeded', async () => {
    const clock = clockAt()
    const plant = llmServer(p, clock)
    let worst = 0
    const made: number[] = []
    for (let i = 0; i < 40; i++) {
      clock.after(i * 37, () => {
        const call = request(clock, 150 + (i % 5) * 50, 80 + (i % 7) * 30)
        void (plant.run([call], call.signal)[0] as Promise<Reply>).then(drain).then((tokens) => made.push(tokens - (80 + (i % 7) * 30)))
      })
    }
    for (let i = 0; i < 4_000; i++) {
      await clock.advance(25)
      worst = Math.max(worst, plant.kvUsed)
    }
    expect(made).toHaveLength(40)
    expect(made.every((difference) => difference === 0)).toBe(true)
    expect(plant.preemptions).toBeGreaterThan(0)
    expect(worst).toBeLessThanOrEqual(p.kvTokens)
    expect([plant.running, plant.waitingInside, plant.kvUsed]).toEqual([0, 0, 0])
  })

  it('lets go of an aborted sequence at once and counts what was wasted; a crash fails all', async () => {
    const clock = clockAt()
    const plant = llmServer(p, clock)
    const [one, two] = [request(clock, 50, 500), request(clock, 50, 500)]
    const replies = [one, two].map((call) => plant.run([call], call.signal)[0] as Promise<Reply>)
    await clock.advance(500)
    one.abort()
    expect(plant.running).toBe(1)
    expect(plant.wastedMs).toBeGreaterThan(0)
    const rest = drain(await (replies[1] as Promise<Reply>))
    const failed = expect(rest).rejects.toMatchObject({ code: 'upstream_unreachable' })
    plant.setDown(true)
    await failed
    expect(plant.running).toBe(0)
  })
})

describe('hosted API', () => {
  const p = hostedApiParameters.parse({ kind: 'hosted-api', requestsPerMinute: 60, inputTokensPerMinute: 60_000, outputTokensPerMinute: 6_000, burstS: 5, ttftMs: 100, tokenMs: 1, tail: 0 })
  const ask = (plant: Plant, clock: ReturnType<typeof clockAt>, output = 10): Promise<Reply> => {
    const call = request(clock, 10, output)
    return plant.run([call], call.signal)[0] as Promise<Reply>
  }

  it('serves its burst, answers 429 with retry-after, and serves again once that is over', async () => {
    const clock = clockAt()
    const plant = hostedApi(p, clock)
    const first = await clock.until(Promise.all(Array.from({ length: 7 }, () => ask(plant, clock))))
    expect(first.map((reply) => reply.status)).toEqual([200, 200, 200, 200, 200, 429, 429])
    const at = first[6]?.rawHeaders.indexOf('retry-after') ?? -1
    expect(first[6]?.rawHeaders[at + 1]).toBe('1')
    await clock.advance(1_000)
    expect((await clock.until(ask(plant, clock))).status).toBe(200)
    expect(plant.refusals).toBe(2)
  })

  it('gives back reserved output that was not used, and halves with the quota', async () => {
    const clock = clockAt()
    const plant = hostedApi(p, clock)
    const big = testCall(clock, { input: { inputTokens: 10, outputTokens: 10 }, work: 10, maxOutputTokens: 450 })
    expect((await clock.until(plant.run([big], big.signal)[0] as Promise<Reply>)).status).toBe(200)
    expect((await clock.until(ask(plant, clock, 450))).status).toBe(200)
    await clock.advance(60_000)
    plant.setQuota?.(0.5)
    const statuses = (await clock.until(Promise.all(Array.from({ length: 4 }, () => ask(plant, clock))))).map((reply) => reply.status)
    expect(statuses).toEqual([200, 200, 429, 429])
  })

  it('sends malformed headers when asked to', async () => {
    const clock = clockAt()
    const plant = hostedApi({ ...p, headers: 'malformed' }, clock)
    expect((await clock.until(ask(plant, clock))).rawHeaders).toContain('plenty')
  })
})

describe('changing answers', () => {
  const p = changingAnswersParameters.parse({ kind: 'changing-answers', hazardsPerS: { fast: 0.5, never: 0 }, serviceMs: 10, noise: 0 })

  it('change at the rate of their class, each key on its own', async () => {
    const clock = clockAt()
    const plant = changingAnswers(p, clock)
    const keys = Array.from({ length: 400 }, (_, i) => `k${i}`)
    for (const key of keys) plant.version(key, 'fast')
    await clock.advance(100_000)
    const changes = keys.reduce((sum, key) => sum + plant.version(key, 'fast'), 0)
    // 400 keys × 50 changes, ± four standard deviations of a Poisson count.
    expect(Math.abs(changes - 20_000)).toBeLessThan(4 * Math.sqrt(20_000))
    expect(plant.version('k', 'never')).toBe(0)
  })

  it('change so many times as often when told', async () => {
    const clock = clockAt()
    const plant = changingAnswers(p, clock)
    const keys = Array.from({ length: 200 }, (_, i) => `k${i}`)
    for (const key of keys) plant.version(key, 'fast')
    plant.setHazardFactor('fast', 10)
    await clock.advance(20_000)
    const changes = keys.reduce((sum, key) => sum + plant.version(key, 'fast'), 0)
    expect(Math.abs(changes - 20_000)).toBeLessThan(4 * Math.sqrt(20_000))
  })
})

it('plant files: a mistake is named', () => {
  expect(() => readPlant({ kind: 'batch-server', baseMs: -1, perWorkMs: 'x' }, 'plant.json')).toThrow(/plant\.json: .*baseMs.*perWorkMs/)
  expect(() => readPlant({ kind: 'steam-engine' }, 'plant.json')).toThrow(/plant\.json/)
})
