/** Lines and planes through measurements of which some are wrong: medians and least absolute errors, never least squares alone. */
import { quantile } from '../signals/signal-window.ts'

const MAX_PAIRS = 20_000

/** Median of pairwise slopes: a few broken points do not bend it. Undefined when x does not vary. */
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

const ROUNDS = 30
/** Relative errors below this weigh alike: nobody measures better. */
const LEAST_ERROR = 0.01

/**
 * Coefficients, none negative, of the plane through the origin with the least absolute relative error
 * (least squares, weighted anew by the errors of the round before). `rows` and `ys` in the same order; every y positive.
 */
export function leastRelativeError(rows: readonly (readonly number[])[], ys: readonly number[]): number[] {
  const width = rows[0]?.length ?? 0
  const scaled = rows.map((row, i) => row.map((x) => x / (ys[i] as number)))
  let weights = scaled.map(() => 1)
  let found: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    found = nonNegativeLeastSquares(scaled, weights, width)
    weights = scaled.map((row) => 1 / Math.max(LEAST_ERROR, Math.abs(1 - dot(row, found))))
  }
  return found
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * (b[i] as number), 0)

/** Of ones, by trying each set of columns that may be above zero: there are three or four. */
function nonNegativeLeastSquares(rows: readonly (readonly number[])[], weights: readonly number[], width: number): number[] {
  const gram = Array.from({ length: width }, (_, i) => Array.from({ length: width }, (_, j) => rows.reduce((sum, row, k) => sum + (weights[k] as number) * (row[i] as number) * (row[j] as number), 0)))
  const right = Array.from({ length: width }, (_, i) => rows.reduce((sum, row, k) => sum + (weights[k] as number) * (row[i] as number), 0))
  let best = { gain: 0, values: new Array<number>(width).fill(0) }
  for (let set = 1; set < 1 << width; set++) {
    const columns = Array.from({ length: width }, (_, i) => i).filter((i) => set & (1 << i))
    const solved = solve(columns.map((i) => columns.map((j) => gram[i]?.[j] as number)), columns.map((i) => right[i] as number))
    if (!solved || solved.some((value) => !(value >= 0))) continue
    // At a solution the squared error falls by this much.
    const gain = columns.reduce((sum, i, k) => sum + (solved[k] as number) * (right[i] as number), 0)
    if (gain > best.gain) best = { gain, values: Array.from({ length: width }, (_, i) => solved[columns.indexOf(i)] ?? 0) }
  }
  return best.values
}

/** Gaussian elimination; undefined when the columns cannot be told apart. */
function solve(matrix: number[][], right: number[]): number[] | undefined {
  const n = right.length
  const scale = matrix.map((row, i) => Math.sqrt(row[i] as number) || 1)
  const a = matrix.map((row, i) => [...row.map((value, j) => value / ((scale[i] as number) * (scale[j] as number))), (right[i] as number) / (scale[i] as number)])
  for (let column = 0; column < n; column++) {
    const pivot = a.slice(column).reduce((at, row, i) => (Math.abs(row[column] as number) > Math.abs((a[at] as number[])[column] as number) ? column + i : at), column)
    if (Math.abs((a[pivot] as number[])[column] as number) < 1e-9) return undefined
    ;[a[column], a[pivot]] = [a[pivot] as number[], a[column] as number[]]
    const top = a[column] as number[]
    for (let row = 0; row < n; row++) {
      if (row === column) continue
      const factor = ((a[row] as number[])[column] as number) / (top[column] as number)
      a[row] = (a[row] as number[]).map((value, j) => value - factor * (top[j] as number))
    }
  }
  return a.map((row, i) => (row[n] as number) / (row[i] as number) / (scale[i] as number))
}

/** Robust standard deviation, from the median absolute deviation. */
export function spreadOf(values: readonly number[]): number {
  const middle = quantile(values, 0.5)
  return 1.4826 * quantile(values.map((value) => Math.abs(value - middle)), 0.5)
}
