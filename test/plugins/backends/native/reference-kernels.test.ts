import { describe, expect, it } from 'vitest'
import { halfToFloat } from '../../../../plugins/backends/native/gguf-dequantize.ts'
import { attend, attendHalf, multiply, rmsNorm, rotate, roundToHalf, siluTimes, softmax } from '../../../../plugins/backends/native/reference-kernels.ts'
import { toHalf } from '../../../support/gguf-writer.ts'
import { need } from '../../../support/need.ts'
import { onnxCases } from '../../../support/onnx-vectors.ts'
import type { OnnxCase, OnnxTensor } from '../../../support/onnx-vectors.ts'
import { gaussian } from '../../../support/tiny-model.ts'

function close(got: Float32Array, wanted: Float32Array, { rtol, atol }: { rtol: number; atol: number }): void {
  expect(got.length).toBe(wanted.length)
  wanted.forEach((value, index) => expect(Math.abs((got[index] as number) - value), `at ${index}`).toBeLessThanOrEqual(atol + rtol * Math.abs(value)))
}

const product = (shape: readonly number[]): number => shape.reduce((all, size) => all * size, 1)
const input = (test: OnnxCase, name: string): OnnxTensor => test.inputs.get(name) as OnnxTensor
const output = (test: OnnxCase): Float32Array => (test.outputs[0] as OnnxTensor).values

/** [batch, heads, positions, headDim], however the case writes it. */
function fourDimensional({ shape, values }: OnnxTensor, heads: number | undefined): { shape: [number, number, number, number]; at(batch: number, head: number, position: number): Float32Array } {
  if (heads === undefined) {
    const [batches, count, positions, headDim] = shape as [number, number, number, number]
    return { shape: [batches, count, positions, headDim], at: (batch, head, position) => values.subarray(((batch * count + head) * positions + position) * headDim).subarray(0, headDim) }
  }
  const [batches, positions, length] = shape as [number, number, number]
  const headDim = length / heads
  return { shape: [batches, heads, positions, headDim], at: (batch, head, position) => values.subarray((batch * positions + position) * length + head * headDim).subarray(0, headDim) }
}

/** Masks, scales and soft caps are not part of Llama's attention; everything else of the ONNX set is. */
function appliesToLlama({ attrs, inputs }: OnnxCase): boolean {
  const sameHeads = inputs.get('K')?.shape.at(-1) === inputs.get('V')?.shape.at(-1)
  return !inputs.has('attn_mask') && !('scale' in attrs) && !('softcap' in attrs) && !('right_window_size' in attrs) && sameHeads
}

need('data').describe('ONNX vectors', () => {
  const attention = onnxCases('Attention').filter(appliesToLlama)
  it('has attention cases', () => expect(attention.length).toBeGreaterThanOrEqual(9))
  it.each(attention.map((test) => [test.name, test] as const))('%s', (_name, test) => {
    const { attrs, inputs } = test
    const query = fourDimensional(input(test, 'Q'), attrs['q_num_heads'])
    const key = fourDimensional(input(test, 'K'), attrs['kv_num_heads'])
    const value = fourDimensional(input(test, 'V'), attrs['kv_num_heads'])
    const wanted = fourDimensional(test.outputs[0] as OnnxTensor, attrs['q_num_heads'])
    const pastKey = inputs.get('past_key')
    const past = pastKey?.shape[2] ?? 0
    const [batches, headCount, queries, headDim] = query.shape
    const headCountKv = key.shape[1]
    const tolerance = { rtol: test.rtol, atol: input(test, 'Q').dtype === 'float16' ? 1e-3 : 1e-6 }
    for (let batch = 0; batch < batches; batch++) {
      const rows = past + key.shape[2]
      const keys = new Float32Array(rows * headCountKv * headDim)
      const values = new Float32Array(rows * headCountKv * headDim)
      for (let row = 0; row < rows; row++) {
        for (let head = 0; head < headCountKv; head++) {
          const cell = (row * headCountKv + head) * headDim
          const cached = row < past
          keys.set(cached ? fourDimensional(input(test, 'past_key'), undefined).at(batch, head, row) : key.at(batch, head, row - past), cell)
          values.set(cached ? fourDimensional(input(test, 'past_value'), undefined).at(batch, head, row) : value.at(batch, head, row - past), cell)
        }
      }
      const filled = inputs.get('nonpad_kv_seqlen')?.values[batch]
      for (let at = 0; at < queries; at++) {
        const causal = attrs['is_causal'] === 1
        const position = causal ? (filled === undefined ? past : filled - queries) + at : rows - 1
        const line = new Float32Array(headCount * headDim)
        const expected = new Float32Array(headCount * headDim)
        for (let head = 0; head < headCount; head++) {
          line.set(query.at(batch, head, at), head * headDim)
          expected.set(wanted.at(batch, head, at), head * headDim)
        }
        const got = new Float32Array(headCount * headDim)
        attend(got, line, keys, values, { headCount, headCountKv, headDim }, position, Infinity, 0, new Float32Array(rows))
        close(got, expected, tolerance)
      }
    }
  })

  it.each(onnxCases('RMSNormalization').map((test) => [test.name, test] as const))('%s', (_name, test) => {
    const x = input(test, 'X')
    const weight = input(test, 'W').values
    const got = new Float32Array(x.values.length)
    for (let at = 0; at < got.length; at += weight.length) rmsNorm(got.subarray(at, at + weight.length), x.values.subarray(at, at + weight.length), weight, test.attrs['epsilon'] ?? 1e-5)
    close(got, output(test), { rtol: test.rtol, atol: 1e-6 })
  })

  it.each(onnxCases('RotaryEmbedding').map((test) => [test.name, test] as const))('%s', (_name, test) => {
    const { shape, values } = input(test, 'input')
    const [batches, heads, positions, headDim] = shape as [number, number, number, number]
    const cosines = input(test, 'cos_cache')
    const sines = input(test, 'sin_cache')
    const pairs = cosines.shape.at(-1) as number
    const ids = test.inputs.get('position_ids')?.values
    const got = values.slice()
    for (let batch = 0; batch < batches; batch++) {
      for (let head = 0; head < heads; head++) {
        for (let at = 0; at < positions; at++) {
          const row = ids === undefined ? batch * positions + at : (ids[batch * positions + at] as number)
          const cell = ((batch * heads + head) * positions + at) * headDim
          rotate(got.subarray(cell, cell + headDim), headDim, cosines.values.subarray(row * pairs, (row + 1) * pairs), sines.values.subarray(row * pairs, (row + 1) * pairs), test.attrs['interleaved'] === 1)
        }
      }
    }
    close(got, output(test), { rtol: test.rtol, atol: 1e-6 })
  })

  const softmaxes = onnxCases('Softmax').filter(({ attrs, inputs }) => (attrs['axis'] ?? -1) === -1 || attrs['axis'] === (inputs.get('x')?.shape.length ?? 0) - 1)
  it.each(softmaxes.map((test) => [test.name, test] as const))('%s', (_name, test) => {
    const { shape, values } = input(test, 'x')
    const length = shape.at(-1) as number
    const got = values.slice()
    for (let at = 0; at < got.length; at += length) softmax(got.subarray(at, at + length))
    close(got, output(test), test)
  })

  it('test_gemm_transposeB', () => {
    const test = onnxCases('Gemm').find(({ name }) => name === 'test_gemm_transposeB') as OnnxCase
    const [rows, columns] = input(test, 'a').shape as [number, number]
    const outputs = input(test, 'b').shape[0] as number
    const got = new Float32Array(product((test.outputs[0] as OnnxTensor).shape))
    for (let row = 0; row < rows; row++) multiply(got.subarray(row * outputs, (row + 1) * outputs), input(test, 'b').values, input(test, 'a').values.subarray(row * columns, (row + 1) * columns), input(test, 'c').values)
    close(got, output(test), { rtol: test.rtol, atol: 1e-6 })
  })
})

describe('attention', () => {
  const random = gaussian(4)
  const shape = { headCount: 4, headCountKv: 2, headDim: 8 }
  const positions = 20
  const keys = Float32Array.from({ length: positions * 16 }, () => random())
  const values = Float32Array.from({ length: positions * 16 }, () => random())
  const query = Float32Array.from({ length: 32 }, () => random())
  const full = (position: number, window: number, sinks: number): Float32Array => {
    const out = new Float32Array(32)
    attend(out, query, keys, values, shape, position, window, sinks, new Float32Array(positions))
    return out
  }
  /** The definition, written out: j is in sight when j > p - window or j < sinks. */
  const plain = (position: number, window: number, sinks: number): Float32Array => {
    const out = new Float32Array(32)
    for (let head = 0; head < 4; head++) {
      const kv = Math.floor(head / 2) * 8
      const weights = Array.from({ length: position + 1 }, (_, j) => {
        if (!(j > position - window || j < sinks)) return 0
        let dot = 0
        for (let i = 0; i < 8; i++) dot += (query[head * 8 + i] as number) * (keys[j * 16 + kv + i] as number)
        return Math.exp(dot / Math.sqrt(8))
      })
      const sum = weights.reduce((all, weight) => all + weight, 0)
      weights.forEach((weight, j) => {
        for (let i = 0; i < 8; i++) out[head * 8 + i] = (out[head * 8 + i] as number) + (weight / sum) * (values[j * 16 + kv + i] as number)
      })
    }
    return out
  }

  it.each([
    [19, Infinity, 0],
    [19, 20, 0],
    [19, 5, 0],
    [19, 5, 3],
    [19, 18, 4],
    [3, 5, 2],
    [0, 1, 4],
    [19, 1, 0],
  ])('position %d with window %d and %d sinks', (position, window, sinks) => {
    close(full(position, window, sinks), plain(position, window, sinks), { rtol: 1e-4, atol: 1e-6 })
    const half = new Float32Array(32)
    const [k, v] = [keys.slice(), values.slice()]
    roundToHalf(k)
    roundToHalf(v)
    attendHalf(half, query.slice(), k, v, shape, position, window, sinks)
    close(half, plain(position, window, sinks), { rtol: 0, atol: 6e-3 })
  })
})

describe('small ones', () => {
  it('multiply handles every remainder of four', () => {
    const random = gaussian(9)
    for (let columns = 1; columns < 10; columns++) {
      const matrix = Float32Array.from({ length: 3 * columns }, () => random())
      const x = Float32Array.from({ length: columns }, () => random())
      const got = new Float32Array(3)
      multiply(got, matrix, x, Float32Array.of(1, 2, 3))
      const wanted = Float32Array.from({ length: 3 }, (_, row) => x.reduce((sum, value, column) => sum + value * (matrix[row * columns + column] as number), row + 1))
      close(got, wanted, { rtol: 1e-5, atol: 1e-6 })
    }
  })

  it('silu', () => {
    const x = Float32Array.of(0, 1, -100, 100)
    siluTimes(x, Float32Array.of(5, 2, 1, 1))
    close(x, Float32Array.of(0, 2 / (1 + Math.exp(-1)), 0, 100), { rtol: 1e-6, atol: 1e-6 })
  })

  it('rounds to half precision as the format does', () => {
    const random = gaussian(2)
    const values = Float32Array.from({ length: 5000 }, () => random() * 10 ** (random() * 3))
    const rounded = values.slice()
    roundToHalf(rounded)
    values.forEach((value, index) => expect((rounded[index] as number) + 0, String(value)).toBe(halfToFloat(toHalf(value)) + 0))
    const edges = Float32Array.of(0, 65504, 65519, 70000, -70000, 2 ** -24, 2 ** -26, 2 ** -14)
    roundToHalf(edges)
    expect(Array.from(edges)).toEqual([0, 65504, 65504, Infinity, -Infinity, 2 ** -24, 0, 2 ** -14])
  })
})
