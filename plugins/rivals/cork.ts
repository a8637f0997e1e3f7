/**
 * BentoML's CORK dispatcher: t = a·n + b by least squares over the last 50 batches; hold while n(w + a) ≤ .95 of the average
 * wait; drop the head when a·n + b is past the latency target.
 */
import { z } from 'zod'
import { definePlugin, FlyballError, type LanePolicy, type Waiter } from '../../src/index.ts'

const options = z.strictObject({
  maxLatencyMs: z.number().positive().default(10_000),
  maxBatch: z.int().min(1).default(100),
})

const KEPT = 50
const SKIPPED = 2
const WAIT_DECAY = 0.95
const LEAST_MS = 0

export interface Line {
  readonly a: number
  readonly b: number
}

/** Least squares with a ≥ 0 and b ≥ 0; undefined when the sizes do not vary at all. */
export function leastSquares(points: readonly { n: number; ms: number }[]): Line | undefined {
  const count = points.length
  const mn = points.reduce((sum, p) => sum + p.n, 0) / count
  const mt = points.reduce((sum, p) => sum + p.ms, 0) / count
  let nn = 0
  let nt = 0
  for (const { n, ms } of points) {
    nn += (n - mn) ** 2
    nt += (n - mn) * (ms - mt)
  }
  if (nn === 0) return undefined
  const a = nt / nn
  return { a: Math.max(LEAST_MS, a), b: Math.max(LEAST_MS, mt - a * mn) }
}

export class CorkOptimizer {
  a: number
  b: number
  /** Average wait, ms. */
  wait: number
  readonly #points: { n: number; ms: number }[] = []
  #seen = 0

  constructor(maxLatencyMs: number) {
    this.a = Math.min(2, (maxLatencyMs * 2) / 30)
    this.b = Math.min(1, maxLatencyMs / 30)
    this.wait = maxLatencyMs * 0.01
  }

  log(n: number, waitMs: number, ms: number): void {
    if (++this.#seen <= SKIPPED) return
    this.wait = this.wait * WAIT_DECAY + waitMs * (1 - WAIT_DECAY)
    this.#points.push({ n, ms })
    if (this.#points.length > KEPT) this.#points.shift()
    const line = this.#points.length >= 2 ? leastSquares(this.#points) : undefined
    if (!line) return
    this.a = line.a
    this.b = line.b
  }

  /** The head cannot be in time any more. */
  expired(waiting: number, oldestMs: number, maxLatencyMs: number): boolean {
    return waiting > 1 && oldestMs + this.a * waiting + this.b >= maxLatencyMs
  }

  holds(waiting: number, youngestMs: number): boolean {
    return waiting * (youngestMs + this.a) <= this.wait * 0.95
  }
}

export const cork = definePlugin({
  name: 'cork',
  phase: 'lane',
  doc: 'BentoML’s CORK dispatcher: least squares, hold by average wait, drop what would be late.',
  options,
  create(host, { maxLatencyMs, maxBatch }) {
    return {
      forLane(lane): LanePolicy {
        const optimizer = new CorkOptimizer(maxLatencyMs)
        let youngestMs = host.clock.monoMs()
        const drop = (waiter: Waiter): boolean => lane.evict(waiter, new FlyballError('overloaded', { reason: 'latency_exceeded' }))
        return {
          name: 'cork',
          group(head) {
            const now = host.clock.monoMs()
            const waiting = Math.min(lane.waiting, maxBatch)
            const hold = optimizer.holds(waiting, now - youngestMs) ? Math.max(0.1, (optimizer.wait * 0.95) / waiting - optimizer.a - (now - youngestMs)) : 0
            return { maxCalls: maxBatch, maxWork: Number.POSITIVE_INFINITY, holdMs: hold === 0 ? 0 : now - head.arrivedMs + hold }
          },
          onEnqueue(waiter) {
            const now = host.clock.monoMs()
            youngestMs = now
            for (const other of lane.waiters()) {
              if (other === waiter || !optimizer.expired(Math.min(lane.waiting, maxBatch), now - other.arrivedMs, maxLatencyMs)) break
              drop(other)
            }
          },
          onDispatch(batch) {
            const waitMs = batch.calls.reduce((sum, call) => sum + batch.dispatchedMs - (call.timings.enqueuedMs ?? batch.dispatchedMs), 0) / batch.calls.length
            const last = batch.calls.at(-1)
            // A cancelled batch leaves no sample: that is how this dispatcher latches up.
            last?.onSettle((settlement) => {
              if (settlement.outcome === 'ok') optimizer.log(batch.calls.length, waitMs, (settlement.timings.endMs ?? batch.dispatchedMs) - batch.dispatchedMs)
            })
          },
        }
      },
    }
  },
})
