/** Weights of the supported types as 32-bit floats. Block layouts: ggml `ggml-common.h`. */
import { closeSync, openSync, readSync } from 'node:fs'
import type { Gguf, GgufTensor } from './gguf.ts'
import { tensorType } from './gguf-types.ts'
import type { TensorTypeName } from './gguf-types.ts'
import { ModelError } from './model-error.ts'

/** Read at once, so that a large tensor does not need its raw bytes in memory beside the floats. */
const CHUNK_BLOCKS = 16384

/** Reads tensors of one open file. */
export class TensorReader {
  readonly #gguf: Gguf
  readonly #file: number

  constructor(gguf: Gguf) {
    this.#gguf = gguf
    this.#file = openSync(gguf.path, 'r')
  }

  /** @throws ModelError `unsupported` for a type that we do not have, `unreadable` when the file has changed */
  read(tensor: GgufTensor): Float32Array {
    const { blockValues, blockBytes } = tensorType(tensor.type)
    const values = new Float32Array(tensor.values)
    const blocks = tensor.values / blockValues
    const buffer = Buffer.alloc(Math.min(blocks, CHUNK_BLOCKS) * blockBytes)
    for (let block = 0; block < blocks; block += CHUNK_BLOCKS) {
      const count = Math.min(CHUNK_BLOCKS, blocks - block)
      const bytes = buffer.subarray(0, count * blockBytes)
      if (readSync(this.#file, bytes, 0, bytes.length, tensor.offset + block * blockBytes) !== bytes.length) {
        throw new ModelError('unreadable', `${this.#gguf.path}: the file became shorter while it was read`)
      }
      dequantize(tensor.type, bytes, values.subarray(block * blockValues, (block + count) * blockValues))
    }
    return values
  }

  close(): void {
    closeSync(this.#file)
  }
}

/** Whole blocks of `type` in `bytes` to `values`. */
export function dequantize(type: TensorTypeName, bytes: Uint8Array, values: Float32Array): void {
  const decode = decoders[type]
  if (decode === undefined) throw new ModelError('unsupported', `weights of type ${type} are not supported`)
  const { blockValues, blockBytes } = tensorType(type)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0, out = 0; out < values.length; at += blockBytes, out += blockValues) decode(view, at, values, out)
}

type BlockDecoder = (view: DataView, at: number, values: Float32Array, out: number) => void

const decoders: Partial<Record<TensorTypeName, BlockDecoder>> = {
  F32: (view, at, values, out) => {
    values[out] = view.getFloat32(at, true)
  },
  F16: (view, at, values, out) => {
    values[out] = halfToFloat(view.getUint16(at, true))
  },
  BF16: (view, at, values, out) => {
    values[out] = brainToFloat(view.getUint16(at, true))
  },
  // scale f16, 32 × i8
  Q8_0: (view, at, values, out) => {
    const scale = halfToFloat(view.getUint16(at, true))
    for (let index = 0; index < 32; index++) values[out + index] = scale * view.getInt8(at + 2 + index)
  },
  // scale f16, 16 bytes: low nibbles are the first half, high nibbles the second; 8 is zero
  Q4_0: (view, at, values, out) => {
    const scale = halfToFloat(view.getUint16(at, true))
    for (let index = 0; index < 16; index++) {
      const pair = view.getUint8(at + 2 + index)
      values[out + index] = scale * ((pair & 15) - 8)
      values[out + 16 + index] = scale * ((pair >> 4) - 8)
    }
  },
  // scale of scales f16, scale of minima f16, 8 × (6-bit scale, 6-bit minimum) in 12 bytes, 128 bytes of nibbles
  Q4_K: (view, at, values, out) => {
    const scale = halfToFloat(view.getUint16(at, true))
    const minimum = halfToFloat(view.getUint16(at + 2, true))
    for (let group = 0; group < 8; group++) {
      const [groupScale, groupMinimum] = packedScale(view, at + 4, group)
      const factor = scale * groupScale
      const offset = minimum * groupMinimum
      const nibbles = at + 16 + (group >> 1) * 32
      const shift = (group & 1) * 4
      for (let index = 0; index < 32; index++) {
        values[out + group * 32 + index] = factor * ((view.getUint8(nibbles + index) >> shift) & 15) - offset
      }
    }
  },
  // 128 bytes of low nibbles, 64 bytes of high pairs of bits, 16 × i8 scales, scale of scales f16; 32 is zero
  Q6_K: (view, at, values, out) => {
    const scale = halfToFloat(view.getUint16(at + 208, true))
    for (let index = 0; index < 256; index++) {
      const half = index >> 7
      const quarter = (index >> 5) & 3
      const lane = index & 31
      const low = (view.getUint8(at + half * 64 + (quarter & 1) * 32 + lane) >> (quarter >= 2 ? 4 : 0)) & 15
      const high = (view.getUint8(at + 128 + half * 32 + lane) >> (quarter * 2)) & 3
      const groupScale = view.getInt8(at + 192 + (index >> 4))
      values[out + index] = scale * groupScale * ((low | (high << 4)) - 32)
    }
  },
}

/** The 6-bit scale and minimum of one of 8 groups: the first four plain, the others' low nibbles with borrowed top bits. */
function packedScale(view: DataView, at: number, group: number): [number, number] {
  if (group < 4) return [view.getUint8(at + group) & 63, view.getUint8(at + group + 4) & 63]
  const low = view.getUint8(at + group + 4)
  return [(low & 15) | ((view.getUint8(at + group - 4) >> 6) << 4), (low >> 4) | ((view.getUint8(at + group) >> 6) << 4)]
}

export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

const floatBits = new Uint32Array(1)
const floatValue = new Float32Array(floatBits.buffer)

function brainToFloat(bits: number): number {
  floatBits[0] = bits << 16
  return floatValue[0] as number
}
