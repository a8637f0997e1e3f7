/** The error catalogue: every error that a client can see, once. Protocol codecs give each its wire shape. */
import type { Outcome } from './settlement.ts'

interface ErrorSpec {
  /** HTTP status before headers are sent. */
  status: number
  /** How a call that fails with it settles. */
  outcome: Exclude<Outcome, 'ok'>
  /** Said to the client when the thrower gives no better words. Never contains prompt text. */
  message: string
}

const define = <K extends string>(specs: Record<K, ErrorSpec>): Record<K, ErrorSpec> => specs

export const ERRORS = define({
  invalid_request: { status: 400, outcome: 'error', message: 'The request is not valid.' },
  unsupported_field: { status: 400, outcome: 'error', message: 'A field of the request cannot be carried to the backend.' },
  unauthorized: { status: 401, outcome: 'error', message: 'Credentials are missing or wrong.' },
  forbidden: { status: 403, outcome: 'error', message: 'Not allowed from here.' },
  not_found: { status: 404, outcome: 'error', message: 'There is nothing at this address.' },
  model_not_found: { status: 404, outcome: 'error', message: 'No backend serves this model.' },
  method_not_allowed: { status: 405, outcome: 'error', message: 'This method is not allowed here.' },
  request_too_large: { status: 413, outcome: 'error', message: 'The request body is too large.' },
  unsupported_media_type: { status: 415, outcome: 'error', message: 'The body must be JSON in UTF-8.' },
  rate_limited: { status: 429, outcome: 'shed', message: 'The limit is reached. Retry later.' },
  queue_full: { status: 429, outcome: 'shed', message: 'The queue is full. Retry later.' },
  overloaded: { status: 503, outcome: 'shed', message: 'The service is overloaded. Retry later.' },
  draining: { status: 503, outcome: 'shed', message: 'The service is shutting down. Retry elsewhere.' },
  not_ready: { status: 503, outcome: 'shed', message: 'The service is not ready yet. Retry later.' },
  deadline_exceeded: { status: 504, outcome: 'expired', message: 'The deadline passed before the call was served.' },
  cancelled: { status: 499, outcome: 'cancelled', message: 'The caller went away.' },
  unread: { status: 499, outcome: 'cancelled', message: 'The reply was not read in time.' },
  upstream_unreachable: { status: 502, outcome: 'error', message: 'The backend could not be reached.' },
  upstream_timeout: { status: 504, outcome: 'error', message: 'The backend did not answer in time.' },
  upstream_invalid: { status: 502, outcome: 'error', message: 'The backend sent a broken reply.' },
  upstream_too_large: { status: 502, outcome: 'error', message: 'The backend sent too large a reply.' },
  backend_failed: { status: 500, outcome: 'error', message: 'The backend failed.' },
  internal: { status: 500, outcome: 'error', message: 'Something failed inside the gateway.' },
})

export type ErrorCode = keyof typeof ERRORS

export interface ErrorDetail {
  /** Replaces the catalogue's message. Must be safe to show to the client. */
  message?: string
  /** Which field of the request is at fault, as a path: `messages[0].content`. */
  param?: string
  /** When it makes sense to come back: becomes `retry-after-ms` and `retry-after`. */
  retryAfterMs?: number
  /** A finer, bounded reason for telemetry (`queue_full`, `deadline_infeasible`). Defaults to the code. */
  reason?: string
  cause?: unknown
}

/** An error of ours. Upstream's errors are `Reply`s, never this. */
export class FlyballError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly outcome: Exclude<Outcome, 'ok'>
  readonly reason: string
  readonly param: string | undefined
  readonly retryAfterMs: number | undefined

  constructor(code: ErrorCode, detail: ErrorDetail = {}) {
    const spec = ERRORS[code]
    super(detail.message ?? spec.message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.name = 'FlyballError'
    this.code = code
    this.status = spec.status
    this.outcome = spec.outcome
    this.reason = detail.reason ?? code
    this.param = detail.param
    this.retryAfterMs = detail.retryAfterMs
  }
}

/** Whatever was thrown, as one of ours. Unknown errors become `internal` (or `fallback`) with the original as `cause`. */
export function toFlyballError(thrown: unknown, fallback: ErrorCode = 'internal'): FlyballError {
  if (thrown instanceof FlyballError) return thrown
  if (thrown instanceof Error && thrown.name === 'AbortError') return new FlyballError('cancelled', { cause: thrown })
  return new FlyballError(fallback, { cause: thrown })
}
