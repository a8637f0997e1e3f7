/** Models of real shapes and random weights: what they say is noise, what they cost is not. */
import type { MetadataValue } from '../plugins/backends/native/gguf-metadata.ts'
import { tensorType } from '../plugins/backends/native/gguf-types.ts'
import { encodeHalf } from '../plugins/backends/native/quantize-blocks.ts'
import { GgufWriter, type PlannedTensor } from '../plugins/backends/native/quantize-writer.ts'

export interface Shape {
  readonly dim: number
  readonly blocks: number
  readonly heads: number
  readonly kvHeads: number
  readonly feedForward: number
  readonly context: number
  readonly vocabulary: number
  readonly ropeBase: number
}

export const SHAPES = {
  /** 33.6 million weights: in F32 134 MB, more than the caches of a CPU hold, so that bytes read cost what they cost in a large model. */
  '34m': { dim: 512, blocks: 8, heads: 8, kvHeads: 4, feedForward: 1_536, context: 4_096, vocabulary: 8_192, ropeBase: 10_000 },
  '0.5b': { dim: 896, blocks: 24, heads: 14, kvHeads: 2, feedForward: 4_864, context: 32_768, vocabulary: 32_000, ropeBase: 1_000_000 },
  '1.2b': { dim: 2_048, blocks: 16, heads: 32, kvHeads: 8, feedForward: 8_192, context: 32_768, vocabulary: 32_000, ropeBase: 500_000 },
} as const satisfies Record<string, Shape>

/** Tokens below this are special or bytes. */
export const FIRST_PLAIN_TOKEN = 259

/** Quantised types: the standard deviation of a block's uniform integers, by which its scale is chosen. */
const SPREAD = { Q8_0: 73.9, Q4_0: 4.61 } as const
export type RandomType = 'F32' | keyof typeof SPREAD

const uint32 = (value: number): MetadataValue => ({ type: 'uint32', value }) as MetadataValue
const float32 = (value: number): MetadataValue => ({ type: 'float32', value }) as MetadataValue
const text = (value: string): MetadataValue => ({ type: 'string', value }) as MetadataValue
const list = (of: string, value: readonly (string | number)[]): MetadataValue => ({ type: 'array', of, value }) as unknown as MetadataValue

/** Matrices have a variance of one over their columns, norms are ones. Gigabytes in seconds; the same file each time. */
export function writeRandomModel(path: string, shape: Shape, type: RandomType): void {
  const { dim, blocks, heads, kvHeads, feedForward, context, vocabulary, ropeBase } = shape
  const keys = (dim / heads) * kvHeads
  const plan: PlannedTensor[] = []
  const matrix = (name: string, columns: number, rows: number): void => void plan.push({ name, type, shape: [columns, rows] })
  const vector = (name: string): void => void plan.push({ name, type: 'F32', shape: [dim] })
  matrix('token_embd.weight', dim, vocabulary)
  for (let block = 0; block < blocks; block++) {
    const at = `blk.${block}.`
    vector(`${at}attn_norm.weight`)
    matrix(`${at}attn_q.weight`, dim, dim)
    matrix(`${at}attn_k.weight`, dim, keys)
    matrix(`${at}attn_v.weight`, dim, keys)
    matrix(`${at}attn_output.weight`, dim, dim)
    vector(`${at}ffn_norm.weight`)
    matrix(`${at}ffn_gate.weight`, dim, feedForward)
    matrix(`${at}ffn_up.weight`, dim, feedForward)
    matrix(`${at}ffn_down.weight`, feedForward, dim)
  }
  vector('output_norm.weight')
  matrix('output.weight', dim, vocabulary)

  const writer = new GgufWriter(path, metadata(), plan)
  const next = xorshift()
  for (const { type, shape: [columns = 1, rows] } of plan) {
    if (rows === undefined) writer.write(new Uint8Array(new Float32Array(columns).fill(1).buffer))
    else if (type === 'F32') writer.write(new Uint8Array(Float32Array.from({ length: columns * rows }, () => (next() / 2 ** 31) * Math.sqrt(3 / columns)).buffer))
    else writer.write(randomBlocks(type as keyof typeof SPREAD, columns * rows, 1 / Math.sqrt(columns), next))
  }
  writer.finish()

  function metadata(): [string, MetadataValue][] {
    const tokens = Array.from({ length: vocabulary }, (_, token) => (token < 3 ? ['<unk>', '<s>', '</s>'][token] as string : token < FIRST_PLAIN_TOKEN ? `<0x${(token - 3).toString(16).toUpperCase().padStart(2, '0')}>` : `t${token}`))
    return [
      ['general.architecture', text('llama')],
      ['general.name', text('random')],
      ['llama.context_length', uint32(context)],
      ['llama.embedding_length', uint32(dim)],
      ['llama.block_count', uint32(blocks)],
      ['llama.feed_forward_length', uint32(feedForward)],
      ['llama.attention.head_count', uint32(heads)],
      ['llama.attention.head_count_kv', uint32(kvHeads)],
      ['llama.attention.layer_norm_rms_epsilon', float32(1e-5)],
      ['llama.rope.freq_base', float32(ropeBase)],
      ['tokenizer.ggml.model', text('llama')],
      ['tokenizer.ggml.tokens', list('string', tokens)],
      ['tokenizer.ggml.scores', list('float32', tokens.map((_, token) => -token))],
      ['tokenizer.ggml.token_type', list('int32', tokens.map((_, token) => (token === 0 ? 2 : token < 3 ? 3 : token < FIRST_PLAIN_TOKEN ? 6 : 1)))],
      ['tokenizer.ggml.bos_token_id', uint32(1)],
      ['tokenizer.ggml.eos_token_id', uint32(2)],
      ['tokenizer.ggml.unknown_token_id', uint32(0)],
    ]
  }
}

/** Blocks of a half-precision scale and random bits. */
function randomBlocks(type: keyof typeof SPREAD, count: number, deviation: number, next: () => number): Uint8Array {
  const { blockValues, blockBytes } = tensorType(type)
  const bytes = (count / blockValues) * blockBytes
  const words = new Int32Array(Math.ceil(bytes / 4))
  for (let i = 0; i < words.length; i++) words[i] = next()
  const halves = new Uint16Array(words.buffer)
  const [low = 0, high = 0] = encodeHalf(Float32Array.of(deviation / SPREAD[type]))
  const scale = high << 8 | low
  // the last bits of the scale stay random
  for (let at = 0; at < bytes / 2; at += blockBytes / 2) halves[at] = (scale & 0xffc0) | ((halves[at] as number) & 0x3f)
  return new Uint8Array(words.buffer, 0, bytes)
}

/** Marsaglia's 32-bit xorshift, signed. */
function xorshift(): () => number {
  let state = 2_463_534_242 | 0
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state
  }
}
