/**
 * One upstream call, many readers. It belongs to none of them: the first may leave without failing the rest, and it is
 * stopped when the last one leaves. Upstream is read as fast as the fastest reader asks, held back by the slowest.
 */
import { END, FlyballError, PENDING, PolledBody, readerOf, toFlyballError, type BodySource, type Call, type Chunk, type Clock, type Reply } from '../../../src/index.ts'
import { chunkBytes, keptHeaders, ownChunk } from './reply-verdict.ts'

export interface FlightOptions {
  readonly clock: Clock
  /** Starts the upstream call. */
  readonly start: (signal: AbortSignal, onChild: (child: Call) => void) => Promise<Reply>
  /** Most bytes kept for readers who come later or read slowly. Past it nobody can join. */
  readonly replayBytes: number
  /** The reply is complete and every chunk of it was kept. */
  readonly onComplete: (reply: Reply, chunks: readonly Chunk[], bytes: number) => void
  /** Nobody can join any more: it ended, failed, was left, or outgrew its buffer. Called once. */
  readonly onClosed: () => void
}

/** A reader that holds up others for this long is let go, ms. */
const LAGGARD_MS = 5_000

/** One caller's reply: chunks of the flight, from the first, at its own pace. */
class FlightReader extends PolledBody {
  /** Number of the next chunk it gets, from 0. */
  at = 0
  /** It was told `PENDING`. */
  wake: (() => void) | undefined
  /** It is asking right now. */
  asks = false
  failure: FlyballError | undefined
  readonly #flight: Flight

  constructor(flight: Flight) {
    super()
    this.#flight = flight
  }

  poll(wake: () => void): Chunk | typeof PENDING | typeof END {
    return this.#flight.chunkFor(this, wake)
  }

  cancel(): void {
    this.#flight.leave(this)
  }
}

export class Flight {
  readonly #options: FlightOptions
  readonly #abort = new AbortController()
  readonly #head: Promise<Reply>
  readonly #readers: FlightReader[] = []
  /** Members whose head has not come yet. */
  #expecting = 0
  #child: Call | undefined
  #priority: number
  #reply: Reply | undefined
  #source: BodySource | undefined
  /** Chunks from number `#dropped` on. */
  #chunks: Chunk[] = []
  #sizes: number[] = []
  #dropped = 0
  #kept = 0
  #recording = true
  #pulling = false
  #done = false
  #error: FlyballError | undefined
  #joinable = true
  #cancelLaggardTimer: (() => void) | undefined
  readonly #onSource = (): void => this.#pull()

  constructor(options: FlightOptions, priority: number) {
    this.#options = options
    this.#priority = priority
    this.#head = options.start(this.#abort.signal, (child) => {
      this.#child = child
      child.raisePriority(this.#priority)
    })
    this.#head.then(
      (reply) => {
        this.#reply = reply
        this.#source = readerOf(reply.body)
        this.#leaveIfAlone()
      },
      () => this.#close(),
    )
  }

  get joinable(): boolean {
    return this.#joinable
  }

  /** A reply of the caller's own. Rejects when the call is aborted, passes its deadline, or upstream fails before the head. */
  join(call: Call): Promise<Reply> {
    this.#expecting++
    if (call.priority < this.#priority) {
      this.#priority = call.priority
      this.#child?.raisePriority(call.priority)
    }
    return new Promise((resolve, reject) => {
      let waiting = true
      const settle = (then: () => void): void => {
        if (!waiting) return
        waiting = false
        cancelDeadline?.()
        unlisten()
        this.#expecting--
        then()
        this.#leaveIfAlone()
      }
      let unlisten = (): void => {}
      const { clock } = this.#options
      const cancelDeadline = call.deadlineMs === undefined ? undefined : clock.after(call.deadlineMs - clock.monoMs(), () => settle(() => reject(new FlyballError('deadline_exceeded'))))
      unlisten = call.onAbort(() => settle(() => reject(toFlyballError(call.abortReason, 'cancelled'))))
      if (!waiting) return
      this.#head.then(
        (reply) => settle(() => resolve(this.#read(reply))),
        (thrown: unknown) => settle(() => reject(toFlyballError(thrown))),
      )
    })
  }

  #read(reply: Reply): Reply {
    const body = new FlightReader(this)
    this.#readers.push(body)
    return { status: reply.status, rawHeaders: keptHeaders(reply.rawHeaders), protocol: reply.protocol, stream: reply.stream, body, cancel: () => body.cancel() }
  }

  leave(reader: FlightReader): void {
    const { wake } = reader
    if (!this.#remove(reader)) return
    this.#forget()
    this.#pull()
    this.#leaveIfAlone()
    wake?.()
  }

  chunkFor(reader: FlightReader, wake: () => void): Chunk | typeof PENDING | typeof END {
    if (reader.failure) throw reader.failure
    if (!this.#readers.includes(reader)) return END
    reader.wake = undefined
    reader.asks = true
    this.#pull()
    reader.asks = false
    const chunk = this.#chunks[reader.at - this.#dropped]
    if (chunk) {
      reader.at++
      this.#forget()
      return ownChunk(chunk)
    }
    if (!this.#done) {
      reader.wake = wake
      return PENDING
    }
    this.#remove(reader)
    if (this.#error) throw this.#error
    return END
  }

  #remove(reader: FlightReader): boolean {
    reader.wake = undefined
    const at = this.#readers.indexOf(reader)
    if (at >= 0) this.#readers.splice(at, 1)
    return at >= 0
  }

  /** Takes what upstream has while somebody is out of chunks and nobody is too far behind; wakes those who waited for it. */
  #pull(): void {
    if (this.#pulling) return
    this.#pulling = true
    while (!this.#done && this.#source && this.#hungry() && this.#hasRoom()) {
      try {
        const got = this.#source.poll(this.#onSource)
        if (got === PENDING) break
        if (got === END) this.#finish(undefined)
        else this.#keep(got)
      } catch (thrown) {
        this.#finish(toFlyballError(thrown, 'upstream_invalid'))
      }
    }
    this.#pulling = false
    for (const reader of this.#readers.length > 1 ? [...this.#readers] : this.#readers) {
      const { wake } = reader
      if (!wake || !(this.#done || this.#holds(reader))) continue
      reader.wake = undefined
      wake()
    }
  }

  #hasRoom(): boolean {
    if (this.#recording || this.#kept <= this.#options.replayBytes) return true
    this.#watchLaggard()
    return false
  }

  #holds(reader: FlightReader): boolean {
    return reader.at - this.#dropped < this.#chunks.length
  }

  #hungry(): boolean {
    for (const reader of this.#readers) if ((reader.asks || reader.wake) && !this.#holds(reader)) return true
    return false
  }

  #keep(chunk: Chunk): void {
    const bytes = chunkBytes(chunk)
    this.#chunks.push(chunk)
    this.#sizes.push(bytes ?? 0)
    this.#kept += bytes ?? 0
    if (this.#recording && (bytes === undefined || this.#kept > this.#options.replayBytes)) {
      this.#recording = false
      this.#close()
    }
    this.#forget()
  }

  /** Once nothing is recorded any more, what every reader has had is dropped. */
  #forget(): void {
    if (this.#recording) return
    let slowest = Number.POSITIVE_INFINITY
    for (const reader of this.#readers) slowest = Math.min(slowest, reader.at)
    const drop = Math.min(this.#chunks.length, slowest - this.#dropped)
    if (drop <= 0) return
    for (const size of this.#sizes.splice(0, drop)) this.#kept -= size
    this.#chunks.splice(0, drop)
    this.#dropped += drop
    if (this.#kept <= this.#options.replayBytes) {
      this.#cancelLaggardTimer?.()
      this.#cancelLaggardTimer = undefined
      this.#pull()
    }
  }

  #watchLaggard(): void {
    this.#cancelLaggardTimer ??= this.#options.clock.after(LAGGARD_MS, () => {
      this.#cancelLaggardTimer = undefined
      const slowest = [...this.#readers].sort((a, b) => a.at - b.at)[0]
      if (!slowest || slowest.wake || this.#readers.length < 2) return
      slowest.failure = new FlyballError('unread')
      this.#remove(slowest)
      this.#forget()
      this.#pull()
    })
  }

  #finish(error: FlyballError | undefined): void {
    this.#done = true
    this.#error = error
    this.#cancelLaggardTimer?.()
    this.#cancelLaggardTimer = undefined
    const whole = !error && this.#recording
    this.#close()
    if (whole && this.#reply) this.#options.onComplete(this.#reply, this.#chunks, this.#kept)
  }

  #close(): void {
    if (!this.#joinable) return
    this.#joinable = false
    this.#options.onClosed()
  }

  /** The last one has left: nobody wants the rest. */
  #leaveIfAlone(): void {
    if (this.#expecting > 0 || this.#readers.length > 0 || this.#done) return
    this.#done = true
    this.#cancelLaggardTimer?.()
    this.#close()
    const gone = new FlyballError('cancelled')
    this.#abort.abort(gone)
    this.#reply?.cancel(gone)
    // The head may still come: nobody is left to take it.
    this.#head.then((reply) => reply.cancel(gone), () => {})
  }
}
