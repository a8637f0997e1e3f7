import { describe, expect, it } from 'vitest'
import { dequantize, halfToFloat } from '../../../../plugins/backends/native/gguf-dequantize.ts'
import { toHalf } from '../../../support/gguf-writer.ts'
import { encodeValues } from '../../../support/gguf-writer.ts'
import { gaussian, uniforms } from '../../../support/tiny-model.ts'

const noise = (length: number, seed: number): Float32Array => {
  const random = gaussian(seed)
  return Float32Array.from({ length }, () => random())
}

describe('dequantize', () => {
  it('reads every half-precision number', () => {
    expect([0x3c00, 0xc000, 0x3555, 0x0001, 0x0400, 0x7bff, 0x8000].map(halfToFloat)).toEqual([1, -2, 0.333251953125, 2 ** -24, 2 ** -14, 65504, -0])
    expect(halfToFloat(0x7c00)).toBe(Infinity)
    expect(halfToFloat(0x7e00)).toBeNaN()
    for (let bits = 0; bits < 0x7c00; bits += 7) expect(toHalf(halfToFloat(bits))).toBe(bits)
  })

  it.each([
    ['F32', 0],
    ['F16', 2 ** -11],
    ['BF16', 2 ** -8],
  ] as const)('%s comes back within its precision', (type, relative) => {
    const values = noise(96, 5)
    const back = new Float32Array(96)
    dequantize(type, encodeValues(type, values), back)
    values.forEach((value, index) => expect(Math.abs((back[index] as number) - value)).toBeLessThanOrEqual(Math.abs(value) * relative))
  })

  it.each([
    ['Q8_0', 127],
    ['Q4_0', 7],
  ] as const)('%s comes back within half a step', (type, steps) => {
    const values = noise(320, 6)
    const back = new Float32Array(320)
    dequantize(type, encodeValues(type, values), back)
    for (let block = 0; block < 10; block++) {
      const part = values.subarray(block * 32, block * 32 + 32)
      const step = part.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / steps
      part.forEach((value, index) => expect(Math.abs((back[block * 32 + index] as number) - value)).toBeLessThan(step * 0.51))
    }
  })

  it('Q4_0 keeps its two halves apart', () => {
    const bytes = new Uint8Array(18)
    new DataView(bytes.buffer).setUint16(0, toHalf(1), true)
    for (let index = 0; index < 16; index++) bytes[2 + index] = index | ((15 - index) << 4)
    const back = new Float32Array(32)
    dequantize('Q4_0', bytes, back)
    expect(Array.from(back)).toEqual([...Array.from({ length: 16 }, (_, index) => index - 8), ...Array.from({ length: 16 }, (_, index) => 7 - index)])
  })

  it('Q4_K unpacks 6-bit scales and minima', () => {
    const random = uniforms(7)
    const scales = Array.from({ length: 8 }, () => Math.floor(random() * 64))
    const minima = Array.from({ length: 8 }, () => Math.floor(random() * 64))
    const quants = Array.from({ length: 256 }, () => Math.floor(random() * 16))
    const bytes = Buffer.alloc(144)
    bytes.writeUInt16LE(toHalf(0.5), 0)
    bytes.writeUInt16LE(toHalf(0.25), 2)
    for (let group = 0; group < 4; group++) {
      const upperScale = scales[group + 4] as number
      const upperMinimum = minima[group + 4] as number
      bytes[4 + group] = (scales[group] as number) | ((upperScale >> 4) << 6)
      bytes[8 + group] = (minima[group] as number) | ((upperMinimum >> 4) << 6)
      bytes[12 + group] = (upperScale & 15) | ((upperMinimum & 15) << 4)
    }
    for (let pair = 0; pair < 4; pair++) {
      for (let lane = 0; lane < 32; lane++) bytes[16 + pair * 32 + lane] = (quants[pair * 64 + lane] as number) | ((quants[pair * 64 + 32 + lane] as number) << 4)
    }
    const back = new Float32Array(256)
    dequantize('Q4_K', bytes, back)
    quants.forEach((quant, index) => expect(back[index]).toBe(0.5 * (scales[index >> 5] as number) * quant - 0.25 * (minima[index >> 5] as number)))
  })

  it('Q6_K joins low and high bits', () => {
    const random = uniforms(8)
    const scales = Array.from({ length: 16 }, () => Math.floor(random() * 256) - 128)
    const quants = Array.from({ length: 256 }, () => Math.floor(random() * 64))
    const bytes = Buffer.alloc(210)
    for (let half = 0; half < 2; half++) {
      for (let lane = 0; lane < 32; lane++) {
        const four = [0, 1, 2, 3].map((quarter) => quants[half * 128 + quarter * 32 + lane] as number) as [number, number, number, number]
        bytes[half * 64 + lane] = (four[0] & 15) | ((four[2] & 15) << 4)
        bytes[half * 64 + 32 + lane] = (four[1] & 15) | ((four[3] & 15) << 4)
        bytes[128 + half * 32 + lane] = (four[0] >> 4) | ((four[1] >> 4) << 2) | ((four[2] >> 4) << 4) | ((four[3] >> 4) << 6)
      }
    }
    scales.forEach((scale, group) => bytes.writeInt8(scale, 192 + group))
    bytes.writeUInt16LE(toHalf(0.125), 208)
    const back = new Float32Array(256)
    dequantize('Q6_K', bytes, back)
    quants.forEach((quant, index) => expect(back[index]).toBe(0.125 * (scales[index >> 4] as number) * (quant - 32)))
  })

  it('has no others', () => {
    expect(() => dequantize('Q5_K', new Uint8Array(176), new Float32Array(256))).toThrow(/Q5_K are not supported/)
  })
})
