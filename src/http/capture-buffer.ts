/** Between a handler that writes and a reply that is read: bounded, with back-pressure. */
import type { Chunk } from '../core/reply.ts'

/** As much as Node's own responses hold before they say `false`. */
const HIGH_WATER_BYTES = 64 * 1024

export class CaptureBuffer implements AsyncIterator<Chunk> {
  readonly #onDrain: () => void
  #chunks: Uint8Array[] = []
  #bytes = 0
  #full = false
  #ended = false
  #dropped = false
  #waiting: ((result: IteratorResult<Chunk>) => void) | undefined

  constructor(onDrain: () => void) {
    this.#onDrain = onDrain
  }

  /** False: wait for `drain` before writing more. */
  push(bytes: Uint8Array): boolean {
    if (this.#dropped || this.#ended || bytes.length === 0) return true
    if (this.#waiting) {
      const resolve = this.#waiting
      this.#waiting = undefined
      resolve({ done: false, value: { raw: bytes, tokens: 0 } })
      return true
    }
    this.#chunks.push(bytes)
    this.#bytes += bytes.length
    this.#full = this.#bytes >= HIGH_WATER_BYTES
    return !this.#full
  }

  end(): void {
    this.#ended = true
    this.#waiting?.({ done: true, value: undefined })
    this.#waiting = undefined
  }

  drop(): void {
    this.#dropped = true
    this.#chunks = []
    this.#bytes = 0
    this.end()
    this.#release()
  }

  next(): Promise<IteratorResult<Chunk>> {
    const raw = this.#chunks.shift()
    if (raw !== undefined) {
      this.#bytes -= raw.length
      if (this.#bytes < HIGH_WATER_BYTES / 2) this.#release()
      return Promise.resolve({ done: false, value: { raw, tokens: 0 } })
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve) => (this.#waiting = resolve))
  }

  #release(): void {
    if (!this.#full) return
    this.#full = false
    this.#onDrain()
  }
}
