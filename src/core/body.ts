/**
 * The one body wrap. It makes every reply body end exactly once: at its end, by error, by abort, by `cancel`, or because
 * nobody read it for too long. Never rely on a generator's `finally` for that: one that nobody reads never runs it.
 */
import type { LiveCall } from './call.ts'
import type { Cancel, Clock } from './clock.ts'
import { FlyballError, toFlyballError } from './errors.ts'
import { END, PENDING, PolledBody, readerOf, type BodySource } from './polled-body.ts'
import type { Chunk, Reply } from './reply.ts'
import type { Outcome } from './settlement.ts'

export interface BodyEnd {
  readonly outcome: Outcome
  readonly reason?: string
}

/** A reader that asks for nothing for this long has left without saying so. */
export const DEFAULT_UNREAD_MS = 60_000

/**
 * Invariants: `onEnd` listeners run exactly once; after the end every `poll` is `END` or throws; the source is told to stop
 * (`reply.cancel` and `iterator.return`) on every end but its own.
 */
export class ManagedBody extends PolledBody {
  readonly #source: BodySource
  readonly #reply: Reply
  readonly #call: LiveCall
  readonly #clock: Clock
  readonly #unreadMs: number
  #end: BodyEnd | undefined
  #failure: FlyballError | undefined
  #listeners: ((end: BodyEnd) => void)[] = []
  /** Of a reader that was told `PENDING`. */
  #wake: (() => void) | undefined
  #timer: Cancel | undefined
  #lastAskedMs: number
  #readySinceMs: number | undefined
  #semanticError: string | undefined
  #unlisten: (() => void) | undefined
  readonly #onSource = (): void => {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  constructor(reply: Reply, call: LiveCall, clock: Clock, unreadMs = DEFAULT_UNREAD_MS) {
    super()
    this.#reply = reply
    this.#source = readerOf(reply.body)
    this.#call = call
    this.#clock = clock
    this.#unreadMs = unreadMs
    this.#lastAskedMs = clock.monoMs()
    if (reply.status >= 400) this.#semanticError = `upstream_${reply.status}`
    this.#unlisten = call.onAbort(() => {
      const error = toFlyballError(call.abortReason, 'cancelled')
      this.#finish({ outcome: error.outcome, reason: error.reason }, error)
    })
    if (!this.#end) this.#armUnread()
  }

  /** Runs `fn` when the body ends; at once if it has. */
  onEnd(fn: (end: BodyEnd) => void): void {
    if (this.#end) fn(this.#end)
    else this.#listeners.push(fn)
  }

  poll(wake: () => void): Chunk | typeof PENDING | typeof END {
    if (this.#end) return this.#ended()
    if (this.#readySinceMs !== undefined) {
      this.#call.timings.backpressureMs += this.#clock.monoMs() - this.#readySinceMs
      this.#readySinceMs = undefined
    }
    this.#lastAskedMs = Number.POSITIVE_INFINITY
    let got: Chunk | typeof PENDING | typeof END
    try {
      got = this.#source.poll(this.#onSource)
    } catch (thrown) {
      const error = toFlyballError(thrown, 'upstream_invalid')
      this.#finish({ outcome: error.outcome, reason: error.reason }, error)
      return this.#ended()
    }
    // An abort may have come from inside the source.
    if (this.#end) return this.#ended()
    if (got === PENDING) this.#wake = wake
    else if (got === END) this.#finish(this.#semanticError === undefined ? { outcome: 'ok' } : { outcome: 'error', reason: this.#semanticError })
    else this.#observe(got)
    return got
  }

  #ended(): typeof END {
    if (this.#failure) throw this.#failure
    return END
  }

  cancel(reason?: unknown): void {
    const error = reason instanceof FlyballError ? reason : new FlyballError('cancelled', { cause: reason })
    this.#finish({ outcome: error.outcome, reason: error.reason }, error)
  }

  #observe(chunk: Chunk): void {
    const { timings, usage } = this.#call
    const now = this.#clock.monoMs()
    this.#readySinceMs = now
    this.#lastAskedMs = now
    if (timings.firstTokenMs === undefined && (chunk.tokens > 0 || !this.#reply.stream)) timings.firstTokenMs = now
    usage.outputTokens += chunk.tokens
    if (chunk.deltas) {
      for (const delta of chunk.deltas) {
        if (delta.type === 'usage') this.#call.usage = { ...delta.usage }
        else if (delta.type === 'error') this.#semanticError = `in_band_${delta.status ?? 'error'}`
      }
    }
  }

  /** One timer per body, re-armed lazily: a chunk costs no timer. */
  #armUnread(): void {
    this.#timer = this.#clock.after(this.#unreadMs, () => {
      if (this.#end) return
      if (this.#clock.monoMs() - this.#lastAskedMs < this.#unreadMs) return this.#armUnread()
      const error = new FlyballError('unread')
      this.#finish({ outcome: error.outcome, reason: error.reason }, error)
    })
  }

  #finish(end: BodyEnd, failure?: FlyballError): void {
    if (this.#end) return
    this.#end = end
    this.#failure = failure
    this.#timer?.()
    this.#unlisten?.()
    const wake = this.#wake
    this.#wake = undefined
    if (failure) {
      try {
        this.#reply.cancel(failure)
      } catch {
        // The source is being abandoned: what it thinks of that changes nothing.
      }
      this.#source.stop()
    }
    const listeners = this.#listeners
    this.#listeners = []
    for (const fn of listeners) fn(end)
    // Last: the reader goes on at once.
    wake?.()
  }
}

/**
 * Ties a reply's body to its call: when the body ends, the call settles. A body that an attempt already manages is
 * listened to, not wrapped again.
 */
export function settleWithBody(reply: Reply, call: LiveCall, clock: Clock, unreadMs?: number): Reply {
  call.headArrived(reply.status)
  let managed: ManagedBody
  if (reply.body instanceof ManagedBody) managed = reply.body
  else {
    call.countsItself = true
    call.usage = { inputTokens: 0, outputTokens: 0 }
    managed = new ManagedBody(reply, call, clock, unreadMs)
  }
  managed.onEnd((end) => call.settle(end.outcome, end.reason))
  return managed === reply.body ? reply : { ...reply, body: managed, cancel: (reason) => managed.cancel(reason) }
}
