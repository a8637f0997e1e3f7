/** Reads little-endian values front to back from a file, in bounded memory, refusing to pass its end. */
import { readSync } from 'node:fs'
import { ModelError } from './model-error.ts'

const WINDOW_BYTES = 1 << 20
/** Far above any real key, token or chat template; keeps one hostile string from filling memory. */
const MAX_STRING_BYTES = 16 << 20

export class GgufCursor {
  /** Offset in the file of the next byte. */
  offset = 0
  readonly #file: number
  readonly #fileBytes: number
  #window: Buffer = Buffer.alloc(0)
  #windowStart = 0

  /** `file` is an open descriptor of a regular file of `fileBytes` bytes. */
  constructor(file: number, fileBytes: number) {
    this.#file = file
    this.#fileBytes = fileBytes
  }

  get remaining(): number {
    return this.#fileBytes - this.offset
  }

  uint8 = (): number => this.#take(1, 'a byte').readUInt8(this.#at)
  int8 = (): number => this.#take(1, 'a byte').readInt8(this.#at)
  uint16 = (): number => this.#take(2, 'a number').readUInt16LE(this.#at)
  int16 = (): number => this.#take(2, 'a number').readInt16LE(this.#at)
  uint32 = (): number => this.#take(4, 'a number').readUInt32LE(this.#at)
  int32 = (): number => this.#take(4, 'a number').readInt32LE(this.#at)
  float32 = (): number => this.#take(4, 'a number').readFloatLE(this.#at)
  uint64 = (): bigint => this.#take(8, 'a number').readBigUInt64LE(this.#at)
  int64 = (): bigint => this.#take(8, 'a number').readBigInt64LE(this.#at)
  float64 = (): number => this.#take(8, 'a number').readDoubleLE(this.#at)

  /** A 64-bit count of things that take at least `minBytes` each, so no count can exceed what is left of the file. */
  count(what: string, minBytes: number): number {
    const at = this.offset
    const count = this.uint64()
    if (count > BigInt(Math.floor(this.remaining / minBytes))) {
      throw new ModelError('malformed', `byte ${at}: ${what} is ${count}, more than the ${this.remaining} bytes left can hold`)
    }
    return Number(count)
  }

  /** Length-prefixed UTF-8. Invalid sequences become U+FFFD; a byte order mark is kept. */
  string(what: string): string {
    const at = this.offset
    const bytes = this.count(`the length of ${what}`, 1)
    if (bytes > MAX_STRING_BYTES) throw new ModelError('malformed', `byte ${at}: ${what} is ${bytes} bytes long, the limit is ${MAX_STRING_BYTES}`)
    const window = this.#take(bytes, what)
    return window.toString('utf8', this.#at, this.#at + bytes)
  }

  /** Where the bytes last taken lie in the window. */
  #at = 0

  #take(bytes: number, what: string): Buffer {
    if (bytes > this.remaining) throw new ModelError('malformed', `byte ${this.offset}: the file ends within ${what}`)
    let at = this.offset - this.#windowStart
    if (at + bytes > this.#window.length) {
      this.#window = Buffer.allocUnsafe(Math.min(Math.max(WINDOW_BYTES, bytes), this.remaining))
      this.#windowStart = this.offset
      let filled = 0
      while (filled < this.#window.length) {
        const read = readSync(this.#file, this.#window, filled, this.#window.length - filled, this.offset + filled)
        if (read === 0) throw new ModelError('unreadable', `byte ${this.offset + filled}: the file became shorter while it was read`)
        filled += read
      }
      at = 0
    }
    this.#at = at
    this.offset += bytes
    return this.#window
  }
}
