/** How a call ended, and where its time went. */

/** `ok`: body ended. `shed`: turned away by us. `expired`: its deadline passed. `cancelled`: the caller went away. */
export type Outcome = 'ok' | 'error' | 'cancelled' | 'shed' | 'expired'

export interface Usage {
  inputTokens: number
  outputTokens: number
  /** Input tokens that the backend served from a prefix cache; included in `inputTokens`. */
  cachedInputTokens?: number
  /** Input tokens written to a hosted prompt cache; included in `inputTokens`. */
  cacheWriteTokens?: number
  /** Output tokens spent on reasoning; included in `outputTokens`. */
  reasoningTokens?: number
}

/** Monotonic marks in milliseconds; undefined where the call never got that far. Filled in as it goes. */
export interface Timings {
  /** First byte of the HTTP request head (before any middleware), or `createdMs` without HTTP. */
  receivedMs: number
  /** The call exists: body read and checked. */
  createdMs: number
  /** Entered the lane's queue. */
  enqueuedMs?: number
  /** A slot was free for it, but the batch was held open. */
  heldMs?: number
  /** Handed to the backend. */
  dispatchedMs?: number
  /** The reply's head arrived. */
  headMs?: number
  /** First chunk that carries tokens (or the first chunk). */
  firstTokenMs?: number
  /** Settled. */
  endMs?: number
  /** Total time the body had a chunk ready that the reader had not asked for, ms. */
  backpressureMs: number
}

export interface Settlement {
  readonly outcome: Outcome
  /** Why it is not `ok`: an error code, `upstream_<status>`, or a finer bounded reason. */
  readonly reason?: string
  /** HTTP status of the reply where there was one. */
  readonly status?: number
  readonly usage: Usage
  readonly timings: Readonly<Timings>
}

/** Where a settled call's time went, in milliseconds; the parts add up to `totalMs`. */
export interface LatencySplit {
  beforeHandlerMs: number
  /** In our own plugins before the queue (cache lookup, routing). */
  gatewayMs: number
  queueMs: number
  batchWaitMs: number
  /** Dispatch to first token. */
  upstreamTtftMs: number
  decodeMs: number
  backpressureMs: number
  totalMs: number
}

/** Derives the split from the marks. A call that never reached a stage has 0 there. */
export function splitLatency(t: Readonly<Timings>): LatencySplit {
  const end = t.endMs ?? t.createdMs
  const enqueued = t.enqueuedMs ?? t.firstTokenMs ?? end
  const dispatched = t.dispatchedMs ?? (t.enqueuedMs === undefined ? enqueued : end)
  const held = Math.min(t.heldMs ?? dispatched, dispatched)
  const first = Math.max(dispatched, t.firstTokenMs ?? end)
  const backpressureMs = Math.min(t.backpressureMs, Math.max(0, end - first))
  return {
    beforeHandlerMs: t.createdMs - t.receivedMs,
    gatewayMs: enqueued - t.createdMs,
    queueMs: held - enqueued,
    batchWaitMs: dispatched - held,
    upstreamTtftMs: first - dispatched,
    decodeMs: Math.max(0, end - first - backpressureMs),
    backpressureMs,
    totalMs: end - t.receivedMs,
  }
}
