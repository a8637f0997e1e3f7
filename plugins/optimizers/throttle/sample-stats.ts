/** Small statistics over a window's samples. */
import { quantile } from '../../../src/index.ts'

export const median = (values: readonly number[]): number => quantile([...values], 0.5)
export const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

/** Slope d ln y / d ln x of the least-squares line, and the spread of ln x (standard deviation) that it rests on. */
export function logSlope(xs: readonly number[], ys: readonly number[]): { slope: number; spread: number } {
  const lx = xs.map(Math.log)
  const ly = ys.map(Math.log)
  const mx = mean(lx)
  const my = mean(ly)
  let xy = 0
  let xx = 0
  lx.forEach((x, i) => {
    xy += (x - mx) * ((ly[i] as number) - my)
    xx += (x - mx) ** 2
  })
  return { slope: xx > 0 ? xy / xx : 0, spread: Math.sqrt(xx / lx.length) }
}

/** One-sided 95% lower bound of a share (Wilson): of few, only all or nearly all say anything. */
export function lowerShare(hits: number, of: number): number {
  if (of === 0) return 0
  const p = hits / of
  const zz = 2.706
  return (p + zz / (2 * of) - Math.sqrt(zz * ((p * (1 - p)) / of + zz / (4 * of * of)))) / (1 + zz / of)
}
