/** Envoy's adaptive concurrency filter: the round trip at concurrency 3, measured again each minute, over today's. */
import { quantile } from '../../../src/index.ts'
import { clamp, type Limiter, type LimitSample } from './limiter.ts'

export interface EnvoyOptions {
  readonly minConcurrency?: number
  readonly max?: number
  readonly updateMs?: number
  readonly minRttEveryMs?: number
  readonly minRttSamples?: number
  readonly buffer?: number
}

/** At the smallest limit for so many updates in a row: the smallest round trip is measured anew. */
const STUCK_UPDATES = 5

export function envoyGradient(options: EnvoyOptions = {}): Limiter & { readonly minRttMs: number | undefined; readonly measuring: boolean } {
  const { minConcurrency = 3, max = 10_000, updateMs = 100, minRttEveryMs = 60_000, minRttSamples = 50, buffer = 0.25 } = options
  let limit = minConcurrency
  let before = minConcurrency
  let minRttMs: number | undefined
  let measuring = true
  let samples: number[] = []
  let updateAtMs: number | undefined
  let measureAtMs = Number.POSITIVE_INFINITY
  let atMin = 0

  function measure(): void {
    measuring = true
    before = limit
    limit = minConcurrency
    samples = []
  }

  return {
    get limit() {
      return limit
    },
    get minRttMs() {
      return minRttMs
    },
    get measuring() {
      return measuring
    },
    update({ rttMs, nowMs, dropped }: LimitSample) {
      if (!dropped) samples.push(rttMs)
      if (measuring) {
        if (samples.length < minRttSamples) return
        minRttMs = quantile(samples, 0.5)
        measuring = false
        limit = before
        samples = []
        measureAtMs = nowMs + minRttEveryMs
        updateAtMs = nowMs + updateMs
        return
      }
      if (nowMs >= measureAtMs) return measure()
      if (updateAtMs === undefined || nowMs < updateAtMs || samples.length === 0) return
      updateAtMs = nowMs + updateMs
      const sampleMs = quantile(samples, 0.5)
      samples = []
      const gradient = clamp(((minRttMs as number) * (1 + buffer)) / sampleMs, 0.5, 2)
      const scaled = limit * gradient
      limit = clamp(scaled + Math.sqrt(scaled), minConcurrency, max)
      atMin = limit <= minConcurrency ? atMin + 1 : 0
      if (atMin >= STUCK_UPDATES) {
        atMin = 0
        measure()
      }
    },
  }
}
