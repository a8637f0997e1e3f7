/** Random weights straight in the block layouts of GGUF: every bit pattern that the format allows, with sane scales. */
import { tensorType } from '../../plugins/backends/native/gguf-types.ts'
import type { TensorTypeName } from '../../plugins/backends/native/gguf-types.ts'

/** @param next uniform in [0, 1) */
export function randomBlocks(type: TensorTypeName, values: number, next: () => number): Uint8Array {
  const { blockValues, blockBytes } = tensorType(type)
  const bytes = new Uint8Array((values / blockValues) * blockBytes)
  const view = new DataView(bytes.buffer)
  const scale = (at: number): void => view.setUint16(at, ((next() < 0.5 ? 0x8000 : 0) | (0x2000 + Math.floor(next() * 0x800))) >>> 0, true)
  for (let at = 0; at < bytes.length; at += blockBytes) {
    if (type === 'F32') view.setFloat32(at, next() * 2 - 1, true)
    else if (type === 'F16') scale(at)
    else if (type === 'BF16') view.setUint16(at, (next() < 0.5 ? 0x8000 : 0) | (0x3c00 + Math.floor(next() * 0x200)), true)
    else {
      for (let i = 0; i < blockBytes; i++) bytes[at + i] = Math.floor(next() * 256)
      if (type === 'Q6_K') scale(at + 208)
      else scale(at)
      if (type === 'Q4_K') scale(at + 2)
    }
  }
  return bytes
}
