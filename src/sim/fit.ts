/** Plant parameters from what a real backend did: the simulator is only worth what its plants are like. */
import { quantile } from '../signals/signal-window.ts'
import type { PlantParameters } from './plants/parameters.ts'
import { readPlant } from './plants/parameters.ts'

export interface BatchPoint {
  readonly work: number
  readonly ms: number
  /** From dispatch to settlement, ms: what is above `ms` is the host's. */
  readonly seenMs?: number
}

export interface FitQuality {
  readonly points: number
  /** Median of |measured − fitted| / fitted. */
  readonly medianError: number
}

export interface Fitted {
  readonly plant: PlantParameters
  readonly quality: FitQuality
}

const MIN_POINTS = 8
/** A cliff must explain this much of the error that a straight line leaves. */
const CLIFF_GAIN = 0.3
const MAX_PAIRS = 20_000

/** Throws a RangeError when there are too few points, or all of one size. */
export function fitBatchServer(points: readonly BatchPoint[], limits: { name?: string; slots?: number; maxBatch?: number } = {}): Fitted {
  check(points.length, 'batches')
  const sorted = [...points].sort((a, b) => a.work - b.work)
  const line = theilSen(sorted.map(({ work, ms }) => ({ x: work, y: ms })))
  if (!line) throw new RangeError('fit: expected batches of different sizes, got all of one')
  const cliff = findCliff(sorted, line)
  const base = { kind: 'batch-server', name: limits.name ?? 'fitted', slots: limits.slots ?? 1, maxBatch: limits.maxBatch ?? Math.ceil(sorted.at(-1)?.work ?? 1) } as const
  const fitted = cliff ?? { baseMs: Math.max(0, line.intercept), perWorkMs: Math.max(0, line.slope) }
  // Half of it before the run and half of it after.
  const hostCallMs = Math.max(0, quantile(sorted.flatMap(({ work, ms, seenMs }) => (seenMs === undefined ? [] : [(seenMs - ms) / work / 2])), 0.5) || 0)
  const timeOf = (work: number): number => {
    const beyond = cliff ? Math.max(0, work - cliff.cliffWork) : 0
    return fitted.baseMs + fitted.perWorkMs * (work - beyond) + fitted.perWorkMs * (cliff?.cliffFactor ?? 1) * beyond
  }
  const logs = sorted.map(({ work, ms }) => Math.log(ms / Math.max(1e-6, timeOf(work))))
  return {
    plant: readPlant({ ...base, ...round({ ...fitted, hostCallMs }), noise: Number(spreadOf(logs).toPrecision(3)) }, 'fit'),
    quality: { points: points.length, medianError: quantile(sorted.map(({ work, ms }) => Math.abs(ms - timeOf(work)) / Math.max(1e-6, timeOf(work))), 0.5) },
  }
}

export interface StreamPoint {
  readonly inputTokens: number
  readonly outputTokens: number
  readonly ttftMs: number
  readonly decodeMs: number
  /** Calls at the backend, this one included, on average while it decoded. */
  readonly concurrency: number
}

/** ITL over concurrency gives the step's base and price per sequence; TTFT over prompt length the price of prefill. */
export function fitLlmServer(points: readonly StreamPoint[], limits: { name?: string; maxSequences?: number } = {}): Fitted {
  check(points.length, 'streamed calls')
  const decoding = points.filter((point) => point.outputTokens > 1 && point.decodeMs > 0)
  const itl = decoding.map((point) => ({ x: point.concurrency, y: point.decodeMs / (point.outputTokens - 1) }))
  check(itl.length, 'streamed calls with more than one token')
  const byConcurrency = theilSen(itl)
  const medianItl = quantile(itl.map(({ y }) => y), 0.5)
  const decodeTokenMs = Math.max(0, byConcurrency?.slope ?? 0)
  const stepBaseMs = Math.max(0, byConcurrency?.intercept ?? medianItl)
  // What a prompt costs beside the step that it shares.
  const prefill = theilSen(points.map((point) => ({ x: point.inputTokens, y: point.ttftMs })))
  const plant = readPlant({ kind: 'llm-server', name: limits.name ?? 'fitted', maxSequences: limits.maxSequences ?? Math.max(1, Math.ceil(Math.max(...points.map((point) => point.concurrency)))), ...round({ stepBaseMs, decodeTokenMs, prefillTokenMs: Math.max(0, prefill?.slope ?? 0) }), contextTokenMs: 0 }, 'fit')
  return { plant, quality: { points: points.length, medianError: quantile(itl.map(({ x, y }) => Math.abs(y - (stepBaseMs + decodeTokenMs * x)) / Math.max(1e-6, stepBaseMs + decodeTokenMs * x)), 0.5) } }
}

/** A hosted API's own latency: first token and per token; its quotas are not to be seen from latencies and are given. */
export function fitHostedApi(points: readonly StreamPoint[], quotas: { requestsPerMinute: number; inputTokensPerMinute: number; outputTokensPerMinute: number; name?: string }): Fitted {
  check(points.length, 'calls')
  const total = theilSen(points.map((point) => ({ x: point.outputTokens, y: point.ttftMs + point.decodeMs })))
  const tokenMs = Math.max(0, total?.slope ?? 0)
  const ttftMs = Math.max(0, total?.intercept ?? quantile(points.map((point) => point.ttftMs + point.decodeMs), 0.5))
  const timeOf = (point: StreamPoint): number => Math.max(1e-6, ttftMs + tokenMs * point.outputTokens)
  const plant = readPlant({ kind: 'hosted-api', name: 'fitted', ...quotas, ...round({ ttftMs, tokenMs }), tail: Number(spreadOf(points.map((point) => Math.log(Math.max(1e-6, point.ttftMs + point.decodeMs) / timeOf(point)))).toPrecision(3)) }, 'fit')
  return { plant, quality: { points: points.length, medianError: quantile(points.map((point) => Math.abs(point.ttftMs + point.decodeMs - timeOf(point)) / timeOf(point)), 0.5) } }
}

function check(count: number, of: string): void {
  if (count < MIN_POINTS) throw new RangeError(`fit: expected at least ${MIN_POINTS} ${of}, got ${count}`)
}

/** Median of pairwise slopes: a few broken batches do not bend it. Undefined when x does not vary. */
export function theilSen(points: readonly { x: number; y: number }[]): { slope: number; intercept: number } | undefined {
  const slopes: number[] = []
  const n = points.length
  // Every pair of few, a fixed stride of many: deterministic.
  const stride = Math.max(1, Math.floor((n * (n - 1)) / 2 / MAX_PAIRS))
  let pair = 0
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      if (pair++ % stride !== 0) continue
      const [a, b] = [points[i] as { x: number; y: number }, points[j] as { x: number; y: number }]
      if (a.x !== b.x) slopes.push((b.y - a.y) / (b.x - a.x))
    }
  }
  if (slopes.length === 0) return undefined
  const slope = quantile(slopes, 0.5)
  return { slope, intercept: quantile(points.map(({ x, y }) => y - slope * x), 0.5) }
}

/** The knee that leaves the least absolute error, if it is worth having. `sorted` by work. */
function findCliff(sorted: readonly BatchPoint[], line: { slope: number; intercept: number }): { baseMs: number; perWorkMs: number; cliffWork: number; cliffFactor: number } | undefined {
  const straight = sorted.reduce((sum, { work, ms }) => sum + Math.abs(ms - line.intercept - line.slope * work), 0)
  let best: { baseMs: number; perWorkMs: number; cliffWork: number; cliffFactor: number; error: number } | undefined
  const sizes = [...new Set(sorted.map(({ work }) => work))]
  for (const knee of sizes.slice(2, -2)) {
    const below = theilSen(sorted.filter(({ work }) => work <= knee).map(({ work, ms }) => ({ x: work, y: ms })))
    if (!below || below.slope <= 0) continue
    const atKnee = below.intercept + below.slope * knee
    const above = sorted.filter(({ work }) => work > knee)
    if (above.length < 2) continue
    const slope = quantile(above.map(({ work, ms }) => (ms - atKnee) / (work - knee)), 0.5)
    const error = sorted.reduce((sum, { work, ms }) => sum + Math.abs(ms - (work <= knee ? below.intercept + below.slope * work : atKnee + slope * (work - knee))), 0)
    if (slope > below.slope && (!best || error < best.error)) best = { baseMs: Math.max(0, below.intercept), perWorkMs: below.slope, cliffWork: knee, cliffFactor: slope / below.slope, error }
  }
  if (!best || best.error > (1 - CLIFF_GAIN) * straight || best.cliffFactor < 1.5) return undefined
  const { error: _, ...cliff } = best
  return cliff
}

/** Robust standard deviation, from the median absolute deviation. */
function spreadOf(values: readonly number[]): number {
  const middle = quantile(values, 0.5)
  return 1.4826 * quantile(values.map((value) => Math.abs(value - middle)), 0.5)
}

const round = <T extends Record<string, number>>(values: T): T => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value.toPrecision(4))])) as T
