import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { GREEDY } from '../../../../plugins/backends/native/engine-contract.ts'
import type { GenerateRequest, GenerateStep } from '../../../../plugins/backends/native/engine-contract.ts'
import { readGguf } from '../../../../plugins/backends/native/gguf.ts'
import { ModelError } from '../../../../plugins/backends/native/model-error.ts'
import { ReferenceEngine } from '../../../../plugins/backends/native/reference-engine.ts'
import type { ReferenceEngineOptions } from '../../../../plugins/backends/native/reference-engine.ts'
import { ReferenceModel } from '../../../../plugins/backends/native/reference.ts'
import { largestIndex } from '../../../../plugins/backends/native/sampling.ts'
import { Tokenizer } from '../../../../plugins/backends/native/tokenizer/tokenizer.ts'
import { writeGguf } from '../../../support/gguf-writer.ts'
import { tinyModel } from '../../../support/tiny-model.ts'

let folder = ''
let path = ''
let model: ReferenceModel
let tokenizer: Tokenizer
/** For tests that leave it as they found it. */
let shared: ReferenceEngine
const engines: ReferenceEngine[] = []

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'reference-engine-'))
  const { metadata, tensors } = tinyModel({ contextLength: 512 })
  path = writeGguf(join(folder, 'model.gguf'), metadata, tensors)
  const gguf = readGguf(path)
  model = new ReferenceModel(gguf)
  tokenizer = new Tokenizer(gguf.metadata)
  shared = await ReferenceEngine.open(path)
})
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()))
})
afterAll(async () => {
  await shared.close()
  rmSync(folder, { recursive: true, force: true })
})

async function open(options: ReferenceEngineOptions = {}): Promise<ReferenceEngine> {
  const engine = await ReferenceEngine.open(path, options)
  engines.push(engine)
  return engine
}

const never = new AbortController().signal
const request = (promptTokens: number[], more: Partial<GenerateRequest> = {}): GenerateRequest => ({ promptTokens, maxTokens: 12, sampling: GREEDY, stopTokens: [], stopStrings: [], ...more })

async function collect(steps: AsyncIterable<GenerateStep>): Promise<{ tokens: number[]; steps: GenerateStep[] }> {
  const all: GenerateStep[] = []
  for await (const step of steps) all.push(step)
  return { tokens: all.flatMap((step) => [...step.tokens]), steps: all }
}

/** What the model says on its own, without threads. */
function greedy(prompt: readonly number[], count: number): number[] {
  const sequence = model.sequence(prompt.length + count)
  prompt.slice(0, -1).forEach((token, position) => model.hidden(sequence, token, position))
  const tokens: number[] = []
  let token = prompt.at(-1) as number
  for (let position = prompt.length - 1; tokens.length < count; position++) {
    token = largestIndex(model.forward(sequence, token, position))
    tokens.push(token)
  }
  return tokens
}

describe('generating', () => {
  it('gives what the model gives, and says how it went', async () => {
    const engine = await open()
    const prompt = [1, 260, 270, 280]
    const { tokens, steps } = await collect(engine.generate(request(prompt), never))
    expect(tokens).toEqual(greedy(prompt, 12))
    expect(steps[0]).toMatchObject({ cachedPromptTokens: 0, queueMs: expect.any(Number), prefillMs: expect.any(Number) })
    expect(steps.at(-1)?.finish).toBe('length')
    expect(steps.slice(0, -1).every(({ finish }) => finish === undefined)).toBe(true)
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, promptTokens: 4, generatedTokens: 12, kvTokens: 0 })
    expect(engine.info).toMatchObject({ name: 'reference', contextLength: 512, config: { architecture: 'llama' } })
  })

  it('many at once are as each alone, more than compute at a time', async () => {
    const engine = await open({ maxSequences: 3 })
    const prompts = Array.from({ length: 9 }, (_, index) => Array.from({ length: 1 + index * 7 }, (__, at) => 3 + ((index * 31 + at * 17) % 310)))
    const answers = await Promise.all(prompts.map((prompt, index) => collect(engine.generate(request(prompt, { maxTokens: 5 + index }), never))))
    answers.forEach(({ tokens }, index) => expect(tokens).toEqual(greedy(prompts[index] as number[], 5 + index)))
  })

  it('larger priority goes first where sequences wait', async () => {
    const engine = await open({ maxSequences: 1 })
    const finished: string[] = []
    const start = (name: string, priority: number): Promise<unknown> => collect(engine.generate(request([1, 2], { priority }), never)).then(() => finished.push(name))
    await Promise.all([start('first', 0), start('low', -1), start('second', 0), start('high', 5)])
    expect(finished).toEqual(['first', 'high', 'second', 'low'])
  })

  it('ends at a stop token without giving it', async () => {
    const engine = shared
    const wanted = greedy([1, 260], 12)
    const stop = wanted[6] as number
    const { tokens, steps } = await collect(engine.generate(request([1, 260], { stopTokens: [stop] }), never))
    expect(tokens).toEqual(wanted.slice(0, wanted.indexOf(stop)))
    expect(steps.at(-1)?.finish).toBe('stop')
  })

  it('ends at a stop string across tokens', async () => {
    const engine = shared
    const wanted = greedy([1, 260], 30)
    const pieces = wanted.map((token) => tokenizer.decode([token]))
    const start = pieces.findIndex((piece, at) => /^[a-z]+$/.test(piece) && /^[a-z]+$/.test(pieces[at + 1] ?? ''))
    expect(start).toBeGreaterThanOrEqual(0)
    const stop = `${pieces[start]?.at(-1)}${pieces[start + 1]?.[0]}`
    const { tokens, steps } = await collect(engine.generate(request([1, 260], { stopStrings: [stop], maxTokens: 30 }), never))
    expect(steps.at(-1)).toMatchObject({ finish: 'stop', stopString: stop })
    expect(tokenizer.decode(tokens)).toContain(stop)
    expect(tokenizer.decode(tokens.slice(0, -1))).not.toContain(stop)
  })

  it('ends when the context is full', async () => {
    const engine = shared
    const { tokens, steps } = await collect(engine.generate(request(Array.from({ length: 500 }, () => 5), { maxTokens: 1000 }), never))
    expect(steps.at(-1)?.finish).toBe('length')
    expect(tokens.length).toBe(13)
  })

  it('log probabilities when asked', async () => {
    const engine = shared
    const { steps } = await collect(engine.generate(request([1, 260], { logprobs: 2, maxTokens: 3 }), never))
    for (const step of steps) {
      expect(step.logprobs).toHaveLength(1)
      expect(step.logprobs?.[0]?.top[0]?.token).toBe(step.tokens[0])
      expect(step.logprobs?.[0]?.logprob).toBe(step.logprobs?.[0]?.top[0]?.logprob)
    }
  })

  it('a narrow window changes the answer, a wide one does not', async () => {
    const engine = shared
    const prompt = Array.from({ length: 60 }, (_, at) => 3 + ((at * 37) % 310))
    const tokens = async (attentionWindow: number): Promise<number[]> => (await collect(engine.generate(request(prompt, { attentionWindow, maxTokens: 20 }), never))).tokens
    expect(await tokens(500)).toEqual(greedy(prompt, 20))
    expect(await tokens(2)).not.toEqual(greedy(prompt, 20))
  })

  it('the event loop stays free', async () => {
    const engine = shared
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    await collect(engine.generate(request([1], { maxTokens: 400 }), never))
    clearInterval(timer)
    // hundreds on a quiet machine; none if the tokens were computed here
    expect(turns).toBeGreaterThan(5)
  })
})

describe('leaving', () => {
  const long = { maxTokens: 400 }

  it('an abort fails the reader and frees the sequence', async () => {
    const engine = await open({ maxSequences: 1 })
    const controller = new AbortController()
    const steps = engine.generate(request([1], long), controller.signal)[Symbol.asyncIterator]()
    await steps.next()
    controller.abort(new Error('gone'))
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 })
    await expect(drain(steps)).rejects.toMatchObject({ code: 'cancelled' })
    // the only place is free at once, not after 400 tokens
    const before = engine.stats().generatedTokens
    await collect(engine.generate(request([1], { maxTokens: 2 }), never))
    expect(engine.stats().generatedTokens - before).toBe(2)
    expect(engine.stats().steps).toBeLessThan(200)
  })

  it('an abort while waiting, or before the call', async () => {
    const engine = await open({ maxSequences: 1 })
    const running = collect(engine.generate(request([1], long), never))
    const controller = new AbortController()
    const waiting = collect(engine.generate(request([1], long), controller.signal))
    controller.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' })
    await expect(collect(engine.generate(request([1], long), controller.signal))).rejects.toMatchObject({ code: 'cancelled' })
    await expect(engine.embed([1], 'mean', controller.signal)).rejects.toMatchObject({ code: 'cancelled' })
    expect((await running).tokens).toHaveLength(400)
  })

  it('leaving the loop frees the sequence', async () => {
    const engine = await open({ maxSequences: 1 })
    for await (const step of engine.generate(request([1], long), never)) {
      expect(step.tokens).toHaveLength(1)
      break
    }
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 })
    expect((await collect(engine.generate(request([1, 260]), never))).tokens).toEqual(greedy([1, 260], 12))
  })

  it('closing fails what runs and what comes later', async () => {
    const engine = await open()
    const running = collect(engine.generate(request([1], long), never))
    const embedding = engine.embed([1, 2], 'mean', never)
    await Promise.all([expect(running).rejects.toMatchObject({ code: 'draining' }), expect(embedding).rejects.toMatchObject({ code: 'draining' }), engine.close()])
    expect(() => engine.generate(request([1]), never)).toThrow(expect.objectContaining({ code: 'draining' }))
    await engine.close()
  })

  it('a crash of the thread fails its requests', async () => {
    let thread: Worker | undefined
    const engine = await open({ startWorker: (script, options) => (thread = new Worker(script, options)) })
    const running = collect(engine.generate(request([1], long), never))
    const embedding = engine.embed([1, 2], 'mean', never)
    // no message that the engine sends: the thread throws
    thread?.postMessage(null)
    const failure = { code: 'backend_failed', message: expect.stringMatching(/^The native engine stopped: /) }
    await Promise.all([expect(running).rejects.toMatchObject(failure), expect(embedding).rejects.toMatchObject(failure)])
    expect(() => engine.generate(request([1]), never)).toThrow(expect.objectContaining({ code: 'backend_failed' }))
  })
})

describe('embedding', () => {
  it('is the normed hidden state, pooled', async () => {
    const engine = shared
    const tokens = Array.from({ length: 40 }, (_, at) => 3 + at)
    const sequence = model.sequence(tokens.length)
    const states = tokens.map((token, position) => model.hidden(sequence, token, position).slice())
    expect(await engine.embed(tokens, 'last', never)).toEqual(states.at(-1))
    const mean = await engine.embed(tokens, 'mean', never)
    mean.forEach((value, index) => expect(value).toBeCloseTo(states.reduce((sum, state) => sum + (state[index] as number), 0) / tokens.length, 5))
  })
})

describe('refusing', () => {
  it.each<[string, Partial<GenerateRequest>, RegExp]>([
    ['an empty prompt', { promptTokens: [] }, /the prompt has no tokens/],
    ['a prompt without room for an answer', { promptTokens: Array.from({ length: 512 }, () => 1) }, /512 tokens, the context is 512/],
    ['a token that is not there', { promptTokens: [1, 320] }, /token 320 at 1/],
    ['half a token', { promptTokens: [1.5] }, /token 1.5 at 0/],
    ['no tokens to make', { maxTokens: 0 }, /maxTokens: expected a whole number from 1/],
    ['a negative temperature', { sampling: { ...GREEDY, temperature: -1 } }, /temperature: expected 0 to 100, got -1/],
    ['a share above one', { sampling: { ...GREEDY, topP: 1.5 } }, /topP: expected 0 to 1, got 1.5/],
    ['too many alternatives', { logprobs: 21 }, /logprobs: expected a whole number from 0 to 20/],
    ['too many stop strings', { stopStrings: Array.from({ length: 17 }, () => 'x') }, /stopStrings: expected a whole number from 0 to 16/],
    ['no window at all', { attentionWindow: 0 }, /attentionWindow: expected a whole number from 1/],
  ])('%s', (_what, more, message) => {
    const engine = shared
    expect(() => engine.generate(request([1], more), never)).toThrow(expect.objectContaining({ code: 'invalid_request', message: expect.stringMatching(message) }))
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 })
  })

  it('more than may wait', async () => {
    const engine = await open({ maxSequences: 1, maxWaiting: 1 })
    const taken = [collect(engine.generate(request([1]), never)), collect(engine.generate(request([1]), never))]
    expect(() => engine.generate(request([1]), never)).toThrow(expect.objectContaining({ code: 'overloaded' }))
    await Promise.all(taken)
    expect((await collect(engine.generate(request([1]), never))).tokens).toHaveLength(12)
  })

  it('a file that cannot be run, with its path', async () => {
    const { metadata, tensors } = tinyModel()
    const broken = writeGguf(join(folder, 'broken.gguf'), metadata, tensors.slice(1))
    await expect(ReferenceEngine.open(broken)).rejects.toThrow(`${broken}: tensor token_embd.weight is missing`)
    const { 'tokenizer.ggml.model': _, ...noTokenizer } = tinyModel().metadata
    const mute = writeGguf(join(folder, 'mute.gguf'), noTokenizer, tensors)
    await expect(ReferenceEngine.open(mute)).rejects.toThrow(`${mute}: metadata key tokenizer.ggml.model is missing`)
    await expect(ReferenceEngine.open(join(folder, 'absent'))).rejects.toBeInstanceOf(ModelError)
  })

  it('an opening that is aborted', async () => {
    const controller = new AbortController()
    const opening = ReferenceEngine.open(path, { signal: controller.signal })
    controller.abort(new Error('never mind'))
    await expect(opening).rejects.toThrow('never mind')
  })
})

async function drain(steps: AsyncIterator<GenerateStep>): Promise<void> {
  while (!(await steps.next()).done) continue
}
