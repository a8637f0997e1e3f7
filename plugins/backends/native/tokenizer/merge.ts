/** The merge loop that SPM and BPE share: join the best adjacent pair until none can be joined. O(n log n). */

/**
 * @param pieces the text, cut into its smallest symbols; changed in place
 * @param rank how good joining two neighbours is, lower first, undefined never; ties go to the leftmost pair
 * @returns what is left, in order
 */
export function mergePieces(pieces: string[], rank: (left: string, right: string) => number | undefined): string[] {
  const count = pieces.length
  if (count < 2) return pieces
  const previous = new Int32Array(count)
  const next = new Int32Array(count)
  for (let index = 0; index < count; index++) {
    previous[index] = index - 1
    next[index] = index + 1 < count ? index + 1 : -1
  }
  const queue = new PairQueue()
  const offer = (left: number, right: number): void => {
    if (left < 0 || right < 0) return
    const leftPiece = pieces[left] as string
    const rightPiece = pieces[right] as string
    const order = rank(leftPiece, rightPiece)
    if (order !== undefined) queue.push(order, left, leftPiece.length + rightPiece.length)
  }
  for (let index = 0; index + 1 < count; index++) offer(index, index + 1)

  while (queue.pop()) {
    const left = queue.left
    const right = next[left] as number
    const leftPiece = pieces[left] as string
    // pieces only grow, so the joint length tells whether the pair is still the one that was offered
    if (leftPiece === '' || right < 0 || leftPiece.length + (pieces[right] as string).length !== queue.length) continue
    pieces[left] = leftPiece + (pieces[right] as string)
    pieces[right] = ''
    const after = next[right] as number
    next[left] = after
    if (after >= 0) previous[after] = left
    offer(previous[left] as number, left)
    offer(left, after)
  }
  return pieces.filter((piece) => piece !== '')
}

/** A binary heap of pairs, lowest order first, then leftmost. The popped pair is in `left` and `length`. */
class PairQueue {
  left = 0
  length = 0
  readonly #orders: number[] = []
  readonly #lefts: number[] = []
  readonly #lengths: number[] = []

  push(order: number, left: number, length: number): void {
    const orders = this.#orders
    const lefts = this.#lefts
    const lengths = this.#lengths
    let at = orders.length
    orders.push(order)
    lefts.push(left)
    lengths.push(length)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(order, left, orders[parent] as number, lefts[parent] as number)) break
      orders[at] = orders[parent] as number
      lefts[at] = lefts[parent] as number
      lengths[at] = lengths[parent] as number
      at = parent
    }
    orders[at] = order
    lefts[at] = left
    lengths[at] = length
  }

  pop(): boolean {
    const orders = this.#orders
    const lefts = this.#lefts
    const lengths = this.#lengths
    if (orders.length === 0) return false
    this.left = lefts[0] as number
    this.length = lengths[0] as number
    const order = orders.pop() as number
    const left = lefts.pop() as number
    const length = lengths.pop() as number
    const count = orders.length
    if (count === 0) return true
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= count) break
      if (child + 1 < count && before(orders[child + 1] as number, lefts[child + 1] as number, orders[child] as number, lefts[child] as number)) child++
      if (!before(orders[child] as number, lefts[child] as number, order, left)) break
      orders[at] = orders[child] as number
      lefts[at] = lefts[child] as number
      lengths[at] = lengths[child] as number
      at = child
    }
    orders[at] = order
    lefts[at] = left
    lengths[at] = length
    return true
  }
}

function before(order: number, left: number, otherOrder: number, otherLeft: number): boolean {
  return order < otherOrder || (order === otherOrder && left < otherLeft)
}
