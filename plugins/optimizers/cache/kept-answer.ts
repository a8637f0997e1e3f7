/**
 * A finished answer in the store. Most are never asked for again, and the garbage collector pays for every object that
 * stays: so bytes lie in one piece, all else in one text, until somebody asks. From then on the answer is kept unpacked.
 */
import type { Chunk } from '../../../src/index.ts'

export interface OpenAnswer {
  readonly rawHeaders: readonly string[]
  readonly chunks: readonly Chunk[]
}

export class KeptAnswer {
  /** Chunks' bytes, one after the other. Undefined: this answer is not packed. */
  readonly #raw: Uint8Array | undefined
  #text: string | undefined
  #open: OpenAnswer | undefined

  constructor(answer: OpenAnswer) {
    // Only what passed through is bytes and a few facts, which JSON keeps as they are.
    this.#raw = joined(answer.chunks)
    if (this.#raw) this.#text = JSON.stringify({ rawHeaders: answer.rawHeaders, parts: answer.chunks.map(({ raw, tokens, deltas }) => [raw?.length, tokens, deltas]) } satisfies Packed)
    else this.#open = answer
  }

  open(): OpenAnswer {
    return (this.#open ??= this.#unpack())
  }

  #unpack(): OpenAnswer {
    const { rawHeaders, parts } = JSON.parse(this.#text as string) as Packed
    this.#text = undefined
    let at = 0
    const chunks = parts.map(([length, tokens, deltas]): Chunk => {
      const raw = this.#raw?.subarray(at, (at += length ?? 0)) as Uint8Array
      return deltas ? { raw, tokens, deltas } : { raw, tokens }
    })
    return { rawHeaders, chunks }
  }
}

interface Packed {
  readonly rawHeaders: readonly string[]
  readonly parts: readonly (readonly [length: number | undefined, tokens: number, deltas: Chunk['deltas'] | null])[]
}

/** Undefined: a chunk has no bytes. Bytes of one chunk stay where they are, unless they hold much more memory than they fill. */
function joined(chunks: readonly Chunk[]): Uint8Array | undefined {
  const only = chunks.length === 1 ? chunks[0]?.raw : undefined
  if (only && only.buffer.byteLength <= only.length + MAX_WASTE_BYTES) return only
  let length = 0
  for (const { raw } of chunks) {
    if (!raw) return undefined
    length += raw.length
  }
  // Memory of its own: a part of Node's pool would keep its neighbours' memory as well.
  const all = new Uint8Array(length)
  let at = 0
  for (const { raw } of chunks) {
    all.set(raw as Uint8Array, at)
    at += (raw as Uint8Array).length
  }
  return all
}

/** A reply's head comes in the same piece as its body. */
const MAX_WASTE_BYTES = 1_024
