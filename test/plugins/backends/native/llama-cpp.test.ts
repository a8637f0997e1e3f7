/**
 * The engine against llama.cpp's C library on random weights. Neither is the truth: both are measured against the same
 * model in float arithmetic without any rounding of activations, keys or values. The engine may be no further from that
 * than llama.cpp is, give or take the scatter of a root mean square over some hundred values, and then the two cannot be
 * further from each other than their distances added.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect } from 'vitest'
import { LlamaCpp } from '../../../../bench/native/llama-cpp.ts'
import { FIRST_PLAIN_TOKEN, SHAPES, writeRandomModel } from '../../../../bench/random-model.ts'
import { CpuEngine, type CpuEngineOptions } from '../../../../plugins/backends/native/engine.ts'
import { readGguf } from '../../../../plugins/backends/native/gguf.ts'
import { ReferenceModel } from '../../../../plugins/backends/native/reference.ts'
import { logprobsOf } from '../../../../plugins/backends/native/sampling.ts'
import { need } from '../../../support/need.ts'
import { writeGguf } from '../../../support/gguf-writer.ts'
import { tinyModel, uniforms, type TinyModelOptions } from '../../../support/tiny-model.ts'

const TOKENS = 128
const forever = new AbortController().signal

const present = need('native', 'llama-cpp')
present.describe('native engine against llama.cpp', () => {
  let folder = ''
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'llama-cpp-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  // The 15M shape, with a small vocabulary: 6 million weights.
  const large: TinyModelOptions = { embeddingLength: 288, blockCount: 6, headCount: 6, headCountKv: 6, feedForwardLength: 768, contextLength: 256 }
  const models: [string, TinyModelOptions][] = [
    ['15M shape, F32', large],
    ['15M shape, Q8_0', { ...large, type: 'Q8_0' }],
    ['15M shape, Q4_0', { ...large, type: 'Q4_0' }],
    ['grouped heads, Q8_0', { type: 'Q8_0', embeddingLength: 256, headCount: 8, headCountKv: 2, feedForwardLength: 512, contextLength: 256 }],
    ['qwen2 with biases, F16', { architecture: 'qwen2', type: 'F16', embeddingLength: 128, feedForwardLength: 256, contextLength: 256 }],
    ['tied output, Q8_0', { type: 'Q8_0', tied: true, embeddingLength: 128, feedForwardLength: 256, contextLength: 256 }],
  ]
  present.it.each(models)('%s: as near to exact arithmetic as llama.cpp, and near to it', async (name, options) => {
    const { metadata, tensors } = tinyModel(options)
    const file = writeGguf(join(folder, `${name.replaceAll(/\W/g, '-')}.gguf`), metadata, tensors)
    const tokens = prompt(5, 0, 320)
    const reference = new ReferenceModel(readGguf(file), 'single')
    const sequence = reference.sequence(TOKENS)
    const exact = tokens.slice(0, -1).map((token, position) => follows(reference.forward(sequence, token, position), tokens, position))
    // By default such files get the older llama.cpp's rounding inside attention, for its golden outputs.
    const float = options.type === undefined || options.type === 'F16'
    await compare(file, [[tokens, exact]], float ? { kvPrecision: 'f32' } : {})
  })

  // At this size the reference would take minutes: exact arithmetic is our own engine's with all weights made floats,
  // which the small models above hold to the reference, and which must be near llama.cpp here.
  present.it('0.5B shape, Q8_0: the same on three prompts', { timeout: 120_000 }, async () => {
    const file = join(folder, '0.5b-q8_0.gguf')
    const shape = SHAPES['0.5b']
    writeRandomModel(file, shape, 'Q8_0')
    const prompts = [1, 2, 3].map((seed) => prompt(seed, FIRST_PLAIN_TOKEN, shape.vocabulary))
    const plain = await CpuEngine.open(file, { threads: 2, expandWeights: true, kvPrecision: 'f32', kvBudgetBytes: 2 ** 26 })
    const exact: [number[], number[]][] = []
    for (const tokens of prompts) exact.push([tokens, Array.from(await plain.score(tokens, {}, forever))])
    await plain.close()
    await compare(file, exact, {})
  })

  /** Both engines against `exact`: log probabilities of each token after the first. */
  async function compare(file: string, cases: readonly (readonly [number[], number[]])[], options: CpuEngineOptions): Promise<void> {
    const llama = new LlamaCpp(file, { threads: 2, sequences: 1, contextPerSequence: 256 })
    const engine = await CpuEngine.open(file, { threads: 2, kvBudgetBytes: 2 ** 26, ...options })
    for (const [tokens, exact] of cases) {
      llama.clear()
      llama.decode(tokens.map((token, position) => ({ token, position, sequence: 0, logits: true })))
      const theirs = exact.map((_, position) => follows(Float32Array.from(llama.logits(position)), tokens, position))
      const ours = Array.from(await engine.score(tokens, {}, forever))
      const [ourError, theirError, apart] = [distance(ours, exact), distance(theirs, exact), distance(ours, theirs)]
      const scatter = distance(exact, exact.map(() => exact.reduce((sum, value) => sum + value, 0) / exact.length))
      expect(theirError, 'llama.cpp and the reference compute the same model').toBeLessThan(scatter / 10)
      expect(ourError).toBeLessThan(theirError * 1.5)
      expect(apart).toBeLessThan(ourError + theirError)
    }
    llama.close()
    await engine.close()
  }
})

function prompt(seed: number, first: number, vocabulary: number): number[] {
  const next = uniforms(seed)
  return Array.from({ length: TOKENS }, () => first + Math.floor(next() * (vocabulary - first)))
}

/** The log probability of the token after `position`. */
function follows(logits: Float32Array, tokens: readonly number[], position: number): number {
  return logprobsOf(logits, tokens[position + 1] as number, 0).logprob
}

/** Root mean square of the differences. */
function distance(a: readonly number[], b: readonly number[]): number {
  return Math.sqrt(a.reduce((sum, value, i) => sum + (value - (b[i] as number)) ** 2, 0) / a.length)
}
