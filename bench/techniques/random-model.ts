/** A model of real shapes and random weights: what it says is noise, what it costs is not. */
import type { MetadataValue } from '../../plugins/backends/native/gguf-metadata.ts'
import { GgufWriter, type PlannedTensor } from '../../plugins/backends/native/quantize-writer.ts'

export const SHAPE = { dim: 512, blocks: 8, heads: 8, kvHeads: 4, feedForward: 1_536, context: 4_096, vocabulary: 8_192 } as const
/** Tokens below this are special or bytes. */
export const FIRST_PLAIN_TOKEN = 259

const uint32 = (value: number): MetadataValue => ({ type: 'uint32', value }) as MetadataValue
const float32 = (value: number): MetadataValue => ({ type: 'float32', value }) as MetadataValue
const text = (value: string): MetadataValue => ({ type: 'string', value }) as MetadataValue
const list = (of: string, value: readonly (string | number)[]): MetadataValue => ({ type: 'array', of, value }) as unknown as MetadataValue

/** 33.6M parameters in F32: 134 MB, more than the caches of a CPU hold, so that bytes read cost what they cost in a large model. */
export function writeRandomModel(path: string): void {
  const { dim, blocks, heads, kvHeads, feedForward, context, vocabulary } = SHAPE
  const keys = (dim / heads) * kvHeads
  const plan: PlannedTensor[] = []
  const matrix = (name: string, columns: number, rows: number): void => void plan.push({ name, type: 'F32', shape: [columns, rows] })
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
  let state = 1
  for (const { shape } of plan) {
    const [columns = 1, rows = 1] = shape
    const scale = shape.length === 1 ? 0 : Math.sqrt(3 / columns)
    const values = new Float32Array(columns * rows)
    for (let i = 0; i < values.length; i++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      values[i] = shape.length === 1 ? 1 : (state / 2 ** 31 - 1) * scale
    }
    writer.write(new Uint8Array(values.buffer))
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
      ['llama.rope.freq_base', float32(10_000)],
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
