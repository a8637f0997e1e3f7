/** Triton's dynamic batcher, and Ray Serve's: a preferred or largest size, or the oldest has waited long enough. */
import { z } from 'zod'
import { definePlugin, FlyballError, type LanePolicy } from '../../src/index.ts'

const options = z.strictObject({
  maxBatch: z.int().min(1).default(64),
  /** Ascending; a batch goes as soon as one of them is reached. */
  preferred: z.array(z.int().min(1)).default([]),
  delayMs: z.number().min(0).default(0),
  /** A call that waits longer than this is turned away; 0: never. */
  timeoutMs: z.number().min(0).default(0),
})

/** Size to send now, or 0: wait. */
export function tritonSize(waiting: number, oldestMs: number, settings: { maxBatch: number; preferred: readonly number[]; delayMs: number }): number {
  if (waiting >= settings.maxBatch) return settings.maxBatch
  const reached = settings.preferred.filter((size) => size <= waiting).at(-1)
  if (reached !== undefined) return reached
  return oldestMs >= settings.delayMs ? waiting : 0
}

export const triton = definePlugin({
  name: 'triton',
  phase: 'lane',
  doc: 'Triton dynamic batching: preferred sizes, a largest one, and a longest delay.',
  options,
  create(host, settings) {
    return {
      forLane: (lane): LanePolicy => ({
        name: 'triton',
        group(head) {
          const size = tritonSize(lane.waiting, host.clock.monoMs() - head.arrivedMs, settings)
          return { maxCalls: size === 0 ? settings.maxBatch : size, maxWork: Number.POSITIVE_INFINITY, holdMs: size === 0 ? settings.delayMs : 0 }
        },
        onEnqueue(waiter) {
          if (settings.timeoutMs > 0) host.clock.after(settings.timeoutMs, () => lane.evict(waiter, new FlyballError('overloaded', { reason: 'queue_timeout' })))
        },
      }),
    }
  },
})

/** Ray Serve's `@serve.batch` as it comes: ten at most, no wait. */
export const rayServe = definePlugin({
  name: 'ray-serve',
  phase: 'lane',
  doc: 'Ray Serve’s batching with its defaults: size 10, wait 0.',
  options: z.strictObject({}),
  create: () => ({ forLane: (): LanePolicy => ({ name: 'ray-serve', group: () => ({ maxCalls: 10, maxWork: Number.POSITIVE_INFINITY, holdMs: 0 }) }) }),
})
