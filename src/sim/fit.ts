/** What fits of plant parameters have in common: the simulator is only worth what its plants are like. */
import type { PlantParameters } from './plants/parameters.ts'

export interface BatchPoint {
  readonly work: number
  readonly ms: number
}

/** One call at the backend, from when it was sent there. */
export interface ServedCall {
  readonly startMs: number
  /** First token. */
  readonly firstMs: number
  readonly endMs: number
  readonly inputTokens: number
  readonly outputTokens: number
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
export function checkCount(count: number, of: string): void {
  if (count < MIN_POINTS) throw new RangeError(`fit: expected at least ${MIN_POINTS} ${of}, got ${count}`)
}

export const rounded = <T extends Record<string, number>>(values: T): T => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value.toPrecision(4))])) as T
