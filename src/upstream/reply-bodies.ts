/** Streamed bodies of an exchange, as chunks. */
import { FlyballError, toFlyballError } from '../core/errors.ts'
import { END, PENDING, PolledBody } from '../core/polled-body.ts'
import type { Chunk, Delta } from '../core/reply.ts'
import type { DeltaReader, SideReader } from '../protocols/protocol.ts'
import type { HttpExchange } from './http-exchange.ts'

/** Takes bytes out of a stream again that are there only because we asked for them. */
export interface ByteFilter {
  push(bytes: Uint8Array): Uint8Array
  end(): Uint8Array
}

/** A broken stream is ours to report: the client has read the good part, and gets the rest as an error in band. */
function refuseBroken(deltas: readonly Delta[] | undefined): void {
  if (deltas === undefined) return
  for (const delta of deltas) if (delta.type === 'error' && delta.code === 'upstream_invalid') throw new FlyballError('upstream_invalid', { message: delta.message, reason: 'broken_stream' })
}

abstract class ExchangeBody extends PolledBody {
  protected readonly exchange: HttpExchange
  #ended = false

  constructor(exchange: HttpExchange) {
    super()
    this.exchange = exchange
  }

  poll(wake: () => void): Chunk | typeof PENDING | typeof END {
    if (this.#ended) return END
    for (;;) {
      const bytes = this.exchange.poll(wake)
      if (bytes === PENDING) return PENDING
      try {
        this.#ended = bytes === END
        const chunk = bytes === END ? this.last() : this.chunk(bytes)
        if (chunk !== undefined) return chunk
        if (this.#ended) return END
      } catch (thrown) {
        this.#ended = true
        const error = toFlyballError(thrown, 'upstream_invalid')
        this.exchange.abort(error)
        throw error
      }
    }
  }

  cancel(): void {
    this.#ended = true
    this.exchange.abort(new FlyballError('cancelled'))
  }

  /** Undefined: nothing to hand on yet. */
  protected abstract chunk(bytes: Uint8Array): Chunk | undefined
  protected abstract last(): Chunk | undefined
}

/** Bytes unchanged; facts beside them where there is a reader. */
export class PassThroughBody extends ExchangeBody {
  readonly #side: SideReader | undefined
  readonly #filter: ByteFilter | undefined
  readonly #whole = new WholeEvents()

  constructor(exchange: HttpExchange, side: SideReader | undefined, filter: ByteFilter | undefined) {
    super(exchange)
    this.#side = side
    this.#filter = filter
  }

  protected chunk(bytes: Uint8Array): Chunk | undefined {
    if (!this.#side) return { raw: bytes, tokens: 0 }
    const raw = this.#filter ? this.#filter.push(bytes) : this.#whole.push(bytes)
    const { deltas, tokens } = this.#side.push(bytes)
    if (raw.length === 0 && deltas === undefined && tokens === 0) return undefined
    if (deltas === undefined) return { raw, tokens }
    refuseBroken(deltas)
    return { raw, deltas, tokens }
  }

  protected last(): Chunk | undefined {
    const raw = this.#filter ? this.#filter.end() : this.#whole.end()
    const facts = this.#side?.end()
    refuseBroken(facts?.deltas)
    if (facts?.deltas) return { ...(raw.length > 0 ? { raw } : {}), deltas: facts.deltas, tokens: facts.tokens }
    return raw.length > 0 ? { raw, tokens: 0 } : undefined
  }
}

const [LF, CR] = [10, 13]
/** More than this of one event is let through as it comes. */
const MAX_HELD_BYTES = 256 * 1024
const NONE = Buffer.alloc(0)

/**
 * Holds back what has come of an event until the rest is here. No client can use half an event, and an error that must be
 * said in band after half of one would be unreadable. Nearly every piece ends with its event and passes as it is.
 */
class WholeEvents {
  #held: Uint8Array = NONE

  push(bytes: Uint8Array): Uint8Array {
    const all = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes])
    // Only the new bytes can hold the end of an event, or its second half.
    const end = lastEventEnd(all, Math.max(0, this.#held.length - 3))
    if (end === all.length || all.length - end > MAX_HELD_BYTES) {
      this.#held = NONE
      return all
    }
    this.#held = all.subarray(end)
    return end === 0 ? NONE : all.subarray(0, end)
  }

  end(): Uint8Array {
    const rest = this.#held
    this.#held = NONE
    return rest
  }
}

/** Index after the last blank line that begins at `from` or later; 0 when there is none. */
function lastEventEnd(bytes: Uint8Array, from: number): number {
  for (let at = bytes.length - 1; at > from; at--) {
    if (bytes[at] !== LF) continue
    if (bytes[at - 1] === LF || (bytes[at - 1] === CR && bytes[at - 2] === LF)) return at + 1
  }
  return 0
}

/** Everything that the bytes say, for another protocol's edge. */
export class CanonicalBody extends ExchangeBody {
  readonly #reader: DeltaReader

  constructor(exchange: HttpExchange, reader: DeltaReader) {
    super(exchange)
    this.#reader = reader
  }

  protected chunk(bytes: Uint8Array): Chunk | undefined {
    return canonicalChunk(this.#reader.push(bytes))
  }

  protected last(): Chunk | undefined {
    return canonicalChunk(this.#reader.end())
  }
}

function canonicalChunk(deltas: readonly Delta[]): Chunk | undefined {
  if (deltas.length === 0) return undefined
  let tokens = 0
  for (const { type } of deltas) if (type === 'text' || type === 'reasoning' || type === 'tool-input' || type === 'refusal') tokens++
  return { deltas, tokens }
}
