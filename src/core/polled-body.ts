/**
 * How a reply's body is read inside: asked for what is here now, and told when it is worth asking again. A promise per chunk
 * and layer would cost more than all that the layers do. Outside every body is an `AsyncIterable`, and these are, too.
 */
import type { Chunk } from './reply.ts'

/** Nothing is here yet: `wake` will be called once. */
export const PENDING: unique symbol = Symbol('pending')
/** Nothing will come any more. */
export const END: unique symbol = Symbol('end')

export interface Polled<T> {
  /** The next piece. Throws what the source failed with. One reader at a time: a later `wake` replaces an earlier one. */
  poll(wake: () => void): T | typeof PENDING | typeof END
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined }

/** `next` and `for await` on top of `poll`. */
export abstract class PolledBody implements Polled<Chunk>, AsyncIterableIterator<Chunk> {
  abstract poll(wake: () => void): Chunk | typeof PENDING | typeof END
  /** The reader stops early. */
  abstract cancel(reason?: unknown): void

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<Chunk>> {
    return new Promise((resolve, reject) => {
      const ask = (): void => {
        try {
          const got = this.poll(ask)
          if (got !== PENDING) resolve(got === END ? DONE : { done: false, value: got })
        } catch (thrown) {
          reject(thrown as Error)
        }
      }
      ask()
    })
  }

  return(): Promise<IteratorResult<Chunk>> {
    this.cancel()
    return Promise.resolve(DONE)
  }
}

/** Chunks that are already here. */
export class ListedBody extends PolledBody {
  readonly #chunks: readonly Chunk[]
  readonly #each: ((chunk: Chunk) => Chunk) | undefined
  #at = 0

  constructor(chunks: readonly Chunk[], each?: (chunk: Chunk) => Chunk) {
    super()
    this.#chunks = chunks
    this.#each = each
  }

  poll(): Chunk | typeof END {
    const chunk = this.#chunks[this.#at++]
    return chunk === undefined ? END : this.#each ? this.#each(chunk) : chunk
  }

  cancel(): void {
    this.#at = this.#chunks.length
  }
}

/** Somebody else's iterator, by polling. */
class PolledIterator implements Polled<Chunk> {
  readonly #iterator: AsyncIterator<Chunk>
  #result: IteratorResult<Chunk> | undefined
  #failure: { thrown: unknown } | undefined
  #asked = false
  #wake: (() => void) | undefined

  constructor(iterator: AsyncIterator<Chunk>) {
    this.#iterator = iterator
  }

  poll(wake: () => void): Chunk | typeof PENDING | typeof END {
    if (this.#failure) throw this.#failure.thrown
    if (this.#result) {
      const result = this.#result
      if (result.done) return END
      this.#result = undefined
      return result.value
    }
    this.#wake = wake
    if (!this.#asked) {
      this.#asked = true
      this.#iterator.next().then(
        (result) => {
          this.#result = result
          this.#answered()
        },
        (thrown: unknown) => {
          this.#failure = { thrown }
          this.#answered()
        },
      )
    }
    return PENDING
  }

  #answered(): void {
    this.#asked = false
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}

export interface BodySource extends Polled<Chunk> {
  /** Tells the source to stop, where it can be told. */
  stop(): void
}

/** A new reader of `body`. */
export function readerOf(body: AsyncIterable<Chunk>): BodySource {
  const iterator = body[Symbol.asyncIterator]()
  const polled = iterator instanceof PolledBody ? iterator : new PolledIterator(iterator)
  return { poll: (wake) => polled.poll(wake), stop: () => void iterator.return?.()?.then(undefined, () => {}) }
}

/**
 * Hands on every chunk; `take` may return a promise, and gets no more until it resolves. Rejects with what the body threw, or
 * `take`: then the body is told to stop, as a loop that is left by a throw tells it.
 */
export function forEachChunk(body: AsyncIterable<Chunk>, take: (chunk: Chunk) => Promise<void> | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const source = readerOf(body)
    const fail = (thrown: unknown): void => {
      source.stop()
      reject(thrown as Error)
    }
    const go = (): void => {
      try {
        for (let got = source.poll(go); got !== PENDING; got = source.poll(go)) {
          if (got === END) return resolve()
          const hold = take(got)
          if (hold) return void hold.then(go, fail)
        }
      } catch (thrown) {
        fail(thrown)
      }
    }
    go()
  })
}
