/** What a wire protocol is to us: a codec that edges and backends share. It passes `test/conformance/protocol.ts`. */
import type { FlyballError } from '../core/errors.ts'
import type { Chunk, Delta } from '../core/reply.ts'
import type { CanonicalRequest } from './canonical.ts'

/** What the gateway must know of a request before it can queue it. */
export interface RequestFacts {
  readonly operation: string
  readonly model: string
  readonly stream: boolean
  /** Expected tokens (input estimate + output bound) or items. */
  readonly work: number
  readonly maxOutputTokens?: number
  /** The caller asked for usage in its stream. */
  readonly includeUsage?: boolean
  /** For `ReplyContext`: how the request wants embeddings. Default `float`. */
  readonly encoding?: 'float' | 'base64'
  /** The credential of the end user if the body carries one (`user`): never a secret. */
  readonly user?: string
}

export interface ProtocolRoute {
  readonly method: 'GET' | 'POST'
  /** Relative to where the gateway is mounted: `/chat/completions`. */
  readonly path: string
  /** `chat`, `completions`, `embeddings`, `models`, `messages`, `count_tokens`, … */
  readonly operation: string
}

/** Reads a body in this protocol beside the stream, without changing it. */
export interface SideReader {
  /** Tokens and facts that these bytes (any cut) bring; only `usage`, `finish` and `error` deltas. */
  push(bytes: Uint8Array): Pick<Chunk, 'deltas' | 'tokens'>
  /** An `error` delta with code `upstream_invalid`, here or from `push`: the body is broken or was cut short. */
  end(): Pick<Chunk, 'deltas' | 'tokens'>
}

/** Reads a body in this protocol into everything it says. */
export interface DeltaReader {
  /** Throws `upstream_invalid` for what cannot be read. */
  push(bytes: Uint8Array): readonly Delta[]
  end(): readonly Delta[]
}

/** Writes deltas as this protocol's event stream. */
export interface StreamWriter {
  readonly contentType: string
  push(deltas: readonly Delta[]): Uint8Array
  /** Terminator included (`data: [DONE]`). */
  end(): Uint8Array
  /** An error after the headers are out, in the protocol's own in-band shape, and the end. */
  fail(error: FlyballError): Uint8Array
}

export interface ReplyContext {
  /** A fresh id for the reply (`chatcmpl-…`). */
  readonly id: string
  readonly model: string
  readonly createdS: number
  /** The request asked for usage in the stream. */
  readonly includeUsage: boolean
  /** How the request wants embeddings. Default `float`. */
  readonly encoding?: 'float' | 'base64'
}

export interface Protocol {
  readonly name: string
  /** A request header (lower case) that only this protocol's clients send: tells it apart where two share an address. */
  readonly marker?: string
  readonly routes: readonly ProtocolRoute[]
  /** What ids of replies begin with: `chatcmpl-`. */
  replyIdPrefix?(operation: string): string
  /** Checks the parsed body. Throws `invalid_request` naming the field in `param`. Passes unknown fields: upstream may know them. */
  facts(operation: string, body: unknown): RequestFacts
  /** To the hub. Throws `unsupported_field` naming a field that cannot be carried. */
  toCanonical(operation: string, body: unknown): CanonicalRequest
  /** From the hub to this protocol's request body. Throws `unsupported_field` likewise. */
  fromCanonical(request: CanonicalRequest): { path: string; body: unknown }
  sideReader(operation: string, stream: boolean): SideReader
  deltaReader(operation: string, stream: boolean): DeltaReader
  streamWriter(operation: string, context: ReplyContext): StreamWriter
  /** One JSON document from all deltas of a reply; the error's document when there is an `error` delta among them. */
  unary(operation: string, deltas: readonly Delta[], context: ReplyContext): unknown
  /** Before headers: the JSON body of an error. Status and retry headers come from the error itself. */
  error(error: FlyballError): unknown
  /** The `/models` document. */
  models?(models: readonly { id: string; createdS: number; ownedBy: string }[]): unknown
  /** The `/models/{id}` document. */
  model?(model: { id: string; createdS: number; ownedBy: string }): unknown
}
