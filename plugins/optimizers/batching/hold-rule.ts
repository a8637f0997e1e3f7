/** How long to hold a batch open: a small sum of gains and costs, asked on every look at the queue. */

export interface HoldQuestion {
  /** Calls that would go now. */
  readonly waiting: number
  /** Largest batch, calls. */
  readonly maxCalls: number
  /** Calls arriving per ms. */
  readonly arrivalsPerMs: number
  /** What one more call saves by joining, ms of the backend. */
  readonly savingMs: number
  readonly maxDelayMs: number
  /** Time that the most pressed waiting call can spare, ms. */
  readonly slackMs: number
}

/**
 * In the next ms `arrivalsPerMs` calls join, each saving `savingMs`, while each of those waiting loses a ms: holding pays
 * while the gain is above the cost. The gain shrinks as the batch fills, so this ends by itself.
 */
export function holdMs(question: HoldQuestion): number {
  const { waiting, maxCalls, arrivalsPerMs, savingMs, maxDelayMs, slackMs } = question
  if (waiting >= maxCalls || !(arrivalsPerMs * savingMs > waiting)) return 0
  return Math.max(0, Math.min(maxDelayMs, slackMs))
}
