/** What a backend answers: status, headers, and a body of chunks. A unary reply has one chunk. */
import { ListedBody } from './polled-body.ts'
import type { Usage } from './settlement.ts'

/** The hub between protocols: what any provider's stream says, in order. */
export type Delta =
  | { type: 'start'; id?: string; model?: string }
  /** `index` is the choice (n > 1). */
  | { type: 'text'; index: number; text: string; logprobs?: readonly TokenLogprob[] }
  | { type: 'reasoning'; index: number; text: string; signature?: string }
  | { type: 'refusal'; index: number; text: string }
  /** `call` numbers the tool calls of one choice from 0. */
  | { type: 'tool-start'; index: number; call: number; id: string; name: string }
  | { type: 'tool-input'; index: number; call: number; json: string }
  | { type: 'finish'; index: number; reason: FinishReason; stopSequence?: string }
  | { type: 'usage'; usage: Usage }
  | { type: 'embedding'; index: number; vector: readonly number[] | Float32Array }
  /** The result of a wrapped function or a guarded handler. */
  | { type: 'value'; value: unknown }
  /** An error inside a stream that began well. */
  | { type: 'error'; code: string; message: string; status?: number }

export type FinishReason = 'stop' | 'length' | 'tool-calls' | 'content-filter' | 'pause' | 'refusal' | 'other'

export interface TokenLogprob {
  token: string
  logprob: number
  top?: readonly { token: string; logprob: number }[]
}

export interface Chunk {
  /** Bytes as they go on the wire in the reply's protocol, when the reply is passed through. */
  readonly raw?: Uint8Array
  /** What the bytes say. In a pass-through reply only `usage`, `finish` and `error` need be here; in a canonical one everything is. */
  readonly deltas?: readonly Delta[]
  /** Output tokens (or items) in this chunk; 0 when it carries none. */
  readonly tokens: number
}

/** The protocol name of replies whose bodies are `deltas` for the edge to encode. */
export const CANONICAL = 'canonical'

export interface Reply {
  readonly status: number
  /** Flat `[name, value, name, value]`, as Node has them, so that case, order and repeats survive. */
  readonly rawHeaders: readonly string[]
  /** Which codec's bytes `raw` is in, or `CANONICAL`. */
  readonly protocol: string
  /** True for an event stream, false for one unary document. */
  readonly stream: boolean
  /**
   * The whole reply is in memory and nothing upstream is held for it: its slot is free as soon as the head is there,
   * however slowly it is read.
   */
  readonly complete?: boolean
  readonly body: AsyncIterable<Chunk>
  /** Stops the reply and lets go of what it holds. May be called at any time, any number of times. */
  cancel(reason?: unknown): void
}

/** First value of a header, case-insensitively. */
export function header(rawHeaders: readonly string[], name: string): string | undefined {
  const wanted = name.toLowerCase()
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    // The length tells most names apart, and lower-casing costs more than a comparison.
    const candidate = rawHeaders[i] as string
    if (candidate.length === wanted.length && candidate.toLowerCase() === wanted) return rawHeaders[i + 1]
  }
  return undefined
}

/** A complete reply from chunks that are already here. */
export function replyOf(chunks: readonly Chunk[], head: { status?: number; rawHeaders?: readonly string[]; protocol?: string; stream?: boolean } = {}): Reply {
  return {
    status: head.status ?? 200,
    rawHeaders: head.rawHeaders ?? [],
    protocol: head.protocol ?? CANONICAL,
    stream: head.stream ?? false,
    complete: true,
    body: bodyOf(chunks),
    cancel() {},
  }
}

/** A body of chunks that are already here, from the first for each reader. */
export function bodyOf(chunks: readonly Chunk[], each?: (chunk: Chunk) => Chunk): AsyncIterable<Chunk> {
  return { [Symbol.asyncIterator]: () => new ListedBody(chunks, each) }
}
