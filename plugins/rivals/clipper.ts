/** Clipper's batch size: additive increase until the latency target is missed, then a tenth less; or by quantile regression. */
import { z } from 'zod'
import { definePlugin, type LanePolicy } from '../../src/index.ts'

const options = z.strictObject({
  targetMs: z.number().positive().default(100),
  step: z.number().positive().default(2),
  backoff: z.number().min(0).max(1).default(0.9),
  maxBatch: z.int().min(1).default(1_024),
  /** Which latency it steers: of the run, as published, or of the whole call. */
  latency: z.enum(['run', 'whole']).default('run'),
  rule: z.enum(['aimd', 'regression']).default('aimd'),
})

export function clipperStep(size: number, latencyMs: number, settings: { targetMs: number; step: number; backoff: number; maxBatch: number }): number {
  if (latencyMs > settings.targetMs) return Math.max(1, Math.floor(size * settings.backoff))
  return Math.min(settings.maxBatch, size + settings.step)
}

/** Line through the .99 quantile of latency over batch size, by subgradient descent on the pinball loss; sizes scaled to 1. */
export function quantileLine(points: readonly { n: number; ms: number }[], q: number): { slope: number; intercept: number } {
  const top = Math.max(...points.map((p) => p.n), 1)
  const high = Math.max(...points.map((p) => p.ms), 1e-9)
  let slope = 0
  let intercept = 0
  for (let round = 1; round <= 400; round++) {
    const rate = 0.5 / Math.sqrt(round)
    let ds = 0
    let di = 0
    for (const { n, ms } of points) {
      const over = ms / high - (slope * (n / top) + intercept)
      const gradient = over > 0 ? q : q - 1
      ds += gradient * (n / top)
      di += gradient
    }
    slope += (rate * ds) / points.length
    intercept += (rate * di) / points.length
  }
  return { slope: (slope * high) / top, intercept: intercept * high }
}

const KEPT = 200

export const clipper = definePlugin({
  name: 'clipper',
  phase: 'lane',
  doc: 'Clipper: batch size by AIMD on a latency target, or by quantile regression.',
  options,
  create(host, settings) {
    return {
      forLane(): LanePolicy {
        let size = 1
        const points: { n: number; ms: number }[] = []
        return {
          name: 'clipper',
          group: () => ({ maxCalls: Math.max(1, Math.floor(size)), maxWork: Number.POSITIVE_INFINITY, holdMs: 0 }),
          onDispatch(batch) {
            batch.calls[0]?.onSettle((settlement) => {
              if (settlement.outcome !== 'ok') return
              const endMs = settlement.timings.endMs ?? host.clock.monoMs()
              const ms = endMs - (settings.latency === 'run' ? batch.dispatchedMs : settlement.timings.receivedMs)
              if (settings.rule === 'aimd') {
                // A batch that was not full says nothing against a larger one, but may say something against this one.
                if (batch.calls.length >= Math.floor(size) || ms > settings.targetMs) size = clipperStep(size, ms, settings)
                return
              }
              points.push({ n: batch.calls.length, ms })
              if (points.length > KEPT) points.shift()
              if (points.length % 10 !== 0) return
              const { slope, intercept } = quantileLine(points, 0.99)
              const wanted = slope <= 0 ? size + settings.step : (settings.targetMs - intercept) / slope
              // Exploration by one step: a line tells nothing about sizes it has not seen.
              size = Math.max(1, Math.min(settings.maxBatch, size + settings.step, wanted))
            })
          },
        }
      },
    }
  },
})
