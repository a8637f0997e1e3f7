/** Steps on their way from the engine to the reader of `generate`. */
import { deferred } from './deferred.ts'
import type { Deferred } from './deferred.ts'
import type { GenerateStep } from './engine-contract.ts'

/** Unread steps; the engine's own bound on them is the request's `maxTokens`. */
export class StepQueue implements AsyncIterableIterator<GenerateStep> {
  readonly #steps: GenerateStep[] = []
  readonly #left: () => void
  #error: Error | undefined
  #closed = false
  #reader: Deferred<IteratorResult<GenerateStep>> | undefined

  /** @param left called once when the reader leaves before the last step */
  constructor(left: () => void) {
    this.#left = left
  }

  push(step: GenerateStep): void {
    if (this.#closed) return
    this.#closed = step.finish !== undefined
    const reader = this.#takeReader()
    if (reader === undefined) this.#steps.push(step)
    else reader.resolve({ done: false, value: step })
  }

  /** Steps that came before are still read. */
  fail(error: Error): void {
    if (this.#closed) return
    this.#closed = true
    const reader = this.#takeReader()
    if (reader === undefined) this.#error = error
    else reader.reject(error)
  }

  next(): Promise<IteratorResult<GenerateStep>> {
    const step = this.#steps.shift()
    if (step !== undefined) return Promise.resolve({ done: false, value: step })
    if (this.#error !== undefined) {
      const error = this.#error
      this.#error = undefined
      return Promise.reject(error)
    }
    if (this.#closed) return Promise.resolve({ done: true, value: undefined })
    if (this.#reader !== undefined) return Promise.reject(new Error('the previous step is still being waited for'))
    this.#reader = deferred()
    return this.#reader.promise
  }

  return(): Promise<IteratorResult<GenerateStep>> {
    this.#steps.length = 0
    this.#error = undefined
    this.#takeReader()?.resolve({ done: true, value: undefined })
    if (!this.#closed) {
      this.#closed = true
      this.#left()
    }
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #takeReader(): Deferred<IteratorResult<GenerateStep>> | undefined {
    const reader = this.#reader
    this.#reader = undefined
    return reader
  }
}
