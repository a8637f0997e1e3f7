/** Small statistics over a window's samples. */
import { quantile } from '../../../src/index.ts'

export const median = (values: readonly number[]): number => quantile([...values], 0.5)
export const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

/** Pearson's r of two equally long lists, and the elasticity d ln y / d ln x of the line through them; zeros when x or y does not vary. */
export function relation(xs: readonly number[], ys: readonly number[]): { r: number; elasticity: number } {
  const mx = mean(xs)
  const my = mean(ys)
  let xy = 0
  let xx = 0
  let yy = 0
  xs.forEach((x, i) => {
    const dx = x - mx
    const dy = (ys[i] as number) - my
    xy += dx * dy
    xx += dx * dx
    yy += dy * dy
  })
  // Less than a hundredth of variation is rounding, not an experiment.
  if (!(xx > (0.01 * mx) ** 2 * xs.length) || !(yy > 0) || !(my > 0)) return { r: 0, elasticity: 0 }
  return { r: xy / Math.sqrt(xx * yy), elasticity: ((xy / xx) * mx) / my }
}
