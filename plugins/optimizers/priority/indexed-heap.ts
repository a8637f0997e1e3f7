/** A binary heap whose items know their place, so that any of them can be removed or moved in O(log n). */

export interface HeapItem {
  /** Place in the heap that holds it; -1 outside. Written by the heap only. */
  index: number
}

/** Invariants: no item is smaller than its parent by `before`; `items[i].index === i`. An item is in one heap at a time. */
export class IndexedHeap<T extends HeapItem> {
  readonly #items: T[] = []
  readonly #before: (a: T, b: T) => boolean

  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before
  }

  get size(): number {
    return this.#items.length
  }

  get top(): T | undefined {
    return this.#items[0]
  }

  values(): Iterable<T> {
    return this.#items
  }

  has(item: T): boolean {
    return this.#items[item.index] === item
  }

  add(item: T): void {
    this.#items.push(item)
    this.#up(this.#items.length - 1, item)
  }

  remove(item: T): boolean {
    if (!this.has(item)) return false
    const hole = item.index
    const last = this.#items.pop() as T
    item.index = -1
    if (last !== item) this.#settle(hole, last)
    return true
  }

  /** Call it after the item's order has changed. */
  moved(item: T): void {
    if (this.has(item)) this.#settle(item.index, item)
  }

  #settle(at: number, item: T): void {
    const parent = (at - 1) >> 1
    if (at > 0 && this.#before(item, this.#items[parent] as T)) this.#up(at, item)
    else this.#down(at, item)
  }

  #place(at: number, item: T): void {
    this.#items[at] = item
    item.index = at
  }

  #up(from: number, item: T): void {
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = this.#items[parent] as T
      if (!this.#before(item, above)) break
      this.#place(at, above)
      at = parent
    }
    this.#place(at, item)
  }

  #down(from: number, item: T): void {
    const { length } = this.#items
    let at = from
    for (;;) {
      let child = 2 * at + 1
      if (child >= length) break
      if (child + 1 < length && this.#before(this.#items[child + 1] as T, this.#items[child] as T)) child++
      const below = this.#items[child] as T
      if (!this.#before(below, item)) break
      this.#place(at, below)
      at = child
    }
    this.#place(at, item)
  }
}
