/** From a validated model to the numbers that the C++ engine loads it by. */
import type { AddonSpec } from './engine-addon.ts'
import type { Gguf, GgufTensor } from './gguf.ts'
import { TensorReader } from './gguf-dequantize.ts'
import type { Model } from './gguf-model.ts'
import { tensorType } from './gguf-types.ts'
import { ropeFrequencies } from './rope.ts'
import type { Tokenizer } from './tokenizer/tokenizer.ts'

export type ModelSpec = Omit<AddonSpec, 'isa' | 'threads' | 'spinMicros' | 'kvBytes' | 'kvType' | 'expand' | 'collect' | 'maxSequences' | 'tokensPerStep'>

export function modelSpec(gguf: Gguf, { config, tensors }: Model, tokenizer: Tokenizer): ModelSpec {
  const table: (GgufTensor | undefined)[] = [tensors.embedding, tensors.outputNorm, tensors.output === tensors.embedding ? undefined : tensors.output]
  // the order of LayerRefs in kernels/model.h
  for (const block of tensors.blocks) {
    table.push(
      block.attentionNorm, block.query, block.key, block.value, block.queryBias, block.keyBias, block.valueBias,
      block.attentionOutput, block.attentionOutputBias, block.feedForwardNorm, block.gate, block.up, block.down,
    )
  }
  return {
    path: gguf.path,
    vocabulary: config.vocabularySize,
    context: config.contextLength,
    dim: config.embeddingLength,
    layers: config.blockCount,
    ffn: config.feedForwardLength,
    heads: config.headCount,
    kvHeads: config.headCountKv,
    headDim: config.headDim,
    ropeDims: config.ropeDimensions,
    ropeAdjacent: config.ropeAdjacent,
    eps: config.normEpsilon,
    window: config.slidingWindow ?? 0,
    ropeFrequencies: Float64Array.from(ropeFrequencies(config, readFactors(gguf, tensors.ropeFactors))),
    tensors: Float64Array.from(table.flatMap((tensor) => (tensor === undefined ? [-1, 0, 0, 0, 0] : [tensorType(tensor.type).id, tensor.offset, tensor.bytes, tensor.shape[0] ?? 1, tensor.shape[1] ?? 1]))),
    ...tokenTexts(tokenizer, config.vocabularySize),
  }
}

function readFactors(gguf: Gguf, tensor: GgufTensor | undefined): Float32Array | undefined {
  if (tensor === undefined) return undefined
  const reader = new TensorReader(gguf)
  try {
    return reader.read(tensor)
  } finally {
    reader.close()
  }
}

/** The bytes of every token's text, one after the other: the engine matches stop strings on them. */
function tokenTexts(tokenizer: Tokenizer, vocabulary: number): { tokenOffsets: Uint32Array; tokenBytes: Uint8Array } {
  const known = Math.min(vocabulary, tokenizer.vocabularySize)
  const texts = Array.from({ length: vocabulary }, (_, token) => (token < known ? tokenizer.bytes(token) : new Uint8Array(0)))
  const tokenOffsets = new Uint32Array(vocabulary + 1)
  for (let token = 0; token < vocabulary; token++) tokenOffsets[token + 1] = (tokenOffsets[token] as number) + (texts[token] as Uint8Array).length
  const tokenBytes = new Uint8Array(tokenOffsets[vocabulary] as number)
  texts.forEach((text, token) => tokenBytes.set(text, tokenOffsets[token]))
  return { tokenOffsets, tokenBytes }
}
