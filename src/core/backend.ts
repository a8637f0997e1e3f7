/** What a backend is. It passes `test/conformance/backend.ts`. */
import type { Declares, Host } from './plugin.ts'
import type { Call } from './call.ts'
import type { Reply } from './reply.ts'

/** What a backend gets of its governor: what it declared, by the keys it declared it under. */
export type BackendHost = Pick<Host, 'clock' | 'log' | 'knobs' | 'signals' | 'instruments' | 'classes' | 'describe'>

/**
 * Who batches. `none`: one call at a time per slot. `merge`: the lane groups calls with equal keys and the backend runs
 * them as one. `internal`: the backend batches by itself (vLLM, the native engine); the lane passes calls through.
 */
export type BatchingKind = 'none' | 'merge' | 'internal'

export interface BackendLimits {
  /** Runs it can serve at once: parallel batches for `merge`, calls otherwise. */
  readonly slots: number
  /** Largest batch of one run; 1 unless `merge`. */
  readonly maxBatch: number
  /** Most work (tokens, items) of one run that fits its memory. */
  readonly maxBatchWork?: number
  readonly batching: BatchingKind
}

export interface BackendHealth {
  readonly healthy: boolean
  /** One line for people; never credentials. */
  readonly detail?: string
}

export interface Backend extends Declares {
  readonly name: string
  /** For telemetry: `openai`, `anthropic`, `flyball`. */
  readonly provider: string
  readonly limits: BackendLimits
  /** Runs in this process: its spans are INTERNAL, not CLIENT. */
  readonly inProcess?: boolean
  /** Reached by its own function or route only: a gateway's clients can neither name nor list it. */
  readonly private?: boolean
  /** Models it serves, by the names that clients use. `'*'`: any. */
  readonly models: readonly string[] | '*'
  readonly batch?: {
    /** Calls with equal keys may share a run; null: this call runs alone. */
    key(call: Call): string | null
    /** Work of one call, in the unit of `maxBatchWork`. Defaults to `call.work`. */
    work?(call: Call): number
  }
  /**
   * Starts the calls; one promise per call, in order. A promise resolves with the reply's head. `signal` aborts when every
   * member has; each member's own `call.signal` must be honoured too. Upstream errors are replies, not throws. With
   * `batching` other than `merge`, `calls` has length 1.
   */
  run(calls: readonly Call[], signal: AbortSignal): readonly Promise<Reply>[]
  /**
   * Whether the upstream counts this call against a key of its caller's: what it then says of that key's limits concerns
   * nobody else. Default: no.
   */
  callersQuota?(call: Call): boolean
  /** Called once before ready and after idle; resolves when the first real call would be quick. */
  warm?(signal: AbortSignal): Promise<void>
  health?(signal: AbortSignal): Promise<BackendHealth>
  /** Models as the upstream names them now, for `/models`. */
  listModels?(signal: AbortSignal): Promise<readonly string[]>
  /** Called once, before the first call, with what it declared. */
  attach?(host: BackendHost): void
  close(): Promise<void>
}
