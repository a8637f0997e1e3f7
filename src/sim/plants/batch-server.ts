/** Plant (a): a server that runs whole batches. t(W) = base + perWork·W, steeper past a cliff, or as measured; nothing past its memory. */
import { z } from 'zod'
import type { BackendLimits } from '../../core/backend.ts'
import type { Call } from '../../core/call.ts'
import type { Clock } from '../../core/clock.ts'
import { FlyballError } from '../../core/errors.ts'
import { isAborted, onAbort, reshape, unaryReply, type Plant } from './plant.ts'

export const batchServerParameters = z.strictObject({
  kind: z.literal('batch-server'),
  name: z.string().default('batch-server'),
  slots: z.int().min(1).default(1),
  maxBatch: z.int().min(1).default(64),
  /** Fixed cost of a run, ms. */
  baseMs: z.number().min(0),
  /** Cost per unit of work, ms. */
  perWorkMs: z.number().min(0),
  /** Above this much work each further unit costs `cliffFactor` times as much. */
  cliffWork: z.number().positive().optional(),
  cliffFactor: z.number().min(1).default(4),
  /** Measured [work, ms], by work: in between it is straight, beyond the last point each unit costs `perWorkMs`. In place of base, price and cliff. */
  curve: z.array(z.tuple([z.number().positive(), z.number().min(0)])).min(2).refine((points) => points.every(([work], i) => i === 0 || work > (points[i - 1]?.[0] ?? 0)), 'expected points in order of work').optional(),
  /** More work than this does not fit: the run fails after `baseMs`. */
  memoryWork: z.number().positive().optional(),
  /** Tell the lane about `memoryWork`, as a real server's configuration would. */
  declareMemory: z.boolean().default(true),
  /** Relative spread of run times (log-normal sigma). */
  noise: z.number().min(0).default(0.05),
})
export type BatchServerParameters = z.output<typeof batchServerParameters>

/** Mean run time at this much work, ms. */
export function batchTimeMs(p: BatchServerParameters, work: number): number {
  if (p.curve) return onCurve(p.curve, p.perWorkMs, work)
  const beyond = p.cliffWork === undefined ? 0 : Math.max(0, work - p.cliffWork)
  return p.baseMs + p.perWorkMs * (work - beyond) + p.perWorkMs * p.cliffFactor * beyond
}

function onCurve(curve: readonly (readonly [number, number])[], perWorkMs: number, work: number): number {
  const [lastWork, lastMs] = curve.at(-1) as [number, number]
  if (work >= lastWork) return lastMs + perWorkMs * (work - lastWork)
  const next = curve.findIndex(([at]) => at >= work)
  const [highWork, highMs] = curve[next] as [number, number]
  const [lowWork, lowMs] = curve[next - 1] ?? [highWork, highMs]
  return highWork === lowWork ? highMs : lowMs + ((highMs - lowMs) * (work - lowWork)) / (highWork - lowWork)
}

export function batchServer(parameters: BatchServerParameters, clock: Clock): Plant {
  const p = { ...parameters }
  let slowdown = 1
  let down = false
  let wastedMs = 0
  let limits = limitsOf(p)
  return {
    name: p.name,
    provider: 'simulated',
    inProcess: true,
    models: [p.name],
    get limits() {
      return limits
    },
    reshape(values) {
      reshape(p, values)
      limits = limitsOf(p)
    },
    batch: { key: () => '' },
    setSlowdown: (factor) => void (slowdown = factor),
    setDown: (value) => void (down = value),
    get wastedMs() {
      return wastedMs
    },
    run(calls: readonly Call[], signal: AbortSignal) {
      if (down) return calls.map(() => Promise.reject(new FlyballError('upstream_unreachable')))
      const work = calls.reduce((sum, call) => sum + call.work, 0)
      const outOfMemory = p.memoryWork !== undefined && work > p.memoryWork
      const ms = (outOfMemory ? p.baseMs : batchTimeMs(p, work)) * slowdown * logNormal(clock, p.noise)
      const done = new Promise<void>((resolve, reject) => {
        const release = onAbort(signal, () => {
          cancel()
          reject(new FlyballError('cancelled'))
        })
        const cancel = clock.after(ms, () => {
          release()
          resolve()
        })
      })
      return calls.map((call) =>
        done.then(() => {
          if (isAborted(call)) wastedMs += ms / calls.length
          if (outOfMemory) throw new FlyballError('backend_failed', { message: 'out of memory', reason: 'out_of_memory' })
          return unaryReply([], 1)
        }),
      )
    },
    async close() {},
  }
}

function limitsOf(p: BatchServerParameters): BackendLimits {
  return { slots: p.slots, maxBatch: p.maxBatch, batching: 'merge', ...(p.memoryWork !== undefined && p.declareMemory ? { maxBatchWork: p.memoryWork } : {}) }
}

/** Mean 1; `sigma` is the spread of the logarithm. */
export function logNormal(clock: Clock, sigma: number): number {
  if (sigma === 0) return 1
  const normal = Math.sqrt(-2 * Math.log(1 - clock.random())) * Math.cos(2 * Math.PI * clock.random())
  return Math.exp(sigma * normal - (sigma * sigma) / 2)
}
