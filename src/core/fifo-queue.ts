/** First come, first served: a lane's order when no policy brings another. */
import { Chain, type Link } from './chain.ts'
import type { Waiter, WaitQueue } from './lane-policy.ts'
import { Slot } from './slot.ts'

/** `take` gives up after this many refusals in a row: a queue full of other keys must not make dispatch linear. */
const LOOKAHEAD = 256

export function fifoQueue(): WaitQueue {
  const queue = new Chain<Waiter>()
  const place = new Slot<Waiter, Link<Waiter>>('fifo')
  return {
    get size() {
      return queue.size
    },
    add: (waiter) => place.set(waiter, queue.add(waiter)),
    remove(waiter) {
      const link = place.take(waiter)
      return link !== undefined && queue.remove(link)
    },
    first: () => queue.first?.value,
    take(max, accept) {
      const taken: Waiter[] = []
      let refused = 0
      for (let link = queue.first, after: Link<Waiter> | undefined; link && taken.length < max && refused < LOOKAHEAD; link = after) {
        after = link.after
        const waiter = link.value as Waiter
        if (accept(waiter)) {
          place.take(waiter)
          queue.remove(link)
          taken.push(waiter)
        } else refused++
      }
      return taken
    },
    waiters: () => queue.values(),
  }
}
