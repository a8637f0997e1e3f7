/** Netflix concurrency-limits, Vegas: the queue that the round trip implies is kept between two marks. */
import { clamp, type Limiter, type LimitSample } from './limiter.ts'

export interface VegasOptions {
  readonly initial?: number
  readonly max?: number
  /** The smallest round trip is forgotten after so many times the limit's samples. */
  readonly probeMultiplier?: number
}

const log10root = (limit: number): number => Math.max(1, Math.floor(Math.log10(limit)))

export function vegas({ initial = 20, max = 10_000, probeMultiplier = 30 }: VegasOptions = {}): Limiter & { readonly baseMs: number } {
  let limit = initial
  let baseMs = 0
  let sinceProbe = 0
  return {
    get limit() {
      return limit
    },
    get baseMs() {
      return baseMs
    },
    update({ rttMs, inFlight, dropped }: LimitSample) {
      if (++sinceProbe >= probeMultiplier * limit) {
        sinceProbe = 0
        baseMs = rttMs
        return
      }
      if (baseMs === 0 || rttMs < baseMs) {
        baseMs = rttMs
        return
      }
      const queue = Math.ceil(limit * (1 - baseMs / rttMs))
      const step = log10root(limit)
      let next = limit
      if (dropped) next = limit - step
      else if (inFlight * 2 < limit) return
      else if (queue <= step) next = limit + 6 * step
      else if (queue < 3 * step) next = limit + step
      else if (queue > 6 * step) next = limit - step
      limit = clamp(next, 1, max)
    },
  }
}
