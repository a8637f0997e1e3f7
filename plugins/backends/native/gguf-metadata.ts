/** GGUF metadata with typed accessors: absent gives undefined, the wrong type is an error that names the key. */
import { ModelError, shown } from './model-error.ts'
import type { ValueTypeName } from './gguf-types.ts'

export type NumberArray = Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | BigUint64Array | BigInt64Array | Float64Array

export type MetadataValue =
  | { readonly type: Exclude<ValueTypeName, 'array' | 'string' | 'bool' | 'uint64' | 'int64'>; readonly value: number }
  | { readonly type: 'uint64' | 'int64'; readonly value: bigint }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'array'; readonly of: 'string'; readonly value: readonly string[] }
  | { readonly type: 'array'; readonly of: Exclude<ValueTypeName, 'array' | 'string'>; readonly value: NumberArray }

export class GgufMetadata {
  readonly #entries: ReadonlyMap<string, MetadataValue>

  constructor(entries: ReadonlyMap<string, MetadataValue>) {
    this.#entries = entries
  }

  get size(): number {
    return this.#entries.size
  }

  has(key: string): boolean {
    return this.#entries.has(key)
  }

  entries(): IterableIterator<[string, MetadataValue]> {
    return this.#entries.entries()
  }

  string(key: string): string | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (entry.type !== 'string') throw wrongType(key, 'a string', entry)
    return entry.value
  }

  /** Any integer type, as a number that is exact and not negative. */
  uint(key: string): number | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    const value = typeof entry.value === 'bigint' || (typeof entry.value === 'number' && !entry.type.startsWith('float')) ? Number(entry.value) : NaN
    if (!Number.isSafeInteger(value) || value < 0) throw wrongType(key, 'an unsigned integer', entry)
    return value
  }

  /** Any number type; finite. */
  float(key: string): number | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    const value = typeof entry.value === 'bigint' || typeof entry.value === 'number' ? Number(entry.value) : NaN
    if (!Number.isFinite(value)) throw wrongType(key, 'a finite number', entry)
    return value
  }

  bool(key: string): boolean | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (entry.type !== 'bool') throw wrongType(key, 'a boolean', entry)
    return entry.value
  }

  strings(key: string): readonly string[] | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (entry.type !== 'array' || entry.of !== 'string') throw wrongType(key, 'an array of strings', entry)
    return entry.value
  }

  /** An array of any number type of at most 32 bits, or of doubles. */
  numbers(key: string): Exclude<NumberArray, BigUint64Array | BigInt64Array> | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (entry.type !== 'array' || entry.of === 'string' || entry.value instanceof BigUint64Array || entry.value instanceof BigInt64Array) {
      throw wrongType(key, 'an array of numbers', entry)
    }
    return entry.value
  }
}

/** The value, or an error that the model lacks the key. */
export function required<T>(value: T | undefined, key: string): T {
  if (value === undefined) throw new ModelError('invalid_model', `metadata key ${key} is missing`)
  return value
}

function wrongType(key: string, expected: string, entry: MetadataValue): ModelError {
  const got = entry.type === 'array' ? `array of ${entry.of}` : entry.type === 'string' ? 'string' : `${entry.type} ${entry.value}`
  return new ModelError('invalid_model', `metadata key ${shown(key)}: expected ${expected}, got ${got}`)
}
