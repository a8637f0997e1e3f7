/**
 * An ordered collection whose members come and go with every call: added at the end, taken out anywhere, both in O(1). A
 * `Set` would do, were it not for what its thrown away tables keep alive (see `slot.ts`). A link that is taken out lets go
 * of its neighbours and its value for the same reason.
 */

export interface Link<T> {
  /** Undefined once taken out. */
  value: T | undefined
  before: Link<T> | undefined
  after: Link<T> | undefined
}

/** Invariant: `first`…`last` are linked both ways, and as many as `size`. */
export class Chain<T> {
  #first: Link<T> | undefined
  #last: Link<T> | undefined
  size = 0

  get first(): Link<T> | undefined {
    return this.#first
  }

  add(value: T): Link<T> {
    const link: Link<T> = { value, before: this.#last, after: undefined }
    if (this.#last) this.#last.after = link
    else this.#first = link
    this.#last = link
    this.size++
    return link
  }

  /** False when it has been taken out before. */
  remove(link: Link<T>): boolean {
    if (link.value === undefined) return false
    const { before, after } = link
    if (before) before.after = after
    else this.#first = after
    if (after) after.before = before
    else this.#last = before
    link.value = link.before = link.after = undefined
    this.size--
    return true
  }

  /** A copy, oldest first: members may go while it is walked. */
  values(): T[] {
    const values: T[] = []
    for (let link = this.#first; link; link = link.after) values.push(link.value as T)
    return values
  }
}
