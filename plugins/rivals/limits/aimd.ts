/** Netflix concurrency-limits, AIMD: one more while half of it is used, a tenth less on a drop or a timeout. */
import { clamp, type Limiter, type LimitSample } from './limiter.ts'

export interface AimdOptions {
  readonly initial?: number
  readonly min?: number
  readonly max?: number
  readonly backoff?: number
  readonly timeoutMs?: number
}

export function aimd({ initial = 20, min = 20, max = 10_000, backoff = 0.9, timeoutMs = 5_000 }: AimdOptions = {}): Limiter {
  let limit = initial
  return {
    get limit() {
      return limit
    },
    update({ rttMs, inFlight, dropped }: LimitSample) {
      if (dropped || rttMs > timeoutMs) limit = Math.floor(limit * backoff)
      else if (inFlight * 2 >= limit) limit++
      limit = clamp(limit, min, max)
    },
  }
}
