/** Netflix concurrency-limits, Gradient2: the ratio of long-term to short-term round trip scales the limit. */
import { clamp, type Limiter, type LimitSample } from './limiter.ts'

export interface Gradient2Options {
  readonly initial?: number
  readonly min?: number
  readonly max?: number
  readonly queueSize?: number
  readonly smoothing?: number
  readonly tolerance?: number
  readonly longWindow?: number
}

const WARM_UP = 10
/** The long average falls faster than by itself when it is more than twice the short one: after a recovery. */
const CATCH_UP = 0.95

export function gradient2(options: Gradient2Options = {}): Limiter & { readonly longMs: number } {
  const { initial = 20, min = 20, max = 10_000, queueSize = 4, smoothing = 0.2, tolerance = 1.5, longWindow = 600 } = options
  let limit = initial
  let longMs = 0
  let count = 0
  let sum = 0
  return {
    get limit() {
      return limit
    },
    get longMs() {
      return longMs
    },
    update({ rttMs, inFlight }: LimitSample) {
      if (count < WARM_UP) {
        sum += rttMs
        longMs = sum / ++count
      } else {
        const factor = 2 / (longWindow + 1)
        longMs = longMs * (1 - factor) + rttMs * factor
      }
      if (longMs / rttMs > 2) longMs *= CATCH_UP
      // Less than half used: nothing is learned about the limit.
      if (inFlight < limit / 2) return
      const gradient = clamp((tolerance * longMs) / rttMs, 0.5, 1)
      limit = clamp(limit * (1 - smoothing) + (limit * gradient + queueSize) * smoothing, min, max)
    },
  }
}
