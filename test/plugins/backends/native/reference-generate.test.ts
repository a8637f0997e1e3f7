import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runGenerate, runInspect, runTokenize } from '../../../../plugins/backends/native/generate.ts'
import { runPerplexity } from '../../../../plugins/backends/native/perplexity.ts'
import { dataPath } from '../../../support/data.ts'
import { string, writeGguf } from '../../../support/gguf-writer.ts'
import { need } from '../../../support/need.ts'
import { tinyModel } from '../../../support/tiny-model.ts'

let folder = ''
let path = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'generate-'))
  const { metadata, tensors } = tinyModel()
  path = writeGguf(join(folder, 'model.gguf'), metadata, tensors)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('generate', () => {
  it('gives tokens, text and times', async () => {
    const pieces: string[] = []
    const result = await runGenerate({ model: path, prompt: 'hello', maxTokens: 8, logprobs: 0, onText: (text) => pieces.push(text) })
    expect(result.promptTokens).toHaveLength(2)
    expect(result.tokens).toHaveLength(8)
    expect(result.logprobs).toHaveLength(8)
    expect(pieces.join('')).toBe(result.text)
    expect(result).toMatchObject({ engine: expect.stringMatching(/^(reference|cpu )/) as string, finishReason: 'length' })
    expect(result.timings.loadMs).toBeGreaterThan(0)
    expect(await runGenerate({ model: path, prompt: 'hello', maxTokens: 8 })).toMatchObject({ tokens: result.tokens })
  })

  it('puts a message into the chat template', async () => {
    const { promptTokens } = await runGenerate({ model: path, prompt: 'hello', chat: true, maxTokens: 1 })
    expect(promptTokens.length).toBeGreaterThan(10)
  })

  it('cuts the text at a stop string', async () => {
    const { text } = await runGenerate({ model: path, prompt: 'hello', maxTokens: 40 })
    const stop = text.slice(5, 7)
    const pieces: string[] = []
    const cut = await runGenerate({ model: path, prompt: 'hello', maxTokens: 40, stop: [stop], onText: (piece) => pieces.push(piece) })
    expect(cut.text).toBe(text.slice(0, text.indexOf(stop)))
    expect(pieces.join('')).toBe(cut.text)
    expect(cut.finishReason).toBe('stop')
  })
})

need('data').describe('generate on a trained model', () => {
  it('tells a story', async () => {
    const model = dataPath('models/stories260K-f32.gguf')
    const { text, promptTokens } = await runGenerate({ model, prompt: 'Once upon a time', maxTokens: 48 })
    expect(promptTokens).toEqual([1, 403, 407, 261, 378])
    expect(text).toBe(', there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it,')
  })
})

describe('inspect', () => {
  it('describes a model', () => {
    const described = runInspect(path)
    expect(described).toMatchObject({
      architecture: 'llama',
      runnable: true,
      contextLength: 128,
      tensors: 21,
      tensorsByType: { F32: { tensors: 21 } },
      tokenizer: { kind: 'llama', vocabularySize: 320 },
      metadata: { 'tokenizer.ggml.tokens': '320 × string' },
    })
    expect(JSON.parse(JSON.stringify(described))).toMatchObject({ parameters: described['parameters'] })
  })

  it('says why a sound file cannot be run', () => {
    const other = writeGguf(join(folder, 'other.gguf'), { 'general.architecture': string('mamba') })
    expect(runInspect(other)['runnable']).toMatch(/no weights/)
  })

  it('throws one line for a bad file', () => {
    const bad = join(folder, 'bad.gguf')
    writeFileSync(bad, 'GGUF and then nothing')
    expect(() => runInspect(bad)).toThrow(/^[^\n]*bad\.gguf: [^\n]+$/)
  })
})

describe('tokenize', () => {
  it('with and without special tokens, from text or bytes', () => {
    expect(runTokenize({ model: path, text: 'hello</s>' }).tokens.at(-1)).toBe(2)
    expect(runTokenize({ model: path, text: 'hello</s>', special: false }).tokens).not.toContain(2)
    const text = '\ufeffa\u0000\r\n'
    expect(runTokenize({ model: path, text: Buffer.from(text), special: false })).toEqual(runTokenize({ model: path, text, special: false }))
    expect(runTokenize({ model: path, text, special: false }).tokens.length).toBeGreaterThan(5)
  })
})

describe('perplexity', () => {
  const text = 'hello world. '.repeat(80)

  it('a window of the whole context changes nothing, a narrow one does', () => {
    const full = runPerplexity({ model: path, text })
    expect(full.tokens).toBeGreaterThan(100)
    expect(full.chunks).toBe(Math.ceil(full.tokens / 127))
    expect(full.perplexity).toBeCloseTo(Math.exp(full.negativeLogLikelihood), 10)
    expect(runPerplexity({ model: path, text, window: 128 })).toEqual(full)
    expect(runPerplexity({ model: path, text, window: 2, sinks: 0 }).perplexity).not.toBeCloseTo(full.perplexity, 3)
  })

  it('needs something to predict', () => {
    expect(() => runPerplexity({ model: path, text: '' })).toThrow(/too few tokens/)
  })
})

need('data').describe('perplexity of a trained model', () => {
  it('is low on its kind of text and high on another', () => {
    const model = dataPath('models/stories260K-f32.gguf')
    const story = runPerplexity({ model, text: 'Once upon a time, there was a little girl named Lily. She loved to play outside in the park.' })
    const noise = runPerplexity({ model, text: 'Quarterly liabilities exceed EBITDA; zinc futures plummeted.' })
    expect(story.perplexity).toBeLessThan(3)
    expect(noise.perplexity).toBeGreaterThan(20)
  })
})
