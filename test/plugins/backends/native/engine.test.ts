/** The C++ engine: the same numbers whatever the batch, the pages, the cache or the interruptions. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { CpuEngine, type CpuEngineOptions } from '../../../../plugins/backends/native/engine.ts'
import { loadAddon, type Addon } from '../../../../plugins/backends/native/engine-addon.ts'
import { GREEDY, type GenerateRequest, type GenerateStep, type TokenLogprobs } from '../../../../plugins/backends/native/engine-contract.ts'
import { readGguf } from '../../../../plugins/backends/native/gguf.ts'
import { readModel } from '../../../../plugins/backends/native/gguf-model.ts'
import { modelSpec } from '../../../../plugins/backends/native/engine-spec.ts'
import { Tokenizer } from '../../../../plugins/backends/native/tokenizer/tokenizer.ts'
import { ReferenceModel } from '../../../../plugins/backends/native/reference.ts'
import { logprobsOf } from '../../../../plugins/backends/native/sampling.ts'
import { uint32, writeGguf } from '../../../support/gguf-writer.ts'
import { dataPath } from '../../../support/data.ts'
import { need } from '../../../support/need.ts'
import { tinyModel, uniforms, type TinyModelOptions } from '../../../support/tiny-model.ts'

const native = need('native')
const forever = new AbortController().signal
let folder = ''
const engines: CpuEngine[] = []
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'engine-'))
})
afterAll(async () => {
  await Promise.all(engines.map((engine) => engine.close()))
  rmSync(folder, { recursive: true, force: true })
})

let files = 0
function modelFile(options: TinyModelOptions = {}): string {
  const { metadata, tensors } = tinyModel({ contextLength: 512, ...options })
  return writeGguf(join(folder, `model-${files++}.gguf`), metadata, tensors)
}

async function open(file: string, options: CpuEngineOptions = {}): Promise<CpuEngine> {
  const engine = await CpuEngine.open(file, { threads: 2, ...options })
  engines.push(engine)
  return engine
}

interface Result {
  readonly tokens: number[]
  readonly logprobs: TokenLogprobs[]
  readonly steps: GenerateStep[]
}

const request = (promptTokens: readonly number[], more: Partial<GenerateRequest> = {}): GenerateRequest => ({ promptTokens, maxTokens: 20, sampling: GREEDY, stopTokens: [], stopStrings: [], logprobs: 3, ...more })

async function generate(engine: CpuEngine, asked: GenerateRequest, signal = forever): Promise<Result> {
  const steps: GenerateStep[] = []
  for await (const step of engine.generate(asked, signal)) steps.push(step)
  return { steps, tokens: steps.flatMap(({ tokens }) => tokens), logprobs: steps.flatMap(({ logprobs }) => logprobs ?? []) }
}

/** Token by token and bit by bit; not the timings. */
const numbers = ({ tokens, logprobs, steps }: Result): unknown => ({ tokens, logprobs, finish: steps.at(-1)?.finish, stopString: steps.at(-1)?.stopString })

function prompt(length: number, seed: number): number[] {
  const next = uniforms(seed)
  return Array.from({ length }, () => Math.floor(next() * 320))
}

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 2000 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 2))
  expect(holds()).toBe(true)
}

native.describe('native engine: numbers', () => {
  const models: [string, TinyModelOptions][] = [
    ['llama F32', {}],
    ['llama F16 tied', { type: 'F16', tied: true }],
    ['qwen2 F32', { architecture: 'qwen2' }],
    ['llama, one key-value head', { headCountKv: 1 }],
    ['llama, no grouping, odd sizes', { embeddingLength: 40, headCount: 5, headCountKv: 5, feedForwardLength: 52 }],
    ['llama with a bias and its own window', { attentionBias: true, metadata: { 'llama.attention.sliding_window': uint32(9) } }],
    ['llama, linear RoPE scaling, half of it rotated', { metadata: { 'llama.rope.scaling.type': { type: 'string', value: 'linear' }, 'llama.rope.scaling.factor': { type: 'float32', value: 4 }, 'llama.rope.dimension_count': uint32(8) } }],
  ]
  it.each(models)('%s: log probabilities of the TypeScript reference', async (_, options) => {
    const file = modelFile(options)
    const model = new ReferenceModel(readGguf(file), 'single')
    const engine = await open(file, { kvPrecision: 'f32' })
    const { tokens, logprobs } = await generate(engine, request(prompt(45, 3)))
    const sequence = model.sequence(100)
    let logits = new Float32Array(0)
    let position = 0
    for (const token of prompt(45, 3)) logits = model.forward(sequence, token, position++) as Float32Array<ArrayBuffer>
    tokens.forEach((token, index) => {
      const wanted = logprobsOf(logits, token, 3)
      expect(logprobs[index]?.logprob).toBeCloseTo(wanted.logprob, 4)
      expect(logprobs[index]?.top.map(({ logprob }) => logprob)).toEqual(wanted.top.map(({ logprob }) => expect.closeTo(logprob, 4) as number))
      logits = model.forward(sequence, token, position++) as Float32Array<ArrayBuffer>
    })
  })

  it.each(['Q8_0', 'Q4_0'] as const)('%s weights: within 0.1 of the reference, which does not round activations', async (type) => {
    const file = modelFile({ type })
    const model = new ReferenceModel(readGguf(file), 'single')
    const engine = await open(file)
    const tokens = prompt(60, 8)
    const scores = await engine.score(tokens, {}, forever)
    const sequence = model.sequence(60)
    const differences = tokens.slice(0, -1).map((token, position) => Math.abs(logprobsOf(model.forward(sequence, token, position), tokens[position + 1] as number, 0).logprob - (scores[position] as number)))
    expect(Math.max(...differences)).toBeLessThan(0.1)
  })

  it.each(['f32', 'bf16', 'half'] as const)('a batch of 12 is bit for bit 12 single runs (%s keys and values)', async (kvPrecision) => {
    const engine = await open(modelFile({ type: 'Q8_0' }), { kvPrecision, tokensPerStep: 37, maxSequences: 12 })
    const asked = Array.from({ length: 12 }, (_, i) => request(prompt(1 + i * 11, i), { maxTokens: 5 + i, sampling: { ...GREEDY, temperature: i % 2, seed: i, topK: 40, topP: 0.9 } }))
    const alone: unknown[] = []
    for (const one of asked) alone.push(numbers(await generate(engine, one)))
    const together = await Promise.all(asked.map((one) => generate(engine, one)))
    expect(together.map(numbers)).toEqual(alone)
    expect(engine.stats().steps).toBeGreaterThan(0)
  })

  it('the number of threads and the size of prompt chunks change nothing', async () => {
    const file = modelFile({ type: 'Q4_0' })
    const results: unknown[] = []
    for (const [threads, tokensPerStep] of [[1, 512], [2, 7], [3, 64], [4, 1]] as const) results.push(numbers(await generate(await open(file, { threads, tokensPerStep }), request(prompt(150, 5)))))
    for (const result of results) expect(result).toEqual(results[0])
  })

  it.each((loadAddon()?.kernels() ?? []))('%s gives the tokens of scalar', async (isa) => {
    const file = modelFile({ type: 'Q8_0', seed: 4 })
    const one = await generate(await open(file, { isa, kvPrecision: 'f32' }), request(prompt(70, 2)))
    const other = await generate(await open(file, { isa: 'scalar', kvPrecision: 'f32' }), request(prompt(70, 2)))
    expect((await open(file, { isa })).info.name).toContain(isa)
    expect(one.tokens).toEqual(other.tokens)
    one.logprobs.forEach(({ logprob }, i) => expect(Math.abs(logprob - (other.logprobs[i]?.logprob ?? NaN))).toBeLessThan(2e-2))
  })

  it('a reused prefix is bit for bit a computed one, within a space only', async () => {
    const engine = await open(modelFile())
    const shared = prompt(100, 1)
    const first = await generate(engine, request([...shared, 5, 6], { cacheSpace: 'a' }))
    expect(first.steps[0]?.cachedPromptTokens).toBe(0)
    const again = await generate(engine, request([...shared, 7, 8], { cacheSpace: 'a' }))
    const fresh = await generate(engine, request([...shared, 7, 8]))
    expect(again.steps[0]?.cachedPromptTokens).toBe(96)
    expect(fresh.steps[0]?.cachedPromptTokens).toBe(0)
    expect(numbers(again)).toEqual(numbers(fresh))
    expect((await generate(engine, request([...shared, 7, 8], { cacheSpace: 'b' }))).steps[0]?.cachedPromptTokens).toBe(0)
    // another window computes other keys and values
    expect((await generate(engine, request([...shared, 7, 8], { cacheSpace: 'a', attentionWindow: 50 }))).steps[0]?.cachedPromptTokens).toBe(0)
    // a whole prompt in the cache: its last token is still computed
    const whole = shared.slice(0, 96)
    expect((await generate(engine, request(whole, { cacheSpace: 'a' }))).steps[0]?.cachedPromptTokens).toBe(64)
    // generated tokens are reused too, as in a conversation
    const next = await generate(engine, request([...shared, 5, 6, ...first.tokens, 9], { cacheSpace: 'a' }))
    expect(next.steps[0]?.cachedPromptTokens).toBeGreaterThanOrEqual(96)
    expect(engine.stats().cachedTokens).toBeGreaterThan(0)
    engine.dropCache()
    await until(() => engine.stats().kvTokens === 0)
  })

  it('a preempted run is bit for bit an undisturbed one, and memory stays within its budget', async () => {
    const file = modelFile({ contextLength: 256 })
    const pageBytes = 2 * 2 * 2 * 16 * 32 * 2 // sides, layers, heads, dimensions, tokens, bytes
    const tight = await open(file, { kvBudgetBytes: pageBytes * 10, maxSequences: 8 })
    const roomy = await open(file)
    const asked = Array.from({ length: 8 }, (_, i) => request(prompt(20 + i, i), { maxTokens: 60, sampling: { ...GREEDY, temperature: 0.8, seed: i } }))
    const disturbed = await Promise.all(asked.map((one) => generate(tight, one)))
    expect(tight.stats().kvCapacityTokens).toBe(320)
    expect(tight.stats().preemptions).toBeGreaterThan(0)
    expect(disturbed.map(numbers)).toEqual((await Promise.all(asked.map((one) => generate(roomy, one)))).map(numbers))
    await until(() => tight.stats().kvTokens === 0)
  })

  it('a window as long as the text is full attention; a shorter one is the reference’s', async () => {
    const file = modelFile()
    const engine = await open(file, { kvPrecision: 'f32' })
    const text = prompt(200, 6)
    const full = await generate(engine, request(text))
    expect(numbers(await generate(engine, request(text, { attentionWindow: 220, attentionSinks: 0 })))).toEqual(numbers(full))
    expect(numbers(await generate(engine, request(text, { attentionWindow: 100_000 })))).toEqual(numbers(full))
    const scores = await engine.score(text, { attentionWindow: 40, attentionSinks: 3 }, forever)
    const model = new ReferenceModel(readGguf(file), 'single')
    const sequence = model.sequence(200, 40, 3)
    const wanted = text.slice(0, -1).map((token, position) => logprobsOf(model.forward(sequence, token, position), text[position + 1] as number, 0).logprob)
    expect(Array.from(scores)).toEqual(wanted.map((value) => expect.closeTo(value, 3) as number))
    expect(Array.from(scores)).not.toEqual(Array.from(await engine.score(text, {}, forever)))
    // pages that the window has passed are free again
    const stream = engine.generate(request(prompt(300, 2), { maxTokens: 150, attentionWindow: 40 }), forever)[Symbol.asyncIterator]()
    for (let i = 0; i < 20; i++) await stream.next()
    expect(engine.stats().kvTokens).toBeLessThanOrEqual(40 + 3 * 32)
    await stream.return?.()
  })

  it('embeds: mean and last pooling as the reference', async () => {
    const file = modelFile()
    const engine = await open(file, { kvPrecision: 'f32', tokensPerStep: 16 })
    const tokens = prompt(50, 4)
    const model = new ReferenceModel(readGguf(file), 'single')
    const sequence = model.sequence(50)
    const mean = new Float64Array(64)
    let last = new Float32Array(64)
    tokens.forEach((token, position) => {
      last = model.hidden(sequence, token, position).slice()
      last.forEach((value, i) => (mean[i] = (mean[i] as number) + value / 50))
    })
    expect(Array.from(await engine.embed(tokens, 'last', forever))).toEqual(Array.from(last, (value) => expect.closeTo(value, 4) as number))
    expect(Array.from(await engine.embed(tokens, 'mean', forever))).toEqual(Array.from(mean, (value) => expect.closeTo(value, 4) as number))
  })
})

need('native', 'data').describe('native engine: golden outputs of llama.cpp', () => {
  interface Row { prompt_tokens: number[]; greedy_tokens: number[]; min_top2_logprob_margin: number; first_step_top3: [number, number][] }
  const rows = readFileSync(dataPath('golden/stories260K-golden.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Row)

  it.each((loadAddon()?.kernels() ?? []))('F32, %s: every row with a margin above 1e-3', async (isa) => {
    const engine = await open(dataPath('models/stories260K-f32.gguf'), { isa })
    const decisive = rows.filter((row) => row.min_top2_logprob_margin > 1e-3)
    expect(decisive.length).toBeGreaterThan(20)
    const got = await Promise.all(decisive.map((row) => generate(engine, request(row.prompt_tokens, { maxTokens: row.greedy_tokens.length }))))
    expect(got.map(({ tokens }) => tokens)).toEqual(decisive.map((row) => row.greedy_tokens))
    const first = got.flatMap(({ logprobs }, i) => (decisive[i] as Row).first_step_top3.map(([token, logprob]) => Math.abs((logprobs[0]?.top.find((one) => one.token === token)?.logprob ?? NaN) - logprob)))
    expect(Math.max(...first)).toBeLessThan(5e-3)
  })

  it('Q8_0: log probabilities within 0.2 of the golden ones, greedy until a near tie', async () => {
    const engine = await open(dataPath('models/stories260K-q8_0.gguf'))
    const errors: number[] = []
    for (const row of rows) {
      const { logprobs } = await generate(engine, request(row.prompt_tokens, { maxTokens: 1, logprobs: 20 }))
      for (const [token, wanted] of row.first_step_top3) errors.push(Math.abs((logprobs[0]?.top.find((one) => one.token === token)?.logprob ?? NaN) - wanted))
    }
    expect(Math.max(...errors)).toBeLessThan(0.2)
    expect(errors.reduce((sum, error) => sum + error, 0) / errors.length).toBeLessThan(0.05)
  })
})

native.describe('native engine: behaviour', () => {
  it('finishes by length, by a stop token (not emitted), by a stop string across tokens, by a full context', async () => {
    const engine = await open(modelFile({ contextLength: 64 }))
    const free = await generate(engine, request(prompt(10, 1), { maxTokens: 12 }))
    expect(free.tokens).toHaveLength(12)
    expect(free.steps.at(-1)?.finish).toBe('length')
    const at = free.tokens.findIndex((token, i) => i >= 3 && free.tokens.indexOf(token) === i)
    const stopped = await generate(engine, request(prompt(10, 1), { maxTokens: 12, stopTokens: [free.tokens[at] as number] }))
    expect(stopped.tokens).toEqual(free.tokens.slice(0, at))
    expect(stopped.steps.at(-1)?.finish).toBe('stop')
    const full = await generate(engine, request(prompt(10, 1), { maxTokens: 1000 }))
    expect(full.tokens).toHaveLength(54)
    expect(full.steps.at(-1)?.finish).toBe('length')
  })

  it('finds stop strings over token borders', async () => {
    const file = modelFile()
    const engine = await open(file)
    const { Tokenizer } = await import('../../../../plugins/backends/native/tokenizer/tokenizer.ts')
    const tokenizer = new Tokenizer(readGguf(file).metadata)
    for (let seed = 0; seed < 6; seed++) {
      const asked = request(prompt(12, seed), { maxTokens: 40, sampling: { ...GREEDY, temperature: 1, seed } })
      const { tokens } = await generate(engine, asked)
      const bytes = tokens.map((token) => Buffer.from(tokenizer.bytes(token)).toString('latin1'))
      const ascii = bytes.findIndex((text, i) => i > 4 && /^[\x20-\x7e]+$/.test(text) && /^[\x20-\x7e]+$/.test(bytes[i + 1] ?? ''))
      if (ascii < 0) continue
      const stop = `${(bytes[ascii] as string).slice(-1)}${(bytes[ascii + 1] as string).slice(0, 1)}`
      const wanted = bytes.findIndex((_, i) => bytes.slice(0, i + 1).join('').includes(stop)) + 1
      const got = await generate(engine, { ...asked, stopStrings: ['', 'never in there at all', stop] })
      expect(got.tokens).toEqual(tokens.slice(0, wanted))
      expect(got.steps.at(-1)).toMatchObject({ finish: 'stop', stopString: stop })
    }
  })

  it('samples: the same seed the same tokens, another seed others, filters down to one token are greedy', async () => {
    const engine = await open(modelFile())
    const run = async (sampling: Partial<GenerateRequest['sampling']>): Promise<number[]> => (await generate(engine, request(prompt(20, 1), { sampling: { ...GREEDY, ...sampling } }))).tokens
    const greedy = await run({})
    expect(await run({ temperature: 1, seed: 7 })).toEqual(await run({ temperature: 1, seed: 7 }))
    expect(await run({ temperature: 1, seed: 7 })).not.toEqual(await run({ temperature: 1, seed: 8 }))
    expect(await run({ temperature: 1, seed: 7, topK: 1 })).toEqual(greedy)
    expect(await run({ temperature: 1, seed: 7, topP: 1e-9 })).toEqual(greedy)
    expect(await run({ temperature: 1, seed: 7, minP: 1 })).toEqual(greedy)
    const unlike = await run({ repetitionPenalty: 100 })
    expect(new Set(unlike).size).toBe(unlike.length)
  })

  it('draws tokens as often as their probabilities say', async () => {
    const engine = await open(modelFile({ seed: 11 }), { maxSequences: 64 })
    const top = (await generate(engine, request(prompt(9, 9), { maxTokens: 1, logprobs: 5 }))).logprobs[0]?.top ?? []
    const draws = 1500
    const counts = new Map<number, number>()
    for (let at = 0; at < draws; at += 250) {
      const got = await Promise.all(Array.from({ length: 250 }, (_, i) => generate(engine, request(prompt(9, 9), { maxTokens: 1, sampling: { ...GREEDY, temperature: 1, topK: 5, seed: at + i } }))))
      for (const { tokens } of got) counts.set(tokens[0] as number, (counts.get(tokens[0] as number) ?? 0) + 1)
    }
    const total = top.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)
    for (const { token, logprob } of top) {
      const share = Math.exp(logprob) / total
      expect(Math.abs((counts.get(token) ?? 0) / draws - share)).toBeLessThan(5 * Math.sqrt((share * (1 - share)) / draws))
    }
  })

  it('cancelling frees the pages within a step; leaving the loop too; others go on', async () => {
    const engine = await open(modelFile())
    const kept = generate(engine, request(prompt(30, 1), { maxTokens: 200 }))
    const abort = new AbortController()
    const aborted = generate(engine, request(prompt(300, 2), { maxTokens: 100 }), abort.signal)
    for await (const step of engine.generate(request(prompt(200, 3), { maxTokens: 300 }), forever)) if (step.tokens.length > 0) break
    const refused = expect(aborted).rejects.toMatchObject({ code: 'cancelled' })
    abort.abort()
    // one step may be under way; the one after it knows
    const { steps } = engine.stats()
    await until(() => engine.stats().steps >= steps + 2 || engine.stats().running === 0)
    expect(engine.stats().running).toBeLessThanOrEqual(1)
    expect(engine.stats().kvTokens).toBeLessThanOrEqual(256) // 230 tokens at most are the other one's; 300 and more were ours
    await refused
    expect((await kept).tokens).toHaveLength(200)
    await until(() => engine.stats().kvTokens === 0 && engine.stats().running === 0)
    await expect(generate(engine, request([1]), AbortSignal.abort())).rejects.toMatchObject({ code: 'cancelled' })
    await expect(engine.embed([1], 'mean', AbortSignal.abort())).rejects.toMatchObject({ code: 'cancelled' })
  })

  it('serves the higher priority first, then who came first', async () => {
    const engine = await open(modelFile(), { maxSequences: 1 })
    const order: string[] = []
    const ask = (name: string, priority: number): Promise<void> => generate(engine, request(prompt(5, 1), { priority, maxTokens: 5 })).then(() => void order.push(name))
    // all asked in one turn of the event loop: they are in line long before the one that runs is done
    const busy = generate(engine, request(prompt(5, 1), { maxTokens: 400 }))
    await Promise.all([ask('low', -1), ask('first', 0), ask('second', 0), ask('high', 5)])
    await busy
    expect(order).toEqual(['high', 'first', 'second', 'low'])
  })

  it('refuses what does not fit, names it, and refuses beyond its line', async () => {
    const engine = await open(modelFile({ contextLength: 64 }), { maxSequences: 1, maxWaiting: 1 })
    const refused = (more: Partial<GenerateRequest>): (() => unknown) => () => engine.generate(request([1, 2], more), forever)
    expect(refused({ promptTokens: [] })).toThrow(/no tokens/)
    expect(refused({ promptTokens: prompt(64, 1) })).toThrow(/64 tokens, the context is 64/)
    expect(refused({ promptTokens: [1, 320] })).toThrow(/token 320 at 1/)
    expect(refused({ promptTokens: [1, -1] })).toThrow(/token -1/)
    expect(refused({ maxTokens: 0 })).toThrow(/maxTokens/)
    expect(refused({ logprobs: 21 })).toThrow(/logprobs/)
    expect(refused({ sampling: { ...GREEDY, topP: 2 } })).toThrow(/topP/)
    const running = [generate(engine, request([1])), generate(engine, request([1]))]
    expect(() => engine.generate(request([1]), forever)).toThrow(expect.objectContaining({ code: 'overloaded' }) as Error)
    await Promise.all(running)
  })

  it('takes new limits while it runs', async () => {
    const engine = await open(modelFile(), { maxSequences: 1 })
    const all = Promise.all(Array.from({ length: 6 }, () => generate(engine, request(prompt(5, 1), { maxTokens: 150 }))))
    await until(() => engine.stats().running === 1)
    engine.setLimits({ maxSequences: 4, tokensPerStep: 16 })
    await until(() => engine.stats().running === 4)
    expect(engine.stats()).toMatchObject({ maxSequences: 4, tokensPerStep: 16 })
    expect(() => engine.setLimits({ tokensPerStep: 0 })).toThrow(/out of range/)
    await all
  })

  it('reports queue and prefill times, steps, tokens', async () => {
    const engine = await open(modelFile())
    const { steps } = await generate(engine, request(prompt(40, 1), { maxTokens: 10 }))
    expect(steps[0]).toMatchObject({ cachedPromptTokens: 0, queueMs: expect.any(Number) as number, prefillMs: expect.any(Number) as number })
    expect(steps[0]?.prefillMs).toBeGreaterThan(0)
    await until(() => engine.stats().running === 0)
    expect(engine.stats()).toMatchObject({ promptTokens: 40, generatedTokens: 10, steps: 10, batchTokens: 1, waiting: 0, preemptions: 0 })
    expect(engine.stats().busyMs).toBeGreaterThan(0)
  })

  it('closing fails what runs and refuses what comes; twice is safe', async () => {
    const engine = await open(modelFile())
    const running = generate(engine, request(prompt(40, 1), { maxTokens: 400 }))
    const embedding = engine.embed(prompt(400, 1), 'mean', forever)
    const closed = engine.close()
    await expect(running).rejects.toMatchObject({ code: 'draining' })
    await expect(embedding).rejects.toMatchObject({ code: 'draining' })
    await closed
    await engine.close()
    expect(() => engine.generate(request([1]), forever)).toThrow(expect.objectContaining({ code: 'draining' }) as Error)
    expect(engine.stats().running).toBeGreaterThanOrEqual(0)
  })

  it('a budget too small for one page, unknown kernels, and a file cut after its header was read are clear errors', async () => {
    const file = modelFile()
    await expect(open(file, { kvBudgetBytes: 100 })).rejects.toThrow(/budget is smaller than one page/)
    await expect(open(file, { isa: 'sse9' })).rejects.toThrow(/no kernels named sse9/)
    const gguf = readGguf(file)
    const { truncateSync } = await import('node:fs')
    truncateSync(file, Math.floor(gguf.fileBytes / 2))
    await expect(open(file, { gguf })).rejects.toThrow(/outside the file/)
    await expect(open(file, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(/enough/)
  })

  it('the addon checks what it is handed again', async () => {
    const engine = await open(modelFile())
    expect(engine.info).toMatchObject({ contextLength: 512, parameters: expect.any(Number) as number })
    const addon = loadAddon() as Addon
    await expect(async () => addon.load({ path: '/' } as never, () => {})).rejects.toThrow(/isa/)
    await expect(async () => addon.load(null as never, () => {})).rejects.toThrow(/expected/)

    const gguf = readGguf(modelFile())
    const spec = { ...modelSpec(gguf, readModel(gguf), new Tokenizer(gguf.metadata)), isa: '', threads: 1, spinMicros: 30, kvBytes: 2 ** 24, kvType: 0 as const, expand: false, collect: false, maxSequences: 4, tokensPerStep: 64 }
    const changed = (tensor: number, field: number, value: number): typeof spec => {
      const tensors = Float64Array.from(spec.tensors)
      tensors[tensor * 5 + field] = value
      return { ...spec, tensors }
    }
    // type, offset, bytes, columns, rows: of the output norm (1), a vector, and of the embedding (0)
    const vectorOfBlocks = changed(1, 0, 8)
    vectorOfBlocks.tensors[1 * 5 + 2] = (64 / 32) * 34
    await expect(addon.load(vectorOfBlocks, () => {})).rejects.toThrow(/a vector has a block type/)
    await expect(addon.load(changed(0, 1, 2 ** 52), () => {})).rejects.toThrow(/outside the file/)
    await expect(addon.load(changed(0, 2, 64), () => {})).rejects.toThrow(/does not match its shape/)
    await expect(addon.load(changed(0, 4, 319), () => {})).rejects.toThrow(/size does not match|shape does not match/)
    await expect(addon.load(changed(0, 0, 3), () => {})).rejects.toThrow(/type/)
    await expect(async () => addon.load(changed(0, 3, NaN), () => {})).rejects.toThrow(/out of range/)
    const core = await addon.load(spec, () => {})
    const asked = { id: 1, kind: 0, prompt: Int32Array.of(1, 2), stopTokens: new Int32Array(), stopStrings: [], maxTokens: 1, topLogprobs: -1, window: 0, sinks: 0, priority: 0, temperature: 0, topP: 1, minP: 0, repetitionPenalty: 1, topK: 0, seed: 1, cacheSpace: undefined }
    for (const [bad, why] of [[{ prompt: Int32Array.of(320) }, /vocabulary/], [{ prompt: new Int32Array() }, /does not fit/], [{ seed: NaN }, /seed/], [{ seed: -1 }, /seed/], [{ window: -1 }, /window/], [{ stopStrings: [1] }, /strings/]] as const) {
      expect(() => core.submit({ ...asked, ...bad } as never)).toThrow(why)
    }
    await core.close()
    expect(() => core.submit(asked as never)).toThrow(/closed/)
  })
})
