/** A signal is what a loop reads: declared once, fed by whoever measures, read as plain data. */
import type { ScopeKey } from '../core/scope.ts'

/** How a window of samples becomes one number. `quantile` takes its q from the reader (an SLO names its own). */
export type Aggregate = 'last' | 'mean' | 'max' | 'sum' | 'rate' | 'quantile'

export interface SignalSpec {
  /** `source.signal` in lower snake case: `lane.queue_wait_ms`. */
  readonly name: string
  readonly unit: string
  readonly doc: string
  readonly scope: readonly ScopeKey[]
  readonly maxInstances: number
  /** How readers see it unless they ask otherwise. */
  readonly aggregate: Aggregate
  /** For `quantile`, when the reader names none. */
  readonly quantile: number
  /** Samples older than this leave the window, ms. */
  readonly windowMs: number
  /** Most samples kept. */
  readonly capacity: number
  /** There is demand, but nothing was measured for this long: stale. */
  readonly staleAfterMs: number
}

type Defaulted = 'scope' | 'maxInstances' | 'aggregate' | 'quantile' | 'windowMs' | 'capacity' | 'staleAfterMs'

export type SignalSpecs = Readonly<Record<string, SignalSpec>>

export function signal(spec: Omit<SignalSpec, Defaulted> & Partial<Pick<SignalSpec, Defaulted>>): SignalSpec {
  if (!/^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$/.test(spec.name)) throw new TypeError(`signal ${spec.name}: expected a name like "source.signal" in lower snake case`)
  return { scope: [], maxInstances: 64, aggregate: 'mean', quantile: 0.95, windowMs: 30_000, capacity: 512, staleAfterMs: 30_000, ...spec }
}

/** idle: nobody asked for anything. stale: somebody did, and nothing is known about it. Neither is 0. */
export type SignalStatus = 'fresh' | 'idle' | 'stale'

/** One measurement: `x` is what it was measured at (batch work, age), where that matters. */
export interface Sample {
  readonly atMs: number
  readonly y: number
  readonly x: number
}

/** What a reader gets: plain data, so that a decision can be replayed from its log. */
export interface Reading {
  readonly status: SignalStatus
  readonly value?: number
  readonly samples: number
  /** Since the last sample; Infinity when there never was one. */
  readonly ageMs: number
  /** Samples since the reader's last read, oldest first, when it asked for them; at most the signal's capacity. */
  readonly points?: readonly Sample[]
}
