/** From floats to blocks of 8 or 4 bits. Layouts: ggml `ggml-common.h` (Q8_0, Q4_0). */

export interface BlockEncoder {
  readonly name: 'Q8_0' | 'Q4_0'
  readonly blockValues: 32
  readonly blockBytes: number
  /**
   * Encodes 32 values from `x[from]` into `view` at `at`.
   * @param importance per value, how much its error matters; undefined: all the same
   * @returns how many values lay beyond the largest code and were cut to it
   */
  encode(x: Float32Array, from: number, view: DataView, at: number, importance: Float32Array | undefined, importanceFrom: number): number
}

const BLOCK = 32

/** One scale per 32 values, codes -127..127. */
export const Q8_0: BlockEncoder = {
  name: 'Q8_0',
  blockValues: BLOCK,
  blockBytes: 34,
  encode(x, from, view, at) {
    let largest = 0
    for (let i = 0; i < BLOCK; i++) largest = Math.max(largest, Math.abs(x[from + i] as number))
    const half = toHalfBits(largest / 127)
    view.setUint16(at, half, true)
    const scale = fromHalfBits(half)
    let saturated = 0
    for (let i = 0; i < BLOCK; i++) {
      const code = scale === 0 ? 0 : Math.round((x[from + i] as number) / scale)
      // the scale is rounded to half precision, so the largest value may come out a code too far
      if (code > 127 || code < -127) saturated++
      view.setInt8(at + 2 + i, Math.max(-127, Math.min(127, code)))
    }
    return saturated
  },
}

/** How far around the plain scale to look for a better one, in codes, and how finely. */
const SEARCH_CODES = 1.2
const SEARCH_STEPS = 12

/** One scale per 32 values, codes 0..15 standing for -8..7; the scale is the one with the least weighted squared error. */
export const Q4_0: BlockEncoder = {
  name: 'Q4_0',
  blockValues: BLOCK,
  blockBytes: 18,
  encode(x, from, view, at, importance, importanceFrom) {
    let extreme = 0
    for (let i = 0; i < BLOCK; i++) if (Math.abs(x[from + i] as number) > Math.abs(extreme)) extreme = x[from + i] as number
    let best = extreme === 0 ? 0 : toHalfBits(extreme / -8)
    let least = Infinity
    for (let step = -SEARCH_STEPS; step <= SEARCH_STEPS && extreme !== 0; step++) {
      const half = toHalfBits(extreme / -(8 + (step * SEARCH_CODES) / SEARCH_STEPS))
      const scale = fromHalfBits(half)
      if (scale === 0) continue
      let error = 0
      for (let i = 0; i < BLOCK; i++) {
        const value = x[from + i] as number
        const off = value - (codeOf(value, scale) - 8) * scale
        error += off * off * (importance === undefined ? 1 : (importance[importanceFrom + i] as number))
      }
      if (error < least) {
        least = error
        best = half
      }
    }
    view.setUint16(at, best, true)
    const scale = fromHalfBits(best)
    let saturated = 0
    for (let i = 0; i < BLOCK; i++) {
      const value = x[from + i] as number
      const code = scale === 0 ? 8 : codeOf(value, scale)
      if (scale !== 0 && Math.abs(value / scale + 8 - code) > 0.5 + 1e-6) saturated++
      const byte = at + 2 + (i % 16)
      view.setUint8(byte, i < 16 ? code : view.getUint8(byte) | (code << 4))
    }
    return saturated
  },
}

/** Half precision, for rows that are not whole blocks. */
export function encodeHalf(x: Float32Array): Uint8Array {
  const bytes = new Uint8Array(x.length * 2)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < x.length; i++) view.setUint16(i * 2, toHalfBits(x[i] as number), true)
  return bytes
}

function codeOf(value: number, scale: number): number {
  return Math.max(0, Math.min(15, Math.round(value / scale + 8)))
}

const single = new Float32Array(1)
const bits = new Uint32Array(single.buffer)

/** To the nearest half-precision number, ties to even. */
function toHalfBits(value: number): number {
  single[0] = value
  const word = bits[0] as number
  const sign = (word >>> 16) & 0x8000
  const magnitude = word & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x477ff000) return sign | 0x7c00
  if (magnitude < 0x38800000) {
    const steps = Math.abs(single[0]) * 2 ** 24
    const below = Math.floor(steps)
    const rest = steps - below
    return sign | (below + (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? 1 : 0))
  }
  return sign | ((magnitude + 0xfff + ((magnitude >>> 13) & 1) - 0x38000000) >>> 13)
}

function fromHalfBits(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >>> 10) & 31
  const mantissa = half & 0x3ff
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
}
