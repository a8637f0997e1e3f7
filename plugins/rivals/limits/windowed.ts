/** Netflix concurrency-limits, WindowedLimit: one update per window, with its mean round trip; thin windows are thrown away. */
import type { Limiter, LimitSample } from './limiter.ts'

export interface WindowOptions {
  readonly minMs?: number
  readonly maxMs?: number
  readonly minSamples?: number
}

export function windowed(inner: Limiter, { minMs = 1_000, maxMs = 1_000, minSamples = 10 }: WindowOptions = {}): Limiter {
  let sum = 0
  let count = 0
  let leastMs = Number.POSITIVE_INFINITY
  let inFlight = 0
  let dropped = false
  let endMs: number | undefined
  return {
    get limit() {
      return inner.limit
    },
    update(sample: LimitSample) {
      endMs ??= sample.nowMs + minMs
      if (sample.dropped) dropped = true
      else {
        sum += sample.rttMs
        count++
        leastMs = Math.min(leastMs, sample.rttMs)
      }
      inFlight = Math.max(inFlight, sample.inFlight)
      if (sample.nowMs < endMs) return
      if (count >= minSamples) inner.update({ rttMs: sum / count, inFlight, dropped, nowMs: sample.nowMs })
      endMs = sample.nowMs + Math.min(Math.max(Number.isFinite(leastMs) ? leastMs * 2 : minMs, minMs), maxMs)
      sum = 0
      count = 0
      leastMs = Number.POSITIVE_INFINITY
      inFlight = 0
      dropped = false
    },
  }
}
