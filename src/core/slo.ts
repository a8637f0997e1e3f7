/** Service classes: what a user named as good enough, and who goes first. */

export interface SloClass {
  readonly name: string
  /** Smaller goes first when all else is equal. */
  readonly priority: number
  /** The call must be handed to a backend within this time of its arrival, ms. */
  readonly startMs?: number
  /** Time to first token from arrival, ms. */
  readonly ttftMs?: number
  /** Inter-token latency (or ms per item of work) averaged over the call, ms. */
  readonly itlMs?: number
  /** Whole call, ms. */
  readonly e2eMs?: number
  /** The share of calls that must meet the targets, 0-1. Loops steer this quantile of latency. */
  readonly quantile: number
}

export const DEFAULT_CLASSES: readonly SloClass[] = [
  { name: 'interactive', priority: 0, startMs: 500, quantile: 0.95 },
  { name: 'batch', priority: 10, startMs: 5_000, quantile: 0.95 },
]
