/**
 * What a batch of so much work takes: t(W), learned from finished batches. Plain data and pure functions, so that a decision
 * can be replayed. Monotone and bucketed rather than a fitted line: a line through batches that are all of one size has any
 * slope (an adaptive batcher that believes it latches up), and a real curve has cliffs.
 */
import { quantile } from '../../../src/index.ts'

interface Bucket {
  /** Work on a log scale: floor(2 log2 work), two steps to an octave. */
  readonly step: number
  /** Work and normalised run time of the last few batches, oldest first. */
  readonly works: readonly number[]
  readonly times: readonly number[]
  /** Batches seen in all, when this bucket last got one. */
  readonly lastSeq: number
}

export interface CostCurve {
  /** Ascending by step. Times in them are divided by the speed factor of their moment. */
  readonly buckets: readonly Bucket[]
  /** How many times slower than the learned curve the backend is right now. */
  readonly speed: number
  readonly seq: number
}

export interface CurvePoint {
  readonly work: number
  readonly p50: number
  readonly p95: number
  readonly samples: number
}

export const EMPTY_CURVE: CostCurve = { buckets: [], speed: 1, seq: 0 }

/** Enough for a p95 worth the name, few enough to follow a changed backend. */
const KEEP = 24
/** A size not seen for this many batches is unknown again: what was slow once may be fast now. */
const FORGET_AFTER = 400
/** The speed factor follows most of a change within about eight batches. */
const SPEED_GAIN = 0.25
/** Anything outside is a broken sensor, not a batch: work, and ms. */
const MIN = 1e-6
const MAX = 1e12
const SPEED_MIN = 1 / 64
const SPEED_MAX = 64

export function learn(curve: CostCurve, work: number, ms: number): CostCurve {
  if (!(work >= MIN && work <= MAX && ms >= MIN && ms <= MAX)) return curve
  const seq = curve.seq + 1
  const step = Math.floor(2 * Math.log2(work))
  const known = curve.buckets.filter((bucket) => seq - bucket.lastSeq <= FORGET_AFTER)
  const points = pointsOf(known)
  const expected = points.length > 0 ? at(points, work, 'p50') * curve.speed : ms
  // Only sizes near those learned tell about speed; elsewhere a surprise is about the curve.
  const near = known.some((bucket) => Math.abs(bucket.step - step) <= 2)
  const ratio = near ? Math.min(4, Math.max(0.25, ms / expected)) : 1
  const speed = Math.min(SPEED_MAX, Math.max(SPEED_MIN, curve.speed * ratio ** SPEED_GAIN))
  const old = known.find((bucket) => bucket.step === step)
  const updated: Bucket = {
    step,
    works: [...(old?.works ?? []), work].slice(-KEEP),
    times: [...(old?.times ?? []), ms / speed].slice(-KEEP),
    lastSeq: seq,
  }
  const buckets = [...known.filter((bucket) => bucket !== old), updated].sort((a, b) => a.step - b.step)
  return { buckets, speed, seq }
}

/** The curve at reference speed: one point per bucket, p50 and p95 made non-decreasing in work. */
export function pointsOf(buckets: readonly Bucket[]): CurvePoint[] {
  const raw = buckets.map(({ works, times }) => ({
    work: works.reduce((a, b) => a + b, 0) / works.length,
    p50: quantile([...times], 0.5),
    p95: quantile([...times], 0.95),
    samples: times.length,
  }))
  const weights = raw.map((point) => point.samples)
  const p50 = isotonic(raw.map((point) => point.p50), weights)
  const p95 = isotonic(raw.map((point) => point.p95), weights)
  return raw.map((point, i) => ({ ...point, p50: p50[i] as number, p95: Math.max(p50[i] as number, p95[i] as number) }))
}

/** Pool adjacent violators: the non-decreasing sequence nearest to `values` in weighted least squares. */
export function isotonic(values: readonly number[], weights: readonly number[]): number[] {
  const blocks: { value: number; weight: number; length: number }[] = []
  values.forEach((value, i) => {
    let block = { value, weight: weights[i] as number, length: 1 }
    for (let last = blocks.at(-1); last && last.value > block.value; last = blocks.at(-1)) {
      blocks.pop()
      const weight = last.weight + block.weight
      block = { value: (last.value * last.weight + block.value * block.weight) / weight, weight, length: last.length + block.length }
    }
    blocks.push(block)
  })
  return blocks.flatMap(({ value, length }) => new Array<number>(length).fill(value))
}

/**
 * Time at `work`, at reference speed. Between points linear; below the first it is the first's (an upper bound); above the
 * last in proportion (an upper bound as long as larger batches are not less efficient). Empty: NaN.
 */
function at(points: readonly CurvePoint[], work: number, which: 'p50' | 'p95'): number {
  const first = points[0]
  if (!first) return Number.NaN
  if (work <= first.work) return first[which]
  for (let i = 1; i < points.length; i++) {
    const high = points[i] as CurvePoint
    if (work > high.work) continue
    const low = points[i - 1] as CurvePoint
    return low[which] + ((high[which] - low[which]) * (work - low.work)) / (high.work - low.work)
  }
  const last = points.at(-1) as CurvePoint
  return (last[which] * work) / last.work
}

/** Between proportional (no fixed cost) and flat (nothing but fixed cost). */
function lone(points: readonly CurvePoint[], work: number): number {
  const [first, second] = points
  if (!first || work >= first.work) return at(points, work, 'p50')
  const proportional = (first.p50 * work) / first.work
  if (!second) return proportional
  const slope = (second.p50 - first.p50) / (second.work - first.work)
  return Math.min(first.p50, Math.max(proportional, first.p50 - slope * (first.work - work)))
}

/** A curve ready to be asked, at today's speed. */
export interface CurveView {
  readonly known: boolean
  /** Largest work that was really seen. */
  readonly seenWork: number
  p50(work: number): number
  /** Like `p50`, but below the smallest size seen it goes on along the first slope: for what a lone call would cost. */
  lone(work: number): number
  p95(work: number): number
}

export function viewOf(curve: CostCurve): CurveView {
  const points = pointsOf(curve.buckets)
  return {
    known: points.length > 0,
    seenWork: points.at(-1)?.work ?? 0,
    p50: (work) => at(points, work, 'p50') * curve.speed,
    lone: (work) => lone(points, work) * curve.speed,
    p95: (work) => at(points, work, 'p95') * curve.speed,
  }
}

/**
 * What one more call saves by joining a batch of `work` instead of running alone, ms; 0 when the curve knows of no saving.
 * One size alone says nothing about savings.
 */
export function joinSavingMs(curve: CurveView, work: number, oneWork: number): number {
  if (!curve.known || curve.seenWork <= oneWork * 1.5) return 0
  const inside = Math.min(work + oneWork, Math.max(curve.seenWork, oneWork * 2))
  return Math.max(0, curve.lone(oneWork) - (curve.lone(inside) - curve.lone(Math.max(oneWork, inside - oneWork))))
}

/** A state from an earlier process that may be anything. */
export function restoreCurve(saved: unknown): CostCurve {
  if (typeof saved !== 'object' || saved === null) return EMPTY_CURVE
  const { buckets, speed, seq } = saved as Partial<CostCurve>
  const numbers = (list: unknown): list is number[] => Array.isArray(list) && list.length > 0 && list.length <= KEEP && list.every((x) => Number.isFinite(x) && x > 0)
  const sound =
    Array.isArray(buckets) &&
    buckets.length <= 64 &&
    buckets.every((b: Bucket) => Number.isInteger(b.step) && Number.isFinite(b.lastSeq) && numbers(b.works) && numbers(b.times) && b.works.length === b.times.length) &&
    Number.isFinite(speed) && (speed as number) >= SPEED_MIN && (speed as number) <= SPEED_MAX && Number.isFinite(seq)
  return sound ? { buckets, speed: speed as number, seq: seq as number } : EMPTY_CURVE
}
