/**
 * One upstream call, many readers. It belongs to none of them: the first may leave without failing the rest, and it is
 * stopped when the last one leaves. Upstream is read as fast as the fastest reader asks, held back by the slowest.
 */
import { FlyballError, toFlyballError, type Call, type Chunk, type Clock, type Reply } from '../../../src/index.ts'
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

interface Reader {
  /** Number of the next chunk it gets, from 0. */
  next: number
  wake: (() => void) | undefined
  failure: FlyballError | undefined
}

export class Flight {
  readonly #options: FlightOptions
  readonly #abort = new AbortController()
  readonly #head: Promise<Reply>
  readonly #readers = new Set<Reader>()
  /** Members whose head has not come yet. */
  #expecting = 0
  #child: Call | undefined
  #priority: number
  #reply: Reply | undefined
  #source: AsyncIterator<Chunk> | undefined
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
        this.#source = reply.body[Symbol.asyncIterator]()
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
    const reader: Reader = { next: 0, wake: undefined, failure: undefined }
    this.#readers.add(reader)
    const leave = (): void => {
      reader.wake?.()
      reader.wake = undefined
      if (this.#readers.delete(reader)) {
        this.#forget()
        this.#pullOn()
        this.#leaveIfAlone()
      }
    }
    const next = async (): Promise<IteratorResult<Chunk>> => {
      for (;;) {
        if (reader.failure) throw reader.failure
        if (!this.#readers.has(reader)) return { done: true, value: undefined }
        const chunk = this.#chunks[reader.next - this.#dropped]
        if (chunk) {
          reader.next++
          this.#forget()
          return { done: false, value: ownChunk(chunk) }
        }
        if (this.#done) {
          this.#readers.delete(reader)
          if (this.#error) throw this.#error
          return { done: true, value: undefined }
        }
        await new Promise<void>((resolve) => {
          reader.wake = resolve
          this.#pullOn()
        })
      }
    }
    const body: AsyncIterableIterator<Chunk> = {
      [Symbol.asyncIterator]: () => body,
      next,
      return: () => {
        leave()
        return Promise.resolve({ done: true, value: undefined })
      },
    }
    return { status: reply.status, rawHeaders: keptHeaders(reply.rawHeaders), protocol: reply.protocol, stream: reply.stream, body, cancel: leave }
  }

  /** Asks upstream for one more chunk when somebody is out of them and nobody is too far behind. */
  #pullOn(): void {
    if (this.#pulling || this.#done || !this.#source || !this.#hungry()) return
    if (!this.#recording && this.#kept > this.#options.replayBytes) return this.#watchLaggard()
    this.#pulling = true
    this.#source.next().then(
      (result) => {
        this.#pulling = false
        if (result.done) this.#finish(undefined)
        else this.#keep(result.value)
        this.#wakeAll()
      },
      (thrown: unknown) => {
        this.#pulling = false
        this.#finish(toFlyballError(thrown, 'upstream_invalid'))
        this.#wakeAll()
      },
    )
  }

  #hungry(): boolean {
    for (const reader of this.#readers) if (reader.wake) return true
    return false
  }

  #wakeAll(): void {
    for (const reader of this.#readers) {
      const { wake } = reader
      reader.wake = undefined
      wake?.()
    }
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
    for (const reader of this.#readers) slowest = Math.min(slowest, reader.next)
    const drop = Math.min(this.#chunks.length, slowest - this.#dropped)
    if (drop <= 0) return
    for (const size of this.#sizes.splice(0, drop)) this.#kept -= size
    this.#chunks.splice(0, drop)
    this.#dropped += drop
    if (this.#kept <= this.#options.replayBytes) {
      this.#cancelLaggardTimer?.()
      this.#cancelLaggardTimer = undefined
      this.#pullOn()
    }
  }

  #watchLaggard(): void {
    this.#cancelLaggardTimer ??= this.#options.clock.after(LAGGARD_MS, () => {
      this.#cancelLaggardTimer = undefined
      const slowest = [...this.#readers].sort((a, b) => a.next - b.next)[0]
      if (!slowest || slowest.wake || this.#readers.size < 2) return
      slowest.failure = new FlyballError('unread')
      this.#readers.delete(slowest)
      this.#forget()
      this.#pullOn()
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
    if (this.#expecting > 0 || this.#readers.size > 0 || this.#done) return
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
