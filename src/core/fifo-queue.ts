/** First come, first served: a lane's order when no policy brings another. */
import type { Waiter, WaitQueue } from './lane-policy.ts'

/** `take` gives up after this many refusals in a row: a queue full of other keys must not make dispatch linear. */
const LOOKAHEAD = 256

/** A Set iterates in insertion order and removes from the middle in O(1). */
export function fifoQueue(): WaitQueue {
  const queue = new Set<Waiter>()
  return {
    get size() {
      return queue.size
    },
    add: (waiter) => void queue.add(waiter),
    remove: (waiter) => queue.delete(waiter),
    first: () => queue.values().next().value,
    take(max, accept) {
      const taken: Waiter[] = []
      let refused = 0
      for (const waiter of queue) {
        if (taken.length >= max || refused >= LOOKAHEAD) break
        if (accept(waiter)) {
          queue.delete(waiter)
          taken.push(waiter)
        } else refused++
      }
      return taken
    },
    waiters: () => queue,
  }
}
