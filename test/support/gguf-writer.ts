/** Writes GGUF files for tests: small models and vocabularies, and broken files on purpose. */
import { writeFileSync } from 'node:fs'
import { tensorType, VALUE_TYPE } from '../../plugins/backends/native/gguf-types.ts'
import type { TensorTypeName, ValueTypeName } from '../../plugins/backends/native/gguf-types.ts'

type Scalar = string | number | bigint | boolean
export type WriterValue = { readonly type: Exclude<ValueTypeName, 'array'>; readonly value: Scalar } | { readonly of: Exclude<ValueTypeName, 'array'>; readonly value: readonly Scalar[] }

export interface WriterTensor {
  readonly name: string
  readonly type: TensorTypeName
  /** Innermost dimension first. */
  readonly shape: readonly number[]
  /** Already in the layout of the type. */
  readonly data: Uint8Array
}

export const uint32 = (value: number): WriterValue => ({ type: 'uint32', value })
export const float32 = (value: number): WriterValue => ({ type: 'float32', value })
export const bool = (value: boolean): WriterValue => ({ type: 'bool', value })
export const string = (value: string): WriterValue => ({ type: 'string', value })
export const strings = (value: readonly string[]): WriterValue => ({ of: 'string', value })
export const float32s = (value: readonly number[]): WriterValue => ({ of: 'float32', value })
export const int32s = (value: readonly number[]): WriterValue => ({ of: 'int32', value })

/** The bytes of a GGUF v3 file. Tensors lie in the given order, each padded to the alignment. */
export function ggufBytes(metadata: Readonly<Record<string, WriterValue>>, tensors: readonly WriterTensor[] = [], alignment = 32): Buffer {
  const parts: Buffer[] = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(Object.keys(metadata).length)]
  for (const [key, value] of Object.entries(metadata)) {
    parts.push(text(key))
    if ('of' in value) parts.push(u32(VALUE_TYPE.array), u32(VALUE_TYPE[value.of]), u64(value.value.length), ...value.value.map((element) => scalar(value.of, element)))
    else parts.push(u32(VALUE_TYPE[value.type]), scalar(value.type, value.value))
  }
  let offset = 0
  for (const tensor of tensors) {
    parts.push(text(tensor.name), u32(tensor.shape.length), ...tensor.shape.map(u64), u32(tensorType(tensor.type).id), u64(offset))
    offset = pad(offset + tensor.data.length, alignment)
  }
  const header = Buffer.concat(parts)
  if (tensors.length === 0) return header
  const dataOffset = pad(header.length, alignment)
  const bytes = Buffer.alloc(dataOffset + offset)
  header.copy(bytes)
  let at = dataOffset
  for (const { data } of tensors) {
    bytes.set(data, at)
    at = pad(at + data.length, alignment)
  }
  return bytes
}

export function writeGguf(path: string, metadata: Readonly<Record<string, WriterValue>>, tensors: readonly WriterTensor[] = []): string {
  writeFileSync(path, ggufBytes(metadata, tensors))
  return path
}

/** Values as the data of an F32, F16, BF16, Q8_0 or Q4_0 tensor. */
export function encodeValues(type: TensorTypeName, values: Float32Array): Uint8Array {
  if (type === 'F32') return new Uint8Array(values.buffer.slice(values.byteOffset, values.byteOffset + values.byteLength))
  const { blockValues, blockBytes } = tensorType(type)
  const bytes = Buffer.alloc((values.length / blockValues) * blockBytes)
  for (let block = 0, at = 0; at < bytes.length; block++, at += blockBytes) {
    const part = values.subarray(block * blockValues, (block + 1) * blockValues)
    if (type === 'F16') bytes.writeUInt16LE(toHalf(part[0] as number), at)
    else if (type === 'BF16') bytes.writeUInt16LE(toBrain(part[0] as number), at)
    else if (type === 'Q8_0') {
      const scale = largest(part) / 127
      bytes.writeUInt16LE(toHalf(scale), at)
      part.forEach((value, index) => bytes.writeInt8(scale === 0 ? 0 : Math.round(value / scale), at + 2 + index))
    } else if (type === 'Q4_0') {
      const scale = largest(part) / 7
      bytes.writeUInt16LE(toHalf(scale), at)
      const quant = (index: number): number => (scale === 0 ? 8 : Math.round((part[index] as number) / scale) + 8)
      for (let index = 0; index < 16; index++) bytes[at + 2 + index] = quant(index) | (quant(index + 16) << 4)
    } else throw new Error(`the writer has no ${type}`)
  }
  return bytes
}

function largest(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
}

const floatView = new DataView(new ArrayBuffer(4))

/** Round to nearest, ties to even; overflow to infinity, subnormals kept. */
export function toHalf(value: number): number {
  floatView.setFloat32(0, value)
  const bits = floatView.getUint32(0)
  const sign = (bits >>> 16) & 0x8000
  const magnitude = Math.abs(value)
  if (Number.isNaN(value)) return sign | 0x7e00
  if (magnitude >= 65520) return sign | 0x7c00
  if (magnitude < 2 ** -14) return sign | nearestEven(magnitude * 2 ** 24)
  const exponent = ((bits >>> 23) & 0xff) - 127
  return sign | ((exponent + 15) * 1024 + nearestEven((magnitude / 2 ** exponent - 1) * 1024))
}

function toBrain(value: number): number {
  floatView.setFloat32(0, value)
  const bits = floatView.getUint32(0)
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16
}

function nearestEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}

function pad(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([u64(bytes.length), bytes])
}

function scalar(type: Exclude<ValueTypeName, 'array'>, value: Scalar): Buffer {
  if (type === 'string') return text(String(value))
  const view = new DataView(new ArrayBuffer(8))
  const number = Number(value)
  const size = {
    uint8: () => (view.setUint8(0, number), 1),
    int8: () => (view.setInt8(0, number), 1),
    bool: () => (view.setUint8(0, number), 1),
    uint16: () => (view.setUint16(0, number, true), 2),
    int16: () => (view.setInt16(0, number, true), 2),
    uint32: () => (view.setUint32(0, number, true), 4),
    int32: () => (view.setInt32(0, number, true), 4),
    float32: () => (view.setFloat32(0, number, true), 4),
    uint64: () => (view.setBigUint64(0, BigInt(value), true), 8),
    int64: () => (view.setBigInt64(0, BigInt(value), true), 8),
    float64: () => (view.setFloat64(0, number, true), 8),
  }[type]()
  return Buffer.from(view.buffer, 0, size)
}
