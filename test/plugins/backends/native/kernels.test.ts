/** Every kernel variant that this CPU runs against the scalar one, and the scalar one against plain arithmetic. */
import { describe, expect, it } from 'vitest'
import { loadAddon } from '../../../../plugins/backends/native/engine-addon.ts'
import type { Addon } from '../../../../plugins/backends/native/engine-addon.ts'
import { dequantize } from '../../../../plugins/backends/native/gguf-dequantize.ts'
import { tensorType } from '../../../../plugins/backends/native/gguf-types.ts'
import type { TensorTypeName } from '../../../../plugins/backends/native/gguf-types.ts'
import { randomBlocks } from '../../../support/gguf-blocks.ts'
import { need } from '../../../support/need.ts'
import { gaussian, uniforms } from '../../../support/tiny-model.ts'

const native = need('native')
const addon = loadAddon() as Addon
const seed = Number(process.env['FLYBALL_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

const floats = (count: number, next: () => number, scale = 1): Float32Array => Float32Array.from({ length: count }, () => next() * scale)

const bits = new Uint32Array(1)
const bitsAsFloat = new Float32Array(bits.buffer)

/** To 8 significant bits, ties to even. */
function roundToBf16(value: number): number {
  bitsAsFloat[0] = value
  const u = bits[0] as number
  bits[0] = (u + 0x7fff + ((u >>> 16) & 1)) & 0xffff0000
  return bitsAsFloat[0] as number
}

/** The largest difference as a share of the largest value. */
function worstShare(got: Float32Array, wanted: ArrayLike<number>): number {
  let most = 1e-30
  let worst = 0
  for (let i = 0; i < got.length; i++) {
    most = Math.max(most, Math.abs(wanted[i] as number))
    const difference = Math.abs((got[i] as number) - (wanted[i] as number))
    worst = Number.isNaN(difference) ? Infinity : Math.max(worst, difference)
  }
  return worst / most
}

native.describe(`native kernels (FLYBALL_TEST_SEED=${seed})`, () => {
  const { probes } = addon
  const variants = addon.kernels().filter((name) => name !== 'scalar')
  const types: TensorTypeName[] = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_K', 'Q6_K']

  it('has the scalar kernels and says which others', () => {
    expect(addon.kernels()).toContain('scalar')
    expect(() => probes.rmsNorm('sse9', new Float32Array(4), new Float32Array(4), 0)).toThrow(/no kernels named sse9 here, only .*scalar/)
  })

  describe.each(types)('matrix product, %s weights', (type) => {
    const { id, blockValues } = tensorType(type)
    const whole = blockValues === 1 ? 1 : blockValues
    const shapes = Array.from({ length: 8 }, (_, i) => {
      const pick = uniforms(seed + i * 977)
      const rows = 1 + Math.floor(pick() * 90)
      const columns = whole === 1 ? 1 + Math.floor(pick() * 300) : whole * (1 + Math.floor(pick() * (whole === 256 ? 3 : 9)))
      return { rows, columns, tokens: [1, 2, 3, 5, 6, 8, 12, 13, 25, 37][Math.floor(pick() * 10)] as number, at: i }
    })

    it('unpacks to what the file says', () => {
      for (const { rows, columns, at } of shapes) {
        const weights = randomBlocks(type, rows * columns, uniforms(seed + at))
        const wanted = new Float32Array(rows * columns)
        dequantize(type, weights, wanted)
        expect(worstShare(probes.dequantize(id, rows, columns, weights), wanted)).toBeLessThan(1e-6)
      }
    })

    it('scalar: dequantised weights times 8-bit (or plain) activations', () => {
      for (const { rows, columns, tokens, at } of shapes) {
        const weights = randomBlocks(type, rows * columns, uniforms(seed + at))
        const plain = new Float32Array(rows * columns)
        dequantize(type, weights, plain)
        const x = floats(tokens * columns, gaussian(seed + at))
        const seen = whole === 1 ? x : Float32Array.from(Array.from({ length: tokens }, (_, m) => Array.from(probes.quantizeRow('scalar', x.slice(m * columns, (m + 1) * columns)))).flat())
        const wanted = new Float64Array(tokens * rows)
        for (let m = 0; m < tokens; m++)
          for (let n = 0; n < rows; n++)
            for (let k = 0; k < columns; k++) wanted[m * rows + n] = (wanted[m * rows + n] as number) + (plain[n * columns + k] as number) * (seen[m * columns + k] as number)
        expect(worstShare(probes.gemm('scalar', id, rows, columns, weights, x, tokens), wanted)).toBeLessThan(2e-5)
      }
    })

    it.each(variants)('%s equals scalar on odd sizes', (isa) => {
      for (const { rows, columns, tokens, at } of shapes) {
        const weights = randomBlocks(type, rows * columns, uniforms(seed + at))
        const x = floats(tokens * columns, gaussian(seed + at), 3)
        const start = floats(tokens * rows, gaussian(seed - at))
        const label = `${isa} ${type} ${rows}×${columns}×${tokens}`
        expect(worstShare(probes.gemm(isa, id, rows, columns, weights, x, tokens), probes.gemm('scalar', id, rows, columns, weights, x, tokens)), label).toBeLessThan(2e-5)
        expect(worstShare(probes.gemm(isa, id, rows, columns, weights, x, tokens, start), probes.gemm('scalar', id, rows, columns, weights, x, tokens, start)), `${label} onto`).toBeLessThan(2e-5)
      }
    })

    it.each(variants)('%s: a batch of tokens gives bit for bit what each alone gives', (isa) => {
      const columns = whole === 1 ? 70 : whole
      const rows = 50
      const weights = randomBlocks(type, rows * columns, uniforms(seed))
      for (const tokens of [2, 7, 12, 30]) {
        const x = floats(tokens * columns, gaussian(seed))
        const together = probes.gemm(isa, id, rows, columns, weights, x, tokens)
        for (let m = 0; m < tokens; m++) {
          const alone = probes.gemm(isa, id, rows, columns, weights, x.slice(m * columns, (m + 1) * columns), 1)
          expect(Array.from(together.subarray(m * rows, (m + 1) * rows))).toEqual(Array.from(alone))
        }
      }
    })
  })

  it.each(variants)('%s: extreme 8-bit weights and activations do not saturate', (isa) => {
    const weights = new Uint8Array(34 * 16)
    for (let row = 0; row < 16; row++) {
      weights.set([0x00, 0x3c], row * 34) // scale 1
      weights.fill(row % 2 === 0 ? 0x80 : 0x7f, row * 34 + 2, row * 34 + 34)
    }
    for (const sign of [1, -1]) {
      const x = new Float32Array(32).fill(sign * 127)
      const out = probes.gemm(isa, 8, 16, 32, weights, x, 1)
      expect(Array.from(out)).toEqual(Array.from({ length: 16 }, (_, row) => sign * 127 * 32 * (row % 2 === 0 ? -128 : 127)))
    }
  })

  it.each(['scalar', ...variants])('%s: 8-bit rows, norms and gates', (isa) => {
    for (const length of [32, 64, 96, 2048, 33, 1, 17, 172]) {
      const next = gaussian(seed + length)
      const x = floats(length, next, 5)
      const other = floats(length, next, 5)
      if (length % 32 === 0) {
        const back = probes.quantizeRow(isa, x)
        for (let b = 0; b < length; b += 32) {
          const largest = x.subarray(b, b + 32).reduce((most, value) => Math.max(most, Math.abs(value)), 0)
          for (let i = b; i < b + 32; i++) expect(Math.abs((back[i] as number) - (x[i] as number))).toBeLessThanOrEqual((largest / 127) * 0.501)
        }
        expect(worstShare(back, probes.quantizeRow('scalar', x))).toBeLessThan(0.01)
        expect(Array.from(probes.quantizeRow(isa, new Float32Array(length)))).toEqual(Array.from({ length }, () => 0))
      }
      const square = x.reduce((sum, value) => sum + value * value, 0) / length
      expect(worstShare(probes.rmsNorm(isa, x, other, 1e-5), x.map((value, i) => (value / Math.sqrt(square + 1e-5)) * (other[i] as number)))).toBeLessThan(1e-6)
      expect(worstShare(probes.siluMul(isa, x, other), x.map((value, i) => (value / (1 + Math.exp(-value))) * (other[i] as number)))).toBeLessThan(2e-6)
    }
    const steep = Float32Array.of(-1000, -200, -90, 90, 200, 1000)
    expect(Array.from(probes.siluMul(isa, steep, new Float32Array(6).fill(1)))).toEqual([0, 0, expect.closeTo(0, 30), 90, 200, 1000].map((value) => (value === 0 ? expect.closeTo(0, 20) : value)))
  })

  describe.each(['f32', 'bf16', 'half'] as const)('attention on %s pages', (kind) => {
    const kvType = ({ f32: 0, bf16: 1, half: 2 } as const)[kind]
    const stored = ({ f32: (value: number) => value, bf16: roundToBf16, half: Math.f16round } as const)[kind]

    /** In double precision over what a page holds. Shapes: k, v [tokens][headDim]; q, out, allowed [rows][headDim]. */
    function plainAttention(isa: string, k: Float32Array, v: Float32Array, q: Float32Array, qpos: Int32Array, headDim: number, window: number, sinks: number): { out: Float32Array; allowed: Float32Array } {
      const out = new Float32Array(q.length)
      const allowed = new Float32Array(q.length)
      qpos.forEach((pos, row) => {
        const scores: number[] = []
        const seen: number[] = []
        let largestTerms = 0
        for (let at = 0; at <= pos && at < k.length / headDim; at++) {
          if (window > 0 && at <= pos - window && at >= sinks) continue
          let dot = 0
          let terms = 0
          for (let d = 0; d < headDim; d++) {
            const term = (q[row * headDim + d] as number) * (k[at * headDim + d] as number)
            dot += term
            terms += Math.abs(term)
          }
          largestTerms = Math.max(largestTerms, terms)
          scores.push(dot)
          seen.push(at)
        }
        const largest = Math.max(...scores)
        const weights = scores.map((score) => Math.exp(score - largest))
        const total = weights.reduce((sum, weight) => sum + weight, 0)
        const share = allowedShare(isa, largestTerms)
        for (let d = 0; d < headDim; d++) {
          let sum = 0
          let magnitudes = 0
          seen.forEach((at, i) => {
            const term = ((weights[i] as number) / total) * (v[at * headDim + d] as number)
            sum += term
            magnitudes += Math.abs(term)
          })
          out[row * headDim + d] = sum
          allowed[row * headDim + d] = share * magnitudes
        }
      })
      return { out, allowed }
    }

    /** How far an output may be off, as a share of its weighted |v|: from where each kernel rounds, so for any seed. */
    function allowedShare(isa: string, largestTerms: number): number {
      const single = 1e-5 * (1 + largestTerms)
      // the sum of values is rounded to half precision at every position: a random walk of steps of at most 2^-11
      if (kind === 'half') return 2e-2 + single
      // queries and weights are rounded to bf16 too (2^-9 each): a score is off by 2^-9 of its terms, a weight by twice that
      if (kind === 'bf16' && isa === 'avx512bf16') return 2 * 2 ** -9 * largestTerms + 2 ** -9 + single
      return single
    }

    it.each(['scalar', ...variants])('%s equals plain arithmetic, pages scattered, windows and sinks', (isa) => {
      const pick = uniforms(seed)
      for (const headDim of [8, 16, 24, 48, 64, 80, 128, 256]) {
        const tokens = 1 + Math.floor(pick() * 500)
        const rows = 1 + Math.floor(pick() * 12)
        const next = gaussian(seed + headDim)
        const k = floats(tokens * headDim, next).map(stored)
        const v = floats(tokens * headDim, next).map(stored)
        const plainQ = floats(rows * headDim, next, 1 / Math.sqrt(headDim))
        const q = kind === 'half' ? plainQ.map(stored) : plainQ
        const qpos = Int32Array.from({ length: rows }, (_, row) => Math.max(0, tokens - 1 - (rows - 1 - row)))
        const pages = Math.ceil(tokens / 32)
        const order = Int32Array.from({ length: pages }, (_, page) => (page * 7 + 3) % pages)
        if (new Set(order).size < pages) order.forEach((_, page) => (order[page] = pages - 1 - page))
        for (const [window, sinks] of [[0, 0], [1, 0], [20, 0], [33, 4], [tokens, 0], [100, 40]] as const) {
          const got = probes.attend(isa, kvType, headDim, k, v, q, qpos, window, sinks, order)
          const { out, allowed } = plainAttention(isa, k, v, q, qpos, headDim, window, sinks)
          const off = got.findIndex((value, i) => !(Math.abs(value - (out[i] as number)) <= (allowed[i] as number)))
          expect(off, `${isa} ${kind} headDim ${headDim} tokens ${tokens} rows ${rows} window ${window} sinks ${sinks}: ${got[off]} is not ${out[off]} ± ${allowed[off]}`).toBe(-1)
        }
        // contiguous pages, rows one by one: bit for bit the same
        const inOrder = Int32Array.from({ length: pages }, (_, page) => page)
        const together = probes.attend(isa, kvType, headDim, k, v, q, qpos, 0, 0, order)
        for (let row = 0; row < rows; row++) {
          const alone = probes.attend(isa, kvType, headDim, k, v, q.slice(row * headDim, (row + 1) * headDim), qpos.slice(row, row + 1), 0, 0, inOrder)
          expect(Array.from(together.subarray(row * headDim, (row + 1) * headDim))).toEqual(Array.from(alone))
        }
      }
    })
  })
})
