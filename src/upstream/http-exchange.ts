/** One request to an upstream over HTTP/1.1: head, body, time limits, back-pressure, abort. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import type { Call } from '../core/call.ts'
import type { Cancel, Clock } from '../core/clock.ts'
import { FlyballError, toFlyballError } from '../core/errors.ts'
import { END, PENDING, type Polled } from '../core/polled-body.ts'
import { connectionError, isReset } from './upstream-errors.ts'

export interface ExchangeLimits {
  /** Until a connection carries the request, ms. */
  readonly connectMs: number
  /** From there to the reply's head, ms. A unary reply's head comes with its last token. */
  readonly headMs: number
  /** Longest pause inside a body that somebody reads, ms. */
  readonly idleMs: number
  /** The whole exchange, ms: an upstream that trickles does not hold on for ever. */
  readonly totalMs: number
  /** Largest body, bytes. */
  readonly maxReplyBytes: number
}

export interface ExchangeRequest {
  readonly method: 'GET' | 'POST'
  /** With the base URL's path. */
  readonly path: string
  /** Flat names and values. */
  readonly headers: string[]
  readonly body: Uint8Array | string | null
}

export interface ExchangeHead {
  readonly status: number
  /** Names in lower case. */
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
}

/** What may end an exchange early. A call is listened to directly: that costs less than its signal. */
export interface AbortSources {
  readonly call?: Call
  readonly signal?: AbortSignal
}

/** Exactly one of `onWhole` and `onFailure` is called, unless the body is streamed: then `poll` tells. */
export interface ExchangeListener {
  /** Whether to gather the body or to let it be read piece by piece. Must not throw. */
  onHead(head: ExchangeHead): 'whole' | 'stream'
  onWhole(bytes: Uint8Array): void
  /** Before the body could be handed over. */
  onFailure(error: FlyballError): void
}

/** Bytes kept ready for the reader; past it the socket is no longer read. */
const HIGH_WATER_BYTES = 64 * 1024
/** A kept connection that breaks sooner than this had been closed as we sent; later, the upstream may have been at work. */
const STALE_CONNECTION_MS = 1_000
/** One try may meet a second such connection. A connection of its own is the last try. */
const MAX_TRIES = 3
const EMPTY = Buffer.alloc(0)

/** A pool of connections, and how many it has opened so far. */
export interface Connections {
  readonly dispatcher: Dispatcher
  opened: number
}

type Phase = 'connect' | 'head' | 'body' | 'ended'

/**
 * Invariants: everything taken (timer, abort listeners, connection) is let go exactly once, at the phase `ended`; the
 * reader sees bytes in order, then the end or the failure; an abort drops what is not read yet.
 */
export class HttpExchange implements Dispatcher.DispatchHandler, Polled<Uint8Array> {
  readonly #connections: Connections
  readonly #request: ExchangeRequest
  readonly #listener: ExchangeListener
  readonly #limits: ExchangeLimits
  readonly #clock: Clock
  readonly #unlisten: (() => void)[] = []
  readonly #startMs: number
  #phase: Phase = 'connect'
  #activeMs: number
  #timer: Cancel
  #controller: Dispatcher.DispatchController | undefined
  /** Connections opened when the request was handed over: as many when it starts, and it goes out on a kept one. */
  #openedBefore = 0
  #onKept = false
  #tries = 0
  #mode: 'whole' | 'stream' = 'whole'
  #queue: Uint8Array[] = []
  #queuedBytes = 0
  #totalBytes = 0
  #failure: FlyballError | undefined
  /** Of a reader that was told `PENDING`. */
  #wake: (() => void) | undefined

  constructor(connections: Connections, request: ExchangeRequest, limits: ExchangeLimits, clock: Clock, aborts: AbortSources, listener: ExchangeListener) {
    this.#connections = connections
    this.#request = request
    this.#listener = listener
    this.#limits = limits
    this.#clock = clock
    this.#startMs = this.#activeMs = clock.monoMs()
    this.#timer = clock.after(Math.min(limits.connectMs, limits.headMs, limits.idleMs, limits.totalMs), () => this.#onTimer())
    this.#listen(aborts)
    // Aborted before it began.
    if (!this.#failure) this.#dispatch()
  }

  #dispatch(): void {
    this.#tries++
    this.#openedBefore = this.#connections.opened
    try {
      this.#connections.dispatcher.dispatch({ ...this.#request, headersTimeout: 0, bodyTimeout: 0 }, this)
    } catch (thrown) {
      this.#fail(new FlyballError('upstream_unreachable', { reason: 'refused_locally', cause: thrown }))
    }
  }

  #listen({ call, signal }: AbortSources): void {
    if (call) {
      const unlisten = call.onAbort(() => this.abort(toFlyballError(call.abortReason, 'cancelled')))
      if (this.#failure) return
      this.#unlisten.push(unlisten)
    }
    if (!signal) return
    const onAbort = (): void => this.abort(toFlyballError(signal.reason, 'cancelled'))
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    this.#unlisten.push(() => signal.removeEventListener('abort', onAbort))
  }

  /** The next piece of a streamed body. */
  poll(wake: () => void): Uint8Array | typeof PENDING | typeof END {
    const bytes = this.#queue.shift()
    if (bytes) {
      this.#queuedBytes -= bytes.length
      if (this.#queuedBytes === 0 && this.#controller?.paused) {
        this.#activeMs = this.#clock.monoMs()
        this.#controller.resume()
      }
      return bytes
    }
    if (this.#failure) throw this.#failure
    if (this.#phase === 'ended') return END
    // The pause counts from when somebody wants to read on.
    this.#activeMs = this.#clock.monoMs()
    this.#wake = wake
    return PENDING
  }

  #wakeReader(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  /** Closes the upstream's socket, if the exchange still runs, and fails it. */
  abort(error: FlyballError): void {
    this.#queue = []
    this.#queuedBytes = 0
    this.#fail(error)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#phase === 'ended') {
      controller.abort(this.#failure ?? new FlyballError('cancelled'))
      return
    }
    this.#phase = 'head'
    this.#onKept = this.#connections.opened === this.#openedBefore
    this.#activeMs = this.#clock.monoMs()
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200 || this.#phase === 'ended') return
    this.#phase = 'body'
    this.#activeMs = this.#clock.monoMs()
    const raw = controller.rawHeaders
    const rawHeaders = Array.isArray(raw) ? raw.map((text) => (typeof text === 'string' ? text : text.toString('latin1'))) : []
    this.#mode = this.#listener.onHead({ status, headers, rawHeaders })
  }

  onResponseData(controller: Dispatcher.DispatchController, bytes: Uint8Array): void {
    if (this.#phase !== 'body') return
    this.#activeMs = this.#clock.monoMs()
    this.#totalBytes += bytes.length
    if (this.#totalBytes > this.#limits.maxReplyBytes) return this.abort(new FlyballError('upstream_too_large'))
    this.#queue.push(bytes)
    this.#queuedBytes += bytes.length
    this.#wakeReader()
    if (this.#mode === 'stream' && this.#queuedBytes >= HIGH_WATER_BYTES) controller.pause()
  }

  onResponseEnd(): void {
    if (this.#phase === 'ended') return
    this.#letGo()
    if (this.#mode === 'whole') {
      const pieces = this.#queue
      this.#queue = []
      this.#listener.onWhole(pieces.length === 1 ? (pieces[0] as Uint8Array) : pieces.length === 0 ? EMPTY : Buffer.concat(pieces))
    } else this.#wakeReader()
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#mayAskAgain(error)) {
      this.#phase = 'connect'
      this.#activeMs = this.#clock.monoMs()
      this.#dispatch()
    } else this.#fail(connectionError(error, this.#phase === 'body'))
  }

  /** An upstream's idle timeout can cross with our request. To ask a model twice changes nothing but its bill. */
  #mayAskAgain(error: Error): boolean {
    return this.#phase === 'head' && this.#onKept && this.#tries < MAX_TRIES && isReset(error) && this.#clock.monoMs() - this.#activeMs < STALE_CONNECTION_MS
  }

  #fail(error: FlyballError): void {
    if (this.#phase === 'ended') return
    const streamed = this.#phase === 'body' && this.#mode === 'stream'
    this.#letGo()
    this.#failure = error
    this.#controller?.abort(error)
    if (!streamed) {
      this.#queue = []
      this.#listener.onFailure(error)
    }
    this.#wakeReader()
  }

  #letGo(): void {
    this.#phase = 'ended'
    this.#timer()
    for (const unlisten of this.#unlisten.splice(0)) unlisten()
  }

  /** One timer per exchange, re-armed when it fires, so that pieces cost none: a limit strikes late by itself at most. */
  #onTimer(): void {
    if (this.#phase === 'ended') return
    const now = this.#clock.monoMs()
    const { connectMs, headMs, idleMs, totalMs } = this.#limits
    const limitMs = this.#phase === 'connect' ? connectMs : this.#phase === 'head' ? headMs : idleMs
    const reads = this.#mode === 'whole' || this.#wake !== undefined
    const sinceMs = this.#phase === 'body' && !reads ? now : this.#activeMs
    const leftMs = Math.min(sinceMs + limitMs, this.#startMs + totalMs) - now
    if (leftMs > 0) {
      // The next phase may begin at any moment: never look away for longer than its limit.
      this.#timer = this.#clock.after(this.#phase === 'connect' ? Math.min(leftMs, headMs, idleMs) : Math.min(leftMs, idleMs), () => this.#onTimer())
      return
    }
    this.abort(this.#phase === 'connect' ? new FlyballError('upstream_unreachable', { reason: 'connect_timeout' }) : new FlyballError('upstream_timeout', { reason: this.#phase === 'head' ? 'head_timeout' : 'idle_timeout' }))
  }
}
