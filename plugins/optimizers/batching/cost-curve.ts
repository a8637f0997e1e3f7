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
  /** The latest batches, not yet in a bucket: whether they tell about speed or about shape shows when there are some. */
  readonly pending: readonly { readonly work: number; readonly ms: number }[]
  /** How many times slower than the learned curve the backend is right now. */
  readonly speed: number
  readonly seq: number
  /** The latest slowdown that was taken for one of speed: what a run took then, as measured. */
  readonly lastShift?: { readonly work: number; readonly ms: number; readonly seq: number }
}

export interface CurvePoint {
  readonly work: number
  readonly p50: number
  readonly p95: number
  readonly samples: number
}

export const EMPTY_CURVE: CostCurve = { buckets: [], pending: [], speed: 1, seq: 0 }

/** Enough for a p95 worth the name, few enough to follow a changed backend. */
const KEEP = 24
/** A size not seen for this many batches is unknown again: what was slow once may be fast now. */
const FORGET_AFTER = 400
/** Batches that decide together, by their median, whether the backend has changed its speed. */
const PENDING = 5
/** A median this far off is a change of speed, and taken over whole. */
const SHIFT = 1.3
/** Two slowdowns within this many batches, at sizes this far apart: the delay is not the batch's own. */
const SAME_EVENT = 120
const APART = 1.4
/** Smaller differences are followed slowly: most of them are shape. */
const DRIFT_GAIN = 0.1
/** Sizes this near to each other (relative) are one. */
const NEAR = 0.12
/** Times within a bucket are brought to its middle by this power of work: between a fixed cost (0) and a proportional one (1). */
const INSIDE_POWER = 0.5
/** Anything outside is a broken sensor, not a batch: work, and ms. */
const MIN = 1e-6
const MAX = 1e12
const SPEED_MIN = 1 / 64
const SPEED_MAX = 64

export function learn(curve: CostCurve, work: number, ms: number): CostCurve {
  if (!(work >= MIN && work <= MAX && ms >= MIN && ms <= MAX)) return curve
  const seq = curve.seq + 1
  const buckets = curve.buckets.some((bucket) => seq - bucket.lastSeq > FORGET_AFTER) ? curve.buckets.filter((bucket) => seq - bucket.lastSeq <= FORGET_AFTER) : curve.buckets
  const points = pointsOf(buckets)
  // Away from the sizes that are known a surprise can only be shape: between two of them lies perhaps a cliff.
  if (!points.some((point) => Math.abs(point.work - work) <= NEAR * work)) return { ...curve, buckets: put(buckets, work, ms / curve.speed, seq), seq }
  const ratioOf = (one: { work: number; ms: number }): number => one.ms / at(points, one.work, 'p50') / curve.speed
  const waiting = [...curve.pending, { work, ms }]
  const ratio = quantile(waiting.slice(-PENDING).map(ratioOf), 0.5)
  // Two that are plainly off tell as much as three that are off.
  const plain = waiting.length === 2 && waiting.every((one) => (ratio > 1 ? ratioOf(one) > SHIFT * SHIFT : ratioOf(one) < 1 / (SHIFT * SHIFT)))
  if (plain || (waiting.length >= 3 && (ratio > SHIFT || ratio < 1 / SHIFT))) {
    // Those of before the change would be taken for shape at the new speed: they are let go.
    const pending = waiting.filter((one) => ratioOf(one) / ratio < SHIFT && ratioOf(one) / ratio > 1 / SHIFT).slice(-PENDING)
    const { lastShift } = curve
    if (ratio > 1 && lastShift && seq - lastShift.seq <= SAME_EVENT && lastShift.work >= work * APART) {
      // The size was cut for a slowdown, and the smaller batches are slow again, by more than speed explains: what was added
      // is the same for every size. With a new speed each time the size would spiral down to 1, so the shape is learned anew.
      const anew = [lastShift, ...pending].reduce<Bucket[]>((made, one) => put(made, one.work, one.ms, seq), [])
      return { buckets: anew, pending: [], speed: 1, seq }
    }
    return { buckets, pending, speed: bounded(curve.speed * ratio), seq, ...(ratio > 1 ? { lastShift: { work, ms, seq } } : {}) }
  }
  const { lastShift } = curve
  const kept = lastShift ? { lastShift } : {}
  const speed = bounded(curve.speed * ratio ** DRIFT_GAIN)
  const [oldest, ...pending] = waiting
  if (waiting.length <= PENDING || !oldest) return { buckets, pending: waiting, speed, seq, ...kept }
  return { buckets: put(buckets, oldest.work, oldest.ms / speed, seq), pending, speed, seq, ...kept }
}

const bounded = (speed: number): number => Math.min(SPEED_MAX, Math.max(SPEED_MIN, speed))
const stepOf = (work: number): number => Math.floor(2 * Math.log2(work))
/** What a size took this many batches ago says little, and may be from before a change: new samples replace it. */
export const STALE_AFTER = 100

function put(buckets: readonly Bucket[], work: number, time: number, seq: number): Bucket[] {
  const step = stepOf(work)
  const same = buckets.find((bucket) => bucket.step === step)
  const old = same && seq - same.lastSeq <= STALE_AFTER ? same : undefined
  const updated: Bucket = { step, works: [...(old?.works ?? []), work].slice(-KEEP), times: [...(old?.times ?? []), time].slice(-KEEP), lastSeq: seq }
  return [...buckets.filter((bucket) => bucket !== same), updated].sort((a, b) => a.step - b.step)
}

/** Between two changes of the buckets the curve is asked for again and again. */
const known = new WeakMap<readonly Bucket[], CurvePoint[]>()

/** The curve at reference speed: one point per bucket, p50 and p95 made non-decreasing in work. */
export function pointsOf(buckets: readonly Bucket[]): readonly CurvePoint[] {
  let points = known.get(buckets)
  if (!points) known.set(buckets, (points = smooth(buckets)))
  return points
}

/** One batch changes one bucket: the others' points stand. */
const knownOf = new WeakMap<Bucket, CurvePoint>()

function pointOf(bucket: Bucket): CurvePoint {
  let point = knownOf.get(bucket)
  if (!point) {
    const { works, times } = bucket
    const work = quantile([...works], 0.5)
    const atMiddle = times.map((time, i) => time * (work / (works[i] as number)) ** INSIDE_POWER)
    knownOf.set(bucket, (point = { work, p50: quantile(atMiddle, 0.5), p95: quantile(atMiddle, 0.95), samples: times.length }))
  }
  return point
}

function smooth(buckets: readonly Bucket[]): CurvePoint[] {
  const raw = buckets.map(pointOf)
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
 * last see `beyond`. Empty: NaN.
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
  return beyond(points, work, which)
}

/** How far past the largest size seen the learned slope is believed. */
const TRUST = 1.5

/**
 * A step past the largest size seen, along the slope of what was seen: taking it for proportional would call a batch of
 * mostly fixed cost too slow, and it would never be tried. Further out proportional after all: cliffs lie there.
 */
function beyond(points: readonly CurvePoint[], work: number, which: 'p50' | 'p95'): number {
  const first = points[0] as CurvePoint
  const last = points.at(-1) as CurvePoint
  if (points.length < 2) return (last[which] * work) / last.work
  const slope = Math.max(0, (last[which] - first[which]) / (last.work - first.work))
  const trusted = Math.min(work, last.work * TRUST)
  const ms = ((last[which] + slope * (trusted - last.work)) * work) / trusted
  // The p95's own slope may be the flatter one; below the p50 it never is.
  return which === 'p50' ? ms : Math.max(ms, beyond(points, work, 'p50'))
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
  /** Batches of about this work were seen lately. */
  seen(work: number): boolean
  /** Batches since one of this work was learned; Infinity: none is remembered. */
  batchesSince(work: number): number
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
    batchesSince(work) {
      const bucket = curve.buckets.find(({ step }) => step === stepOf(work))
      return bucket ? curve.seq - bucket.lastSeq : Number.POSITIVE_INFINITY
    },
    seen: (work) => points.some((point) => Math.abs(point.work - work) <= NEAR * work),
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
  const inside = Math.min(Math.max(work, oneWork) + oneWork, Math.max(curve.seenWork, oneWork * 2))
  // Over half of the batch, not over the last call: a slope between neighbours is mostly noise.
  const marginal = ((curve.lone(inside) - curve.lone(inside / 2)) / (inside / 2)) * oneWork
  return Math.max(0, curve.lone(oneWork) - marginal)
}

/** A state from an earlier process that may be anything. */
export function restoreCurve(saved: unknown): CostCurve {
  if (typeof saved !== 'object' || saved === null) return EMPTY_CURVE
  const { buckets, pending, speed, seq } = saved as Partial<CostCurve>
  const numbers = (list: unknown): list is number[] => Array.isArray(list) && list.length > 0 && list.length <= KEEP && list.every((x) => Number.isFinite(x) && x > 0)
  const sound =
    Array.isArray(buckets) &&
    buckets.length <= 64 &&
    buckets.every((b: Bucket) => Number.isInteger(b.step) && Number.isFinite(b.lastSeq) && numbers(b.works) && numbers(b.times) && b.works.length === b.times.length) &&
    Array.isArray(pending) && pending.length <= PENDING && pending.every((one) => Number.isFinite(one?.work) && Number.isFinite(one?.ms) && one.work > 0 && one.ms > 0) &&
    Number.isFinite(speed) && (speed as number) >= SPEED_MIN && (speed as number) <= SPEED_MAX && Number.isFinite(seq)
  return sound ? { buckets, pending, speed: speed as number, seq: seq as number } : EMPTY_CURVE
}
