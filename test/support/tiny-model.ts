/** Small random models with a real tokenizer, made by the tests themselves. Same seed, same model. */
import { encodeValues, float32, float32s, int32s, string, strings, uint32 } from './gguf-writer.ts'
import type { WriterTensor, WriterValue } from './gguf-writer.ts'
import type { TensorTypeName } from '../../plugins/backends/native/gguf-types.ts'

export interface TinyModelOptions {
  readonly architecture?: 'llama' | 'qwen2'
  readonly type?: TensorTypeName
  readonly embeddingLength?: number
  readonly blockCount?: number
  readonly headCount?: number
  readonly headCountKv?: number
  readonly feedForwardLength?: number
  readonly contextLength?: number
  readonly tied?: boolean
  readonly attentionBias?: boolean
  readonly seed?: number
  /** Further metadata; wins over what is there. */
  readonly metadata?: Readonly<Record<string, WriterValue>>
}

export interface TinyModel {
  readonly metadata: Record<string, WriterValue>
  readonly tensors: WriterTensor[]
}

/** A vocabulary of <unk>, <s>, </s>, the 256 bytes, letters and a few words: SPM. */
export function tinyVocabulary(): Record<string, WriterValue> {
  const texts = ['<unk>', '<s>', '</s>']
  const kinds = [2, 3, 3]
  const scores = [0, 0, 0]
  for (let byte = 0; byte < 256; byte++) {
    texts.push(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
    kinds.push(6)
    scores.push(0)
  }
  const words = ['he', 'll', 'llo', 'hello', '\u2581hello', 'wo', 'rld', '\u2581wo', '\u2581world', 'or', 'ld', '\u2581w', '\u2581h']
  const letters = Array.from('\u2581abcdefghijklmnopqrstuvwxyz.,!?')
  for (const text of [...words, ...letters]) {
    texts.push(text)
    kinds.push(1)
    scores.push(-texts.length)
  }
  while (texts.length < 320) {
    texts.push(`<extra_${texts.length}>`)
    kinds.push(5)
    scores.push(-1000)
  }
  return {
    'tokenizer.ggml.model': string('llama'),
    'tokenizer.ggml.tokens': strings(texts),
    'tokenizer.ggml.scores': float32s(scores),
    'tokenizer.ggml.token_type': int32s(kinds),
    'tokenizer.ggml.bos_token_id': uint32(1),
    'tokenizer.ggml.eos_token_id': uint32(2),
    'tokenizer.ggml.unknown_token_id': uint32(0),
  }
}

/** A model of a few thousand parameters unless asked for more; sizes default to multiples of 32, so that every weight type fits. */
export function tinyModel(options: TinyModelOptions = {}): TinyModel {
  const { architecture = 'llama', type = 'F32', embeddingLength = 64, blockCount = 2, headCount = 4, headCountKv = 2 } = options
  const { feedForwardLength = 96, contextLength = 128, tied = false, attentionBias = architecture === 'qwen2', seed = 1 } = options
  const random = gaussian(seed)
  const vocabulary = tinyVocabulary()
  const tokens = 320
  const headDim = embeddingLength / headCount
  const keyLength = headDim * headCountKv
  const key = (name: string): string => `${architecture}.${name}`
  const tensors: WriterTensor[] = []
  const matrix = (name: string, columns: number, rows: number, scale = 1 / Math.sqrt(columns)): void => {
    const values = Float32Array.from({ length: columns * rows }, () => random() * scale)
    tensors.push({ name, type, shape: [columns, rows], data: encodeValues(type, values) })
  }
  const vector = (name: string, length: number, center: number): void => {
    const values = Float32Array.from({ length }, () => center + random() * 0.1)
    tensors.push({ name, type: 'F32', shape: [length], data: encodeValues('F32', values) })
  }

  matrix('token_embd.weight', embeddingLength, tokens, 1)
  for (let block = 0; block < blockCount; block++) {
    const at = `blk.${block}.`
    vector(`${at}attn_norm.weight`, embeddingLength, 1)
    matrix(`${at}attn_q.weight`, embeddingLength, embeddingLength)
    matrix(`${at}attn_k.weight`, embeddingLength, keyLength)
    matrix(`${at}attn_v.weight`, embeddingLength, keyLength)
    if (attentionBias) {
      vector(`${at}attn_q.bias`, embeddingLength, 0)
      vector(`${at}attn_k.bias`, keyLength, 0)
      vector(`${at}attn_v.bias`, keyLength, 0)
    }
    matrix(`${at}attn_output.weight`, embeddingLength, embeddingLength)
    vector(`${at}ffn_norm.weight`, embeddingLength, 1)
    matrix(`${at}ffn_gate.weight`, embeddingLength, feedForwardLength)
    matrix(`${at}ffn_up.weight`, embeddingLength, feedForwardLength)
    matrix(`${at}ffn_down.weight`, feedForwardLength, embeddingLength)
  }
  vector('output_norm.weight', embeddingLength, 1)
  if (!tied) matrix('output.weight', embeddingLength, tokens)
  const metadata = {
    'general.architecture': string(architecture),
    'general.name': string('tiny'),
    [key('context_length')]: uint32(contextLength),
    [key('embedding_length')]: uint32(embeddingLength),
    [key('block_count')]: uint32(blockCount),
    [key('feed_forward_length')]: uint32(feedForwardLength),
    [key('attention.head_count')]: uint32(headCount),
    [key('attention.head_count_kv')]: uint32(headCountKv),
    [key('attention.layer_norm_rms_epsilon')]: float32(1e-5),
    [key('rope.freq_base')]: float32(10000),
    ...vocabulary,
    ...options.metadata,
  }
  return { metadata, tensors }
}

/** Standard normal numbers by Box-Muller over a small linear congruential generator. */
export function gaussian(seed: number): () => number {
  const uniform = uniforms(seed)
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
}

/** Uniform in [0, 1), from a 32-bit linear congruential generator (Numerical Recipes' constants). */
export function uniforms(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
