/** A batch server's time over work: a straight line where that will do, else the curve that was measured. */
import { quantile } from '../signals/signal-window.ts'
import { checkCount, rounded, type BatchPoint, type Fitted } from './fit.ts'
import { batchTimeMs } from './plants/batch-server.ts'
import { readPlant } from './plants/parameters.ts'
import { spreadOf, theilSen } from './robust-fit.ts'

/** A curve must explain this much of the error that a straight line leaves. */
const CURVE_GAIN = 0.3
/** Of a curve: most points, and batches that each rests on. */
const MOST_POINTS = 24
const LEAST_BATCHES = 6

/** Throws a RangeError when there are too few batches, or all of one size. */
export function fitBatchServer(points: readonly BatchPoint[], limits: { name?: string; slots?: number; maxBatch?: number } = {}): Fitted {
  checkCount(points.length, 'batches')
  const sorted = [...points].sort((a, b) => a.work - b.work)
  const line = theilSen(sorted.map(({ work, ms }) => ({ x: work, y: ms })))
  if (!line) throw new RangeError('fit: expected batches of different sizes, got all of one')
  const base = { kind: 'batch-server', name: limits.name ?? 'fitted', slots: limits.slots ?? 1, maxBatch: limits.maxBatch ?? Math.ceil(sorted.at(-1)?.work ?? 1), ...rounded({ baseMs: Math.max(0, line.intercept), perWorkMs: Math.max(0, line.slope) }) } as const
  const ratiosOf = (curve?: [number, number][]): number[] => {
    const plant = readPlant(curve ? { ...base, curve } : base, 'fit')
    return sorted.map(({ work, ms }) => ms / Math.max(1e-6, plant.kind === 'batch-server' ? batchTimeMs(plant, work) : 0))
  }
  const errorOf = (ratios: readonly number[]): number => ratios.reduce((total, ratio) => total + Math.abs(ratio - 1), 0)
  const curve = curveOf(sorted)
  const worth = curve.length > 1 && errorOf(ratiosOf(curve)) < (1 - CURVE_GAIN) * errorOf(ratiosOf())
  const ratios = ratiosOf(worth ? curve : undefined)
  return {
    plant: readPlant({ ...base, ...(worth ? { curve } : {}), noise: Number(spreadOf(ratios.map(Math.log)).toPrecision(3)) }, 'fit'),
    quality: { points: points.length, medianError: quantile(ratios.map((ratio) => Math.abs(ratio - 1)), 0.5) },
  }
}

/** Medians by size, never falling (pool adjacent violators). `sorted` by work. */
function curveOf(sorted: readonly BatchPoint[]): [number, number][] {
  const least = Math.max(LEAST_BATCHES, sorted.length / MOST_POINTS)
  const groups: BatchPoint[][] = []
  for (const point of sorted) {
    const last = groups.at(-1)
    // Equal sizes stay together.
    if (last && (last.length < least || last.at(-1)?.work === point.work)) last.push(point)
    else groups.push([point])
  }
  const rest = groups.length > 1 && (groups.at(-1) as BatchPoint[]).length < least ? (groups.pop() as BatchPoint[]) : []
  groups.at(-1)?.push(...rest)
  const pools: { work: number[]; ms: number; of: BatchPoint[] }[] = []
  for (const of of groups) {
    let pool = { work: [medianOf(of, 'work')], ms: medianOf(of, 'ms'), of }
    for (let before = pools.at(-1); before && before.ms > pool.ms; before = pools.at(-1)) {
      pools.pop()
      const both = [...before.of, ...pool.of]
      pool = { work: [...before.work, ...pool.work], ms: medianOf(both, 'ms'), of: both }
    }
    pools.push(pool)
  }
  return pools.flatMap(({ work, ms }) => work.map((one): [number, number] => [Number(one.toPrecision(4)), Number(ms.toPrecision(4))]))
}

const medianOf = (points: readonly BatchPoint[], of: 'work' | 'ms'): number => quantile(points.map((point) => point[of]), 0.5)
