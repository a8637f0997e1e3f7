/**
 * Reads the header of a GGUF v3 file: metadata and tensor table, fully checked, so that whoever maps the weights later
 * may trust every offset, type and shape. Memory is bounded by the size of the header. Format: ggml `docs/gguf.md`.
 */
import { closeSync, fstatSync, openSync, statSync } from 'node:fs'
import { GgufCursor } from './gguf-cursor.ts'
import { GgufMetadata } from './gguf-metadata.ts'
import type { MetadataValue, NumberArray } from './gguf-metadata.ts'
import { tensorTypeById, valueTypeName } from './gguf-types.ts'
import type { TensorTypeName, ValueTypeName } from './gguf-types.ts'
import { ModelError, shown, unreadable } from './model-error.ts'

export interface GgufTensor {
  readonly name: string
  readonly type: TensorTypeName
  /** Innermost dimension first, as in the file: a matrix of `rows` rows with `columns` values each is [columns, rows]. */
  readonly shape: readonly number[]
  /** Product of the shape. */
  readonly values: number
  /** From the start of the file, aligned. */
  readonly offset: number
  readonly bytes: number
}

export interface Gguf {
  readonly path: string
  readonly version: number
  readonly metadata: GgufMetadata
  readonly tensors: ReadonlyMap<string, GgufTensor>
  /** Where tensor data starts, and the power of two that every tensor offset is a multiple of. */
  readonly dataOffset: number
  readonly alignment: number
  readonly fileBytes: number
  /** False for a file that ends with its header (a vocabulary, or a header cut off on purpose): it cannot be run. */
  readonly hasData: boolean
}

const MAGIC = 0x46554747 // "GGUF", little-endian
const VERSION = 3
const DEFAULT_ALIGNMENT = 32
const MAX_DIMENSIONS = 4
const MAX_TENSOR_NAME_BYTES = 63
const MAX_KEY_BYTES = 65535
/** Caps on table sizes, an order of magnitude above the largest published models. */
const MAX_TENSORS = 1 << 18
const MAX_KEYS = 1 << 16
const MAX_ARRAY_LENGTH = 1 << 24
/** All of the metadata; a 256k vocabulary with merges takes about 20 MB. */
const MAX_HEADER_BYTES = 512 << 20

/**
 * Reads and checks the header of a local file. Synchronous: it is done once per model, at load.
 * @throws ModelError `unreadable` or `malformed`, one line that starts with the path
 */
export function readGguf(path: string): Gguf {
  let file: number
  try {
    // before open: opening a pipe would wait for a writer
    if (!statSync(path).isFile()) throw new ModelError('unreadable', 'not a regular file')
    file = openSync(path, 'r')
  } catch (error) {
    throw unreadable(path, error)
  }
  try {
    return parse(path, file, fstatSync(file).size)
  } catch (error) {
    if (error instanceof ModelError) throw new ModelError(error.code, `${path}: ${error.message}`, error)
    throw unreadable(path, error)
  } finally {
    closeSync(file)
  }
}

function parse(path: string, file: number, fileBytes: number): Gguf {
  const cursor = new GgufCursor(file, fileBytes)
  const magic = cursor.remaining < 4 ? 0 : cursor.uint32()
  if (magic !== MAGIC) throw new ModelError('malformed', 'not a GGUF file: it does not start with "GGUF"')
  const version = cursor.uint32()
  if (version !== VERSION) throw new ModelError('malformed', `GGUF version ${version} is not supported, only ${VERSION}`)
  const tensorCount = cursor.count('the number of tensors', 24)
  const keyCount = cursor.count('the number of metadata keys', 13)
  if (tensorCount > MAX_TENSORS) throw new ModelError('malformed', `${tensorCount} tensors, the limit is ${MAX_TENSORS}`)
  if (keyCount > MAX_KEYS) throw new ModelError('malformed', `${keyCount} metadata keys, the limit is ${MAX_KEYS}`)

  const metadata = readMetadata(cursor, keyCount)
  const alignment = readAlignment(metadata)
  const infos = readTensorInfos(cursor, tensorCount)
  const dataOffset = padded(cursor.offset, alignment)
  const hasData = fileBytes > dataOffset
  const tensors = placeTensors(infos, dataOffset, alignment, hasData ? fileBytes : undefined)
  return { path, version, metadata: new GgufMetadata(metadata), tensors, dataOffset, alignment, fileBytes, hasData }
}

function readMetadata(cursor: GgufCursor, count: number): Map<string, MetadataValue> {
  const entries = new Map<string, MetadataValue>()
  for (let index = 0; index < count; index++) {
    const at = cursor.offset
    const key = cursor.string(`metadata key ${index}`)
    if (key === '') throw new ModelError('malformed', `byte ${at}: metadata key ${index} is empty`)
    if (key.length > MAX_KEY_BYTES) throw new ModelError('malformed', `byte ${at}: metadata key ${index} is longer than ${MAX_KEY_BYTES} bytes`)
    if (entries.has(key)) throw new ModelError('malformed', `byte ${at}: metadata key ${shown(key)} is there twice`)
    entries.set(key, readValue(cursor, key))
    if (cursor.offset > MAX_HEADER_BYTES) throw new ModelError('malformed', `metadata is larger than ${MAX_HEADER_BYTES} bytes`)
  }
  return entries
}

function readValueType(cursor: GgufCursor, key: string): ValueTypeName {
  const at = cursor.offset
  const id = cursor.uint32()
  const type = valueTypeName(id)
  if (type === undefined) throw new ModelError('malformed', `byte ${at}: metadata key ${shown(key)} has the unknown type ${id}`)
  return type
}

function readValue(cursor: GgufCursor, key: string): MetadataValue {
  const type = readValueType(cursor, key)
  if (type === 'array') return readArray(cursor, key)
  if (type === 'string') return { type, value: cursor.string(`the value of ${shown(key)}`) }
  if (type === 'bool') return { type, value: cursor.uint8() !== 0 }
  if (type === 'uint64' || type === 'int64') return { type, value: cursor[type]() }
  return { type, value: cursor[type]() }
}

const arrayOf = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
  bool: Uint8Array,
  uint64: BigUint64Array,
  int64: BigInt64Array,
  float64: Float64Array,
}

function readArray(cursor: GgufCursor, key: string): MetadataValue {
  const at = cursor.offset
  const of = readValueType(cursor, key)
  if (of === 'array') throw new ModelError('malformed', `byte ${at}: metadata key ${shown(key)} is an array of arrays`)
  const length = cursor.count(`the array length of ${shown(key)}`, of === 'string' ? 8 : arrayOf[of].BYTES_PER_ELEMENT)
  if (length > MAX_ARRAY_LENGTH) throw new ModelError('malformed', `byte ${at}: metadata key ${shown(key)} has ${length} elements, the limit is ${MAX_ARRAY_LENGTH}`)
  if (of === 'string') {
    const value: string[] = []
    const what = `an element of ${shown(key)}`
    for (let index = 0; index < length; index++) {
      value.push(cursor.string(what))
      if (cursor.offset > MAX_HEADER_BYTES) throw new ModelError('malformed', `metadata is larger than ${MAX_HEADER_BYTES} bytes`)
    }
    return { type: 'array', of, value }
  }
  const value: NumberArray = new arrayOf[of](length)
  const read = of === 'bool' ? cursor.uint8 : cursor[of]
  for (let index = 0; index < length; index++) value[index] = read()
  return { type: 'array', of, value }
}

function readAlignment(metadata: ReadonlyMap<string, MetadataValue>): number {
  const entry = metadata.get('general.alignment')
  if (entry === undefined) return DEFAULT_ALIGNMENT
  if (entry.type !== 'uint32') throw new ModelError('malformed', `general.alignment: expected a uint32, got ${entry.type}`)
  const alignment = entry.value
  if (alignment === 0 || (alignment & (alignment - 1)) !== 0) {
    throw new ModelError('malformed', `general.alignment: expected a power of two, got ${alignment}`)
  }
  return alignment
}

interface TensorInfo {
  name: string
  type: TensorTypeName
  shape: number[]
  values: number
  bytes: number
  /** From the start of the data. */
  offset: bigint
}

function readTensorInfos(cursor: GgufCursor, count: number): TensorInfo[] {
  const infos: TensorInfo[] = []
  const names = new Set<string>()
  for (let index = 0; index < count; index++) {
    const at = cursor.offset
    const name = cursor.string(`the name of tensor ${index}`)
    if (Buffer.byteLength(name) > MAX_TENSOR_NAME_BYTES) {
      throw new ModelError('malformed', `byte ${at}: tensor name ${shown(name)} is longer than ${MAX_TENSOR_NAME_BYTES} bytes`)
    }
    if (names.has(name)) throw new ModelError('malformed', `byte ${at}: tensor ${shown(name)} is there twice`)
    names.add(name)
    infos.push({ name, ...readTensorShape(cursor, shown(name)), offset: cursor.uint64() })
  }
  return infos
}

function readTensorShape(cursor: GgufCursor, name: string): Omit<TensorInfo, 'name' | 'offset'> {
  const dimensions = cursor.uint32()
  if (dimensions > MAX_DIMENSIONS) throw new ModelError('malformed', `tensor ${name} has ${dimensions} dimensions, the limit is ${MAX_DIMENSIONS}`)
  const shape: number[] = []
  let values = 1
  for (let dimension = 0; dimension < dimensions; dimension++) {
    const size = cursor.uint64()
    // the product of the other sizes must stay exact even beside a zero
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new ModelError('malformed', `tensor ${name}: dimension ${dimension} is ${size}`)
    shape.push(Number(size))
    values *= Number(size)
    if (!Number.isSafeInteger(values)) throw new ModelError('malformed', `tensor ${name}: the shape ${shape.join('×')} overflows`)
  }
  const typeId = cursor.uint32()
  const type = tensorTypeById(typeId)
  if (type === undefined) throw new ModelError('malformed', `tensor ${name} has the unknown type ${typeId}`)
  const columns = shape[0] ?? 1
  if (columns % type.blockValues !== 0) {
    throw new ModelError('malformed', `tensor ${name}: rows of ${columns} values are not whole ${type.name} blocks of ${type.blockValues}`)
  }
  const bytes = (values / type.blockValues) * type.blockBytes
  if (!Number.isSafeInteger(bytes)) throw new ModelError('malformed', `tensor ${name}: its size overflows`)
  return { type: type.name, shape, values, bytes }
}

/** Tensors lie one after the other, each padded to the alignment; any other offset means that the file is damaged. */
function placeTensors(infos: readonly TensorInfo[], dataOffset: number, alignment: number, fileBytes: number | undefined): Map<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>()
  let expected = 0
  for (const { name, type, shape, values, bytes, offset } of infos) {
    if (offset !== BigInt(expected)) throw new ModelError('malformed', `tensor ${shown(name)} has offset ${offset}, expected ${expected}`)
    const start = dataOffset + expected
    // the padding counts: writers pad the last tensor too, so a file without it was cut
    const end = padded(start + bytes, alignment)
    if (fileBytes !== undefined && end > fileBytes) {
      throw new ModelError('malformed', `tensor ${shown(name)} ends at byte ${end} with its padding, but the file ends at ${fileBytes}`)
    }
    tensors.set(name, { name, type, shape, values, offset: start, bytes })
    expected = padded(expected + bytes, alignment)
    if (!Number.isSafeInteger(dataOffset + expected)) throw new ModelError('malformed', `the tensor data overflows at ${shown(name)}`)
  }
  return tensors
}

function padded(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment
}

