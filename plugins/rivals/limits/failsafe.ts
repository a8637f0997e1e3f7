/** In the style of failsafe-go's adaptive limiter: Vegas-like marks on windows of at least 50 samples, and two correlations. */
import { quantile } from '../../../src/index.ts'
import { clamp, type Limiter, type LimitSample } from './limiter.ts'

export interface FailsafeOptions {
  readonly initial?: number
  readonly min?: number
  readonly max?: number
  readonly minMs?: number
  readonly maxMs?: number
  readonly minSamples?: number
  readonly sampleQuantile?: number
  /** Windows that the baseline remembers. */
  readonly baselineWindows?: number
  readonly correlationWindows?: number
  /** The limit is no more than this many times what is in flight. */
  readonly maxLimitFactor?: number
}

export function failsafe(options: FailsafeOptions = {}): Limiter & { readonly baselineMs: number } {
  const { initial = 20, min = 1, max = 10_000, minMs = 1_000, maxMs = 30_000, minSamples = 50, sampleQuantile = 0.9, baselineWindows = 10, correlationWindows = 50, maxLimitFactor = 5 } = options
  let limit = initial
  let baselineMs = 0
  let rtts: number[] = []
  let peak = 0
  let dropped = false
  let startMs: number | undefined
  const history: { inFlight: number; perMs: number; rttMs: number }[] = []
  return {
    get limit() {
      return limit
    },
    get baselineMs() {
      return baselineMs
    },
    update(sample: LimitSample) {
      startMs ??= sample.nowMs
      if (sample.dropped) dropped = true
      else rtts.push(sample.rttMs)
      peak = Math.max(peak, sample.inFlight)
      const elapsed = sample.nowMs - startMs
      if (elapsed < minMs || (rtts.length < minSamples && elapsed < maxMs) || rtts.length === 0) return
      const rttMs = quantile(rtts, sampleQuantile)
      baselineMs = baselineMs === 0 ? rttMs : baselineMs + (rttMs - baselineMs) * (2 / (baselineWindows + 1))
      history.push({ inFlight: peak, perMs: rtts.length / elapsed, rttMs })
      if (history.length > correlationWindows) history.shift()
      const queue = Math.ceil(limit * (1 - Math.min(1, baselineMs / rttMs)))
      const step = Math.max(1, Math.log10(limit))
      const throughput = correlation(history.map((one) => one.inFlight), history.map((one) => one.perMs))
      const latency = correlation(history.map((one) => one.inFlight), history.map((one) => one.rttMs))
      if (dropped || queue > 6 * step) limit -= step
      // More in flight, no more done, and it takes longer: overload, whatever the baseline has drifted to.
      else if (throughput < 0 && latency > 0.7) limit -= step
      else if (peak * maxLimitFactor < limit) limit -= step
      else if (peak * 2 >= limit && queue < 3 * step) limit += step
      limit = clamp(limit, min, max)
      rtts = []
      peak = 0
      dropped = false
      startMs = sample.nowMs
    },
  }
}

/** Rejection ramp: nobody below twice the limit queued, everybody from three times on; less urgent calls sooner. */
export function rejectionShare(queued: number, limit: number): number {
  return clamp((queued - 2 * limit) / Math.max(1, limit), 0, 1)
}

export function correlation(xs: readonly number[], ys: readonly number[]): number {
  const n = xs.length
  if (n < 3) return 0
  const mx = xs.reduce((a, b) => a + b, 0) / n
  const my = ys.reduce((a, b) => a + b, 0) / n
  let xy = 0
  let xx = 0
  let yy = 0
  for (let i = 0; i < n; i++) {
    const dx = (xs[i] as number) - mx
    const dy = (ys[i] as number) - my
    xy += dx * dy
    xx += dx * dx
    yy += dy * dy
  }
  return xx === 0 || yy === 0 ? 0 : xy / Math.sqrt(xx * yy)
}
