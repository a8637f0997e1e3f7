import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readGguf } from '../../../../plugins/backends/native/gguf.ts'
import { countParameters, readModel, readModelConfig } from '../../../../plugins/backends/native/gguf-model.ts'
import type { ModelConfig } from '../../../../plugins/backends/native/gguf-model.ts'
import { ropeFrequencies } from '../../../../plugins/backends/native/rope.ts'
import { encodeValues, float32, string, uint32, writeGguf } from '../../../support/gguf-writer.ts'
import type { WriterTensor, WriterValue } from '../../../support/gguf-writer.ts'
import { tinyModel } from '../../../support/tiny-model.ts'
import type { TinyModelOptions } from '../../../support/tiny-model.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gguf-model-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function read(options: TinyModelOptions, change: (tensors: WriterTensor[]) => WriterTensor[] = (tensors) => tensors) {
  const { metadata, tensors } = tinyModel(options)
  return readGguf(writeGguf(join(folder, 'model.gguf'), metadata, change(tensors)))
}

const configWith = (metadata: Record<string, WriterValue>, architecture: 'llama' | 'qwen2' = 'llama'): ModelConfig => readModelConfig(read({ architecture, metadata }))
const ones = (name: string, length: number): WriterTensor => ({ name, type: 'F32', shape: [length], data: encodeValues('F32', new Float32Array(length).fill(1)) })

describe('configuration', () => {
  it('reads a llama', () => {
    expect(configWith({ 'llama.attention.sliding_window': uint32(16) })).toMatchObject({
      architecture: 'llama',
      vocabularySize: 320,
      contextLength: 128,
      embeddingLength: 64,
      headCount: 4,
      headCountKv: 2,
      headDim: 16,
      ropeDimensions: 16,
      ropeAdjacent: true,
      ropeScaling: { kind: 'none' },
      slidingWindow: 16,
      tiedOutput: false,
    })
  })

  it('reads a qwen2 with biases and tied output', () => {
    const gguf = read({ architecture: 'qwen2', tied: true })
    const { config, tensors } = readModel(gguf)
    expect(config).toMatchObject({ architecture: 'qwen2', ropeAdjacent: false, tiedOutput: true })
    expect(tensors.output).toBe(tensors.embedding)
    expect(tensors.blocks[1]?.queryBias?.shape).toEqual([64])
    expect(countParameters(gguf)).toBe([...gguf.tensors.values()].reduce((sum, { values }) => sum + values, 0))
  })

  it('takes the head size from the file', () => {
    expect(configWith({ 'llama.attention.key_length': uint32(32), 'llama.attention.value_length': uint32(32) }).headDim).toBe(32)
  })

  it.each<[string, Record<string, WriterValue>, RegExp]>([
    ['architecture', { 'general.architecture': string('mamba') }, /architecture "mamba" is not supported, only llama and qwen2/],
    ['experts', { 'llama.expert_count': uint32(8) }, /expert_count is 8/],
    ['heads', { 'llama.attention.head_count_kv': uint32(3) }, /4 heads do not divide into 3/],
    ['zero', { 'llama.block_count': uint32(0) }, /llama.block_count: expected 1 to 1024, got 0/],
    ['huge', { 'llama.embedding_length': uint32(0xffffffff) }, /llama.embedding_length: expected 1 to/],
    ['yarn', { 'llama.rope.scaling.type': string('yarn') }, /rope.scaling.type "yarn" is not supported/],
    ['type', { 'llama.context_length': string('long') }, /llama.context_length": expected an unsigned integer, got string/],
    ['odd rotation', { 'llama.rope.dimension_count': uint32(7) }, /is odd/],
    ['epsilon', { 'llama.attention.layer_norm_rms_epsilon': float32(0) }, /expected a positive number/],
    ['not a number', { 'llama.rope.freq_base': float32(NaN) }, /expected a finite number/],
    ['unequal heads', { 'llama.attention.value_length': uint32(8) }, /16 key and 8 value dimensions/],
  ])('refuses %s', (_what, metadata, message) => {
    expect(() => configWith(metadata)).toThrow(message)
  })
})

describe('tensors', () => {
  it('names one that is missing, misshapen or of a type we lack', () => {
    const without = read({}, (tensors) => tensors.filter(({ name }) => name !== 'blk.1.ffn_up.weight'))
    expect(() => readModel(without)).toThrow('tensor blk.1.ffn_up.weight is missing')
    const turned = read({}, (tensors) => tensors.map((tensor) => (tensor.name === 'blk.0.ffn_up.weight' ? { ...tensor, shape: [...tensor.shape].reverse() } : tensor)))
    expect(() => readModel(turned)).toThrow('tensor blk.0.ffn_up.weight: expected the shape 64×96, got 96×64')
    const strange = read({}, (tensors) => tensors.map((tensor) => (tensor.name === 'output.weight' ? { ...tensor, type: 'I32' } : tensor)))
    expect(() => readModel(strange)).toThrow(/output.weight: the type I32 is not supported/)
  })

  it('refuses what it would leave out', () => {
    const more = read({}, (tensors) => [...tensors, ones('blk.0.attn_q_norm.weight', 16)])
    expect(() => readModel(more)).toThrow(/"blk.0.attn_q_norm.weight" is not part of the architecture/)
  })

  it('refuses a header without weights', () => {
    const { metadata } = tinyModel()
    expect(() => readModel(readGguf(writeGguf(join(folder, 'header.gguf'), metadata)))).toThrow(/no weights/)
  })
})

describe('rotation frequencies', () => {
  const config = configFor({ kind: 'none' })
  function configFor(ropeScaling: ModelConfig['ropeScaling'], ropeBase = 500000): ModelConfig {
    return { ropeDimensions: 128, ropeBase, ropeScaling } as ModelConfig
  }

  it('fall geometrically from 1', () => {
    const plain = ropeFrequencies(config)
    expect(plain[0]).toBe(1)
    expect(plain[32]).toBeCloseTo(500000 ** -0.5, 8)
  })

  it('are slowed as configured', () => {
    const plain = ropeFrequencies(config)
    const linear = ropeFrequencies(configFor({ kind: 'linear', factor: 4 }))
    linear.forEach((frequency, pair) => expect(frequency).toBeCloseTo((plain[pair] as number) / 4, 8))
    const llama3 = ropeFrequencies(configFor({ kind: 'llama3', factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContextLength: 8192 }))
    // wavelengths: 2π for the first pair, 2π × 500000^(126/128) for the last
    expect(llama3[0]).toBe(plain[0])
    expect(llama3[63]).toBeCloseTo((plain[63] as number) / 8, 10)
    const blended = llama3.findIndex((frequency, pair) => frequency < (plain[pair] as number) * 0.99 && frequency > (plain[pair] as number) / 7.9)
    expect(blended).toBeGreaterThan(0)
    expect((2 * Math.PI) / (plain[blended] as number)).toBeGreaterThan(8192 / 4)
    expect((2 * Math.PI) / (plain[blended] as number)).toBeLessThan(8192)
  })

  it('are divided by the factors of a rope_freqs tensor', () => {
    const factors = new Float32Array(64).fill(2)
    expect(ropeFrequencies(config, factors)[0]).toBe(0.5)
  })

  it('a rope_freqs tensor belongs to the model', () => {
    const gguf = read({}, (tensors) => [...tensors, ones('rope_freqs.weight', 8)])
    expect(readModel(gguf).tensors.ropeFactors?.shape).toEqual([8])
  })
})
