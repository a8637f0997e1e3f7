/** Facebook's controlled delay with adaptive LIFO: short timeouts while the queue does not empty, newest first meanwhile. */
import { z } from 'zod'
import { definePlugin, FlyballError, type LanePolicy, type Waiter, type WaitQueue } from '../../src/index.ts'

const options = z.strictObject({
  /** The queue must have been empty within this, ms. */
  intervalMs: z.number().positive().default(100),
  /** Patience while it has not, ms. */
  targetMs: z.number().positive().default(5),
  limit: z.number().min(1).default(64),
})

/** How long an arriving call may wait: N while the queue was empty within N, else M. */
export const timeoutMs = (lastEmptyMs: number, nowMs: number, intervalMs: number, targetMs: number): number => (lastEmptyMs < nowMs - intervalMs ? targetMs : intervalMs)

const LOOKAHEAD = 256

/** First in first out while it is short-lived, last in first out while it stands. */
export function adaptiveQueue(isStanding: () => boolean): WaitQueue {
  const queue = new Set<Waiter>()
  return {
    get size() {
      return queue.size
    },
    add: (waiter) => void queue.add(waiter),
    remove: (waiter) => queue.delete(waiter),
    first: () => (isStanding() ? [...queue].at(-1) : queue.values().next().value),
    take(max, accept) {
      const taken: Waiter[] = []
      let refused = 0
      const order = isStanding() ? [...queue].reverse() : queue
      for (const waiter of order) {
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

export const codelLifo = definePlugin({
  name: 'codel-lifo',
  phase: 'lane',
  doc: 'Controlled delay with adaptive LIFO, over a static limit.',
  options,
  create(host, { intervalMs, targetMs, limit }) {
    return {
      forLane(lane): LanePolicy {
        let lastEmptyMs = host.clock.monoMs()
        const standing = (): boolean => lastEmptyMs < host.clock.monoMs() - intervalMs
        return {
          name: 'codel-lifo',
          limit: () => limit,
          queue: () => adaptiveQueue(standing),
          onEnqueue(waiter) {
            const now = host.clock.monoMs()
            if (lane.waiting <= 1) lastEmptyMs = now
            host.clock.after(timeoutMs(lastEmptyMs, now, intervalMs, targetMs), () => lane.evict(waiter, new FlyballError('overloaded', { reason: 'codel' })))
          },
          onDispatch() {
            if (lane.waiting === 0) lastEmptyMs = host.clock.monoMs()
          },
        }
      },
    }
  },
})
