/**
 * From GGUF metadata to a model that can run: the numbers of the architecture, and every tensor by role with its shape
 * checked. Key names: the GGUF specification; tensor names: what llama.cpp's converter writes.
 */
import type { Gguf, GgufTensor } from './gguf.ts'
import type { GgufMetadata } from './gguf-metadata.ts'
import { required } from './gguf-metadata.ts'
import type { TensorTypeName } from './gguf-types.ts'
import { ModelError, shown } from './model-error.ts'

export type Architecture = 'llama' | 'qwen2'

export type RopeScaling =
  | { readonly kind: 'none' }
  /** Positions are divided by the factor. */
  | { readonly kind: 'linear'; readonly factor: number }
  /** Llama 3: low frequencies are slowed by the factor, high ones kept, those between are blended. */
  | { readonly kind: 'llama3'; readonly factor: number; readonly lowFrequencyFactor: number; readonly highFrequencyFactor: number; readonly originalContextLength: number }

export interface ModelConfig {
  readonly architecture: Architecture
  readonly name: string
  readonly vocabularySize: number
  readonly contextLength: number
  /** Width of the residual stream. */
  readonly embeddingLength: number
  readonly blockCount: number
  readonly feedForwardLength: number
  readonly headCount: number
  /** Key and value heads; each serves headCount / headCountKv query heads. */
  readonly headCountKv: number
  /** Values per head; the same for queries, keys and values. */
  readonly headDim: number
  /** Leading values of each head that are rotated; even. */
  readonly ropeDimensions: number
  readonly ropeBase: number
  /** True: the pairs are (0,1), (2,3)… (llama); false: (0,n/2), (1,n/2+1)… (qwen2). */
  readonly ropeAdjacent: boolean
  readonly ropeScaling: RopeScaling
  readonly normEpsilon: number
  /** Each position attends to this many latest positions, itself included; undefined is all. */
  readonly slidingWindow: number | undefined
  /** The output matrix is the embedding matrix. */
  readonly tiedOutput: boolean
}

/** Tensor roles. A matrix of `rows` rows maps `columns` inputs to `rows` outputs; its GGUF shape is [columns, rows]. */
export interface BlockTensors {
  readonly attentionNorm: GgufTensor // [embedding]
  readonly query: GgufTensor // [embedding, heads × headDim]
  readonly key: GgufTensor // [embedding, headsKv × headDim]
  readonly value: GgufTensor // [embedding, headsKv × headDim]
  readonly queryBias: GgufTensor | undefined // [heads × headDim]
  readonly keyBias: GgufTensor | undefined // [headsKv × headDim]
  readonly valueBias: GgufTensor | undefined // [headsKv × headDim]
  readonly attentionOutput: GgufTensor // [heads × headDim, embedding]
  readonly attentionOutputBias: GgufTensor | undefined // [embedding]
  readonly feedForwardNorm: GgufTensor // [embedding]
  readonly gate: GgufTensor // [embedding, feedForward]
  readonly up: GgufTensor // [embedding, feedForward]
  readonly down: GgufTensor // [feedForward, embedding]
}

export interface ModelTensors {
  readonly embedding: GgufTensor // [embedding, vocabulary]
  readonly outputNorm: GgufTensor // [embedding]
  /** The same tensor as `embedding` when tied. */
  readonly output: GgufTensor // [embedding, vocabulary]
  /** Llama 3's divisors of the rotation frequencies. */
  readonly ropeFactors: GgufTensor | undefined // [ropeDimensions / 2]
  readonly blocks: readonly BlockTensors[]
}

export interface Model {
  readonly config: ModelConfig
  readonly tensors: ModelTensors
}

/** Weight types that the engines compute with. */
export const WEIGHT_TYPES = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_K', 'Q6_K'] as const satisfies readonly TensorTypeName[]

/** Caps on sizes, an order of magnitude above published models: keep products exact and allocations sane. */
const MAX_BLOCKS = 1024
const MAX_WIDTH = 1 << 20
const MAX_VOCABULARY = 1 << 22
const MAX_CONTEXT = 1 << 24
const MAX_HEAD_DIM = 1024

/**
 * Reads the configuration alone; enough for `inspect`.
 * @throws ModelError `unsupported` (architecture, RoPE scaling) or `invalid_model`
 */
export function readModelConfig(gguf: Gguf): ModelConfig {
  const { metadata } = gguf
  const architecture = required(metadata.string('general.architecture'), 'general.architecture')
  if (architecture !== 'llama' && architecture !== 'qwen2') {
    throw new ModelError('unsupported', `architecture ${shown(architecture)} is not supported, only llama and qwen2`)
  }
  const key = (name: string): string => `${architecture}.${name}`
  const size = (name: string, most: number, fallback?: number): number => bounded(metadata, key(name), most, fallback)

  const experts = metadata.uint(key('expert_count')) ?? 0
  if (experts > 0) throw new ModelError('unsupported', `${key('expert_count')} is ${experts}: mixtures of experts are not supported`)
  const embeddingLength = size('embedding_length', MAX_WIDTH)
  const headCount = size('attention.head_count', MAX_WIDTH)
  const headCountKv = size('attention.head_count_kv', MAX_WIDTH, headCount)
  if (headCount % headCountKv !== 0) throw new ModelError('invalid_model', `${headCount} heads do not divide into ${headCountKv} key-value heads`)
  if (!metadata.has(key('attention.key_length')) && embeddingLength % headCount !== 0) {
    throw new ModelError('invalid_model', `${key('embedding_length')} ${embeddingLength} is not a multiple of ${headCount} heads`)
  }
  const headDim = size('attention.key_length', MAX_HEAD_DIM, embeddingLength / headCount)
  const valueDim = size('attention.value_length', MAX_HEAD_DIM, headDim)
  if (valueDim !== headDim) throw new ModelError('unsupported', `heads with ${headDim} key and ${valueDim} value dimensions are not supported`)
  const ropeDimensions = size('rope.dimension_count', headDim, headDim)
  if (ropeDimensions % 2 !== 0) throw new ModelError('invalid_model', `${key('rope.dimension_count')} ${ropeDimensions} is odd`)
  const embedding = gguf.tensors.get('token_embd.weight')
  const slidingWindow = metadata.uint(key('attention.sliding_window')) ?? 0
  return {
    architecture,
    name: metadata.string('general.name') ?? '',
    vocabularySize: size('vocab_size', MAX_VOCABULARY, embedding?.shape[1] ?? metadata.strings('tokenizer.ggml.tokens')?.length),
    contextLength: size('context_length', MAX_CONTEXT),
    embeddingLength,
    blockCount: size('block_count', MAX_BLOCKS),
    feedForwardLength: size('feed_forward_length', MAX_WIDTH),
    headCount,
    headCountKv,
    headDim,
    ropeDimensions,
    ropeBase: positive(metadata, key('rope.freq_base'), 10000),
    ropeAdjacent: architecture === 'llama',
    ropeScaling: readRopeScaling(metadata, architecture),
    normEpsilon: positive(metadata, key('attention.layer_norm_rms_epsilon')),
    slidingWindow: slidingWindow > 0 ? slidingWindow : undefined,
    tiedOutput: !gguf.tensors.has('output.weight'),
  }
}

/**
 * Configuration and every tensor by role, shapes and types checked: what the engines load.
 * @throws ModelError `unsupported`, or `invalid_model` naming the tensor
 */
export function readModel(gguf: Gguf): Model {
  if (!gguf.hasData) throw new ModelError('invalid_model', 'the file holds no weights, only its header')
  const config = readModelConfig(gguf)
  const { embeddingLength, feedForwardLength, headCount, headCountKv, headDim, vocabularySize } = config
  const queryLength = headCount * headDim
  const keyLength = headCountKv * headDim

  const optional = (name: string, ...shape: number[]): GgufTensor | undefined => {
    const tensor = gguf.tensors.get(name)
    if (tensor === undefined) return undefined
    // trailing dimensions of 1 carry nothing
    const got = tensor.shape.slice()
    while (got.length > shape.length && got.at(-1) === 1) got.pop()
    if (got.join('×') !== shape.join('×')) {
      throw new ModelError('invalid_model', `tensor ${name}: expected the shape ${shape.join('×')}, got ${tensor.shape.join('×')}`)
    }
    const usable: readonly TensorTypeName[] = shape.length === 1 ? ['F32', 'F16', 'BF16'] : WEIGHT_TYPES
    if (!usable.includes(tensor.type)) {
      throw new ModelError('unsupported', `tensor ${name}: the type ${tensor.type} is not supported, only ${usable.join(', ')}`)
    }
    return tensor
  }
  const tensor = (name: string, ...shape: number[]): GgufTensor => {
    const found = optional(name, ...shape)
    if (found === undefined) throw new ModelError('invalid_model', `tensor ${name} is missing`)
    return found
  }

  const embedding = tensor('token_embd.weight', embeddingLength, vocabularySize)
  const blocks = Array.from({ length: config.blockCount }, (_, index): BlockTensors => {
    const block = `blk.${index}.`
    return {
      attentionNorm: tensor(`${block}attn_norm.weight`, embeddingLength),
      query: tensor(`${block}attn_q.weight`, embeddingLength, queryLength),
      key: tensor(`${block}attn_k.weight`, embeddingLength, keyLength),
      value: tensor(`${block}attn_v.weight`, embeddingLength, keyLength),
      queryBias: optional(`${block}attn_q.bias`, queryLength),
      keyBias: optional(`${block}attn_k.bias`, keyLength),
      valueBias: optional(`${block}attn_v.bias`, keyLength),
      attentionOutput: tensor(`${block}attn_output.weight`, queryLength, embeddingLength),
      attentionOutputBias: optional(`${block}attn_output.bias`, embeddingLength),
      feedForwardNorm: tensor(`${block}ffn_norm.weight`, embeddingLength),
      gate: tensor(`${block}ffn_gate.weight`, embeddingLength, feedForwardLength),
      up: tensor(`${block}ffn_up.weight`, embeddingLength, feedForwardLength),
      down: tensor(`${block}ffn_down.weight`, feedForwardLength, embeddingLength),
    }
  })
  const tensors: ModelTensors = {
    embedding,
    outputNorm: tensor('output_norm.weight', embeddingLength),
    output: optional('output.weight', embeddingLength, vocabularySize) ?? embedding,
    ropeFactors: optional('rope_freqs.weight', config.ropeDimensions / 2),
    blocks,
  }
  refuseUnknownTensors(gguf, tensors)
  return { config, tensors }
}

/** A tensor that we would leave out changes what the model computes (a q_norm, an ffn bias): better to say so. */
function refuseUnknownTensors(gguf: Gguf, tensors: ModelTensors): void {
  const used = new Set<GgufTensor | undefined>([tensors.embedding, tensors.outputNorm, tensors.output, tensors.ropeFactors])
  for (const block of tensors.blocks) for (const tensor of Object.values(block)) used.add(tensor as GgufTensor | undefined)
  for (const tensor of gguf.tensors.values()) {
    // old converters wrote the rotation frequencies out; they follow from the base
    if (used.has(tensor) || tensor.name.endsWith('.attn_rot_embd') || tensor.name.endsWith('rope_freqs.weight')) continue
    throw new ModelError('unsupported', `tensor ${shown(tensor.name)} is not part of the architecture as we know it`)
  }
}

function readRopeScaling(metadata: GgufMetadata, architecture: Architecture): RopeScaling {
  const key = (name: string): string => `${architecture}.rope.${name}`
  const kind = metadata.string(key('scaling.type'))
  if (kind === undefined || kind === 'none') {
    // the key before scaling types existed
    const factor = kind === undefined && metadata.has(key('scale_linear')) ? positive(metadata, key('scale_linear')) : 1
    return factor === 1 ? { kind: 'none' } : { kind: 'linear', factor }
  }
  if (kind === 'linear') return { kind: 'linear', factor: positive(metadata, key('scaling.factor')) }
  if (kind === 'llama3') {
    const lowFrequencyFactor = positive(metadata, key('scaling.low_freq_factor'), 1)
    const highFrequencyFactor = positive(metadata, key('scaling.high_freq_factor'), 4)
    if (highFrequencyFactor <= lowFrequencyFactor) throw new ModelError('invalid_model', `${key('scaling.high_freq_factor')} must be above the low one`)
    return {
      kind: 'llama3',
      factor: positive(metadata, key('scaling.factor')),
      lowFrequencyFactor,
      highFrequencyFactor,
      originalContextLength: bounded(metadata, key('scaling.original_context_length'), MAX_CONTEXT, 8192),
    }
  }
  throw new ModelError('unsupported', `${key('scaling.type')} ${shown(kind)} is not supported, only none, linear and llama3`)
}

function bounded(metadata: GgufMetadata, key: string, most: number, fallback?: number): number {
  const value = required(metadata.uint(key) ?? fallback, key)
  if (value < 1 || value > most) throw new ModelError('invalid_model', `metadata key ${key}: expected 1 to ${most}, got ${value}`)
  return value
}

function positive(metadata: GgufMetadata, key: string, fallback?: number): number {
  const value = required(metadata.float(key) ?? fallback, key)
  if (!(value > 0)) throw new ModelError('invalid_model', `metadata key ${key}: expected a positive number, got ${value}`)
  return value
}

/** Sum of all values of all tensors. */
export function countParameters(gguf: Gguf): number {
  let total = 0
  for (const tensor of gguf.tensors.values()) total += tensor.values
  return total
}
