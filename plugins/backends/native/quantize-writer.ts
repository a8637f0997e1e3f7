/** Writes a GGUF v3 file tensor by tensor, so that a model larger than memory passes through. */
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import type { MetadataValue } from './gguf-metadata.ts'
import { tensorType, VALUE_TYPE } from './gguf-types.ts'
import type { TensorTypeName, ValueTypeName } from './gguf-types.ts'

export interface PlannedTensor {
  readonly name: string
  readonly type: TensorTypeName
  readonly shape: readonly number[]
}

const ALIGNMENT = 32
const VERSION = 3

/** `write` every tensor in the given order, then `finish`; the file appears under its name only then. */
export class GgufWriter {
  readonly #path: string
  readonly #temporary: string
  readonly #file: number
  readonly #sizes: number[]
  #written = 0

  constructor(path: string, metadata: Iterable<readonly [string, MetadataValue]>, tensors: readonly PlannedTensor[]) {
    const entries = [...metadata].filter(([key]) => key !== 'general.alignment')
    const parts: Buffer[] = [Buffer.from('GGUF'), u32(VERSION), u64(tensors.length), u64(entries.length)]
    for (const [key, entry] of entries) {
      parts.push(text(key))
      if (entry.type === 'array') {
        parts.push(u32(VALUE_TYPE.array), u32(VALUE_TYPE[entry.of as ValueTypeName]), u64(entry.value.length))
        for (const value of entry.value as Iterable<string | number | bigint>) parts.push(scalar(entry.of as ValueTypeName, value))
      } else parts.push(u32(VALUE_TYPE[entry.type as ValueTypeName]), scalar(entry.type as ValueTypeName, entry.value as string | number | bigint | boolean))
    }
    this.#sizes = tensors.map(({ type, shape }) => {
      const { blockValues, blockBytes } = tensorType(type)
      return (shape.reduce((product, size) => product * size, 1) / blockValues) * blockBytes
    })
    let offset = 0
    tensors.forEach(({ name, type, shape }, index) => {
      parts.push(text(name), u32(shape.length), ...shape.map(u64), u32(tensorType(type).id), u64(offset))
      offset += padded(this.#sizes[index] as number)
    })
    const header = Buffer.concat(parts)
    this.#path = path
    this.#temporary = `${path}.${process.pid}.tmp`
    this.#file = openSync(this.#temporary, 'w')
    this.#put(header)
    this.#put(Buffer.alloc(padded(header.length) - header.length))
  }

  /** The next tensor's data, whole. */
  write(data: Uint8Array): void {
    const size = this.#sizes[this.#written++]
    if (data.length !== size) throw new Error(`tensor ${this.#written - 1}: expected ${size} bytes, got ${data.length}`)
    this.#put(data)
    this.#put(Buffer.alloc(padded(size) - size))
  }

  finish(): void {
    if (this.#written !== this.#sizes.length) throw new Error('not all tensors have been written')
    closeSync(this.#file)
    renameSync(this.#temporary, this.#path)
  }

  /** Leaves nothing behind. */
  abandon(): void {
    closeSync(this.#file)
    rmSync(this.#temporary, { force: true })
  }

  #put(data: Uint8Array): void {
    for (let at = 0; at < data.length; ) at += writeSync(this.#file, data, at, data.length - at)
  }
}

const padded = (size: number): number => Math.ceil(size / ALIGNMENT) * ALIGNMENT

function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32LE(value)
  return buffer
}

function u64(value: number): Buffer {
  const buffer = Buffer.alloc(8)
  buffer.writeBigUInt64LE(BigInt(value))
  return buffer
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([u64(bytes.length), bytes])
}

function scalar(type: ValueTypeName, value: string | number | bigint | boolean): Buffer {
  if (type === 'string') return text(String(value))
  const buffer = Buffer.alloc(8)
  const view = new DataView(buffer.buffer, buffer.byteOffset, 8)
  const number = Number(value)
  if (type === 'bool' || type === 'uint8') view.setUint8(0, number)
  else if (type === 'int8') view.setInt8(0, number)
  else if (type === 'uint16') view.setUint16(0, number, true)
  else if (type === 'int16') view.setInt16(0, number, true)
  else if (type === 'uint32') view.setUint32(0, number, true)
  else if (type === 'int32') view.setInt32(0, number, true)
  else if (type === 'float32') view.setFloat32(0, number, true)
  else if (type === 'float64') view.setFloat64(0, number, true)
  else if (type === 'uint64') view.setBigUint64(0, BigInt(value), true)
  else view.setBigInt64(0, BigInt(value), true)
  const size = { bool: 1, uint8: 1, int8: 1, uint16: 2, int16: 2, uint32: 4, int32: 4, float32: 4, float64: 8, uint64: 8, int64: 8, array: 0 }[type]
  return buffer.subarray(0, size)
}
