/**
 * What one part of the program keeps about an object that lives as long as a call: on the object itself, under a key that
 * nobody else has. A `Map` or `WeakMap` with an entry per call is thrown away and made anew every few dozen calls, and V8
 * links each thrown away table to its successor: once one of them is old, the chain keeps every call's objects alive until
 * the next full collection, and short-lived garbage is copied instead of dropped.
 */
export class Slot<Owner extends object, T> {
  readonly #key: symbol

  constructor(name: string) {
    this.#key = Symbol(name)
  }

  get(owner: Owner): T | undefined {
    return (owner as Keyed<T>)[this.#key]
  }

  set(owner: Owner, value: T): void {
    ;(owner as Keyed<T>)[this.#key] = value
  }

  /** Gives the value and forgets it. */
  take(owner: Owner): T | undefined {
    const value = (owner as Keyed<T>)[this.#key]
    if (value !== undefined) (owner as Keyed<T>)[this.#key] = undefined
    return value
  }
}

type Keyed<T> = { [key: symbol]: T | undefined }
