/**
 * A Llama or Qwen 2 model in plain TypeScript: reads a GGUF file, turns every weight into 32-bit floats, computes one
 * token at a time. It is the oracle for the native engine and serves where there is none. Shapes are in comments;
 * a matrix [rows, columns] is stored row after row.
 */
import type { Gguf } from './gguf.ts'
import { TensorReader } from './gguf-dequantize.ts'
import { readModel } from './gguf-model.ts'
import type { Model, ModelConfig } from './gguf-model.ts'
import { ModelError } from './model-error.ts'
import { add, attend, attendHalf, multiply, rmsNorm, rotate, roundToHalf, siluTimes } from './reference-kernels.ts'
import { ropeFrequencies } from './rope.ts'

interface BlockWeights {
  readonly attentionNorm: Float32Array // [embedding]
  readonly query: Float32Array // [heads × headDim, embedding]
  readonly key: Float32Array // [headsKv × headDim, embedding]
  readonly value: Float32Array // [headsKv × headDim, embedding]
  readonly queryBias: Float32Array | undefined
  readonly keyBias: Float32Array | undefined
  readonly valueBias: Float32Array | undefined
  readonly attentionOutput: Float32Array // [embedding, heads × headDim]
  readonly attentionOutputBias: Float32Array | undefined
  readonly feedForwardNorm: Float32Array // [embedding]
  readonly gate: Float32Array // [feedForward, embedding]
  readonly up: Float32Array // [feedForward, embedding]
  readonly down: Float32Array // [embedding, feedForward]
}

/** Keys and values of one sequence, for positions up to its capacity. */
export interface ReferenceSequence {
  readonly capacity: number
  /** Per block: [capacity, headsKv × headDim]. */
  readonly keys: readonly Float32Array[]
  readonly values: readonly Float32Array[]
  /** Positions j > p - window and j < sinks are in sight of p. */
  readonly window: number
  readonly sinks: number
}

/**
 * How attention computes. `half`: as llama.cpp by default, keys and values in 16 bits, so that greedy outputs agree with
 * it even in near ties. `single`: 32 bits throughout.
 */
export type AttentionPrecision = 'half' | 'single'

/** 32-bit weights of a larger model would not fit; such models want the native engine. */
const MAX_WEIGHT_BYTES = 8 * 2 ** 30

export class ReferenceModel {
  readonly config: ModelConfig
  readonly #half: boolean
  readonly #embedding: Float32Array // [vocabulary, embedding]
  readonly #outputNorm: Float32Array // [embedding]
  readonly #output: Float32Array // [vocabulary, embedding]
  readonly #blocks: readonly BlockWeights[]
  readonly #frequencies: Float32Array // [ropeDimensions / 2]

  // scratch, so that a token allocates nothing
  readonly #cosines: Float32Array
  readonly #sines: Float32Array
  readonly #stream: Float32Array // [embedding]
  readonly #normed: Float32Array // [embedding]
  readonly #query: Float32Array // [heads × headDim]
  readonly #attended: Float32Array // [heads × headDim]
  readonly #projected: Float32Array // [embedding]
  readonly #gate: Float32Array // [feedForward]
  readonly #up: Float32Array // [feedForward]
  readonly #logits: Float32Array // [vocabulary]
  #scores = new Float32Array(0) // [capacity of the longest sequence so far]

  /** @throws ModelError */
  constructor(gguf: Gguf, precision: AttentionPrecision = 'half', model: Model = readModel(gguf)) {
    const { config, tensors } = model
    const bytes = [...gguf.tensors.values()].reduce((sum, tensor) => sum + tensor.values * 4, 0)
    if (bytes > MAX_WEIGHT_BYTES) {
      throw new ModelError('unsupported', `the TypeScript engine would need ${(bytes / 2 ** 30).toFixed(1)} GiB for the weights, its limit is ${MAX_WEIGHT_BYTES / 2 ** 30} GiB`)
    }
    this.config = config
    this.#half = precision === 'half'
    const reader = new TensorReader(gguf)
    try {
      this.#embedding = reader.read(tensors.embedding)
      this.#output = tensors.output === tensors.embedding ? this.#embedding : reader.read(tensors.output)
      this.#outputNorm = reader.read(tensors.outputNorm)
      this.#frequencies = ropeFrequencies(config, tensors.ropeFactors === undefined ? undefined : reader.read(tensors.ropeFactors))
      const read = <T>(value: T): Float32Array | undefined => (value === undefined ? undefined : reader.read(value as never))
      this.#blocks = tensors.blocks.map(
        (block) => Object.fromEntries(Object.entries(block).map(([role, tensor]) => [role, read(tensor)])) as unknown as BlockWeights,
      )
    } finally {
      reader.close()
    }
    const queryLength = config.headCount * config.headDim
    this.#cosines = new Float32Array(config.ropeDimensions / 2)
    this.#sines = new Float32Array(config.ropeDimensions / 2)
    this.#stream = new Float32Array(config.embeddingLength)
    this.#normed = new Float32Array(config.embeddingLength)
    this.#query = new Float32Array(queryLength)
    this.#attended = new Float32Array(queryLength)
    this.#projected = new Float32Array(config.embeddingLength)
    this.#gate = new Float32Array(config.feedForwardLength)
    this.#up = new Float32Array(config.feedForwardLength)
    this.#logits = new Float32Array(config.vocabularySize)
  }

  /** Room for `capacity` positions. A window narrower than the model's own takes its place. */
  sequence(capacity: number, window: number = Infinity, sinks = 0): ReferenceSequence {
    const { blockCount, headCountKv, headDim, slidingWindow = Infinity } = this.config
    const cache = (): Float32Array[] => Array.from({ length: blockCount }, () => new Float32Array(capacity * headCountKv * headDim))
    if (this.#scores.length < capacity) this.#scores = new Float32Array(capacity)
    return { capacity, keys: cache(), values: cache(), window: Math.min(window, slidingWindow), sinks }
  }

  /**
   * Runs one token through the model; its keys and values stay in the sequence.
   * @param position counts from 0 without gaps
   * @returns the hidden state after the final norm, [embedding]; overwritten by the next call
   */
  hidden(sequence: ReferenceSequence, token: number, position: number): Float32Array {
    const { config } = this
    const { embeddingLength, headCountKv, headDim, ropeAdjacent, normEpsilon } = config
    if (!(position < sequence.capacity)) throw new RangeError(`position ${position} is beyond the sequence's ${sequence.capacity}`)
    if (!(token >= 0 && token < config.vocabularySize)) throw new RangeError(`token ${token} is not in the vocabulary`)
    const stream = this.#stream
    const normed = this.#normed
    const query = this.#query
    const attended = this.#attended
    const projected = this.#projected
    const kvLength = headCountKv * headDim
    this.#turnTo(position)
    stream.set(this.#embedding.subarray(token * embeddingLength, (token + 1) * embeddingLength))

    for (let index = 0; index < this.#blocks.length; index++) {
      const block = this.#blocks[index] as BlockWeights
      const keys = sequence.keys[index] as Float32Array
      const values = sequence.values[index] as Float32Array
      const key = keys.subarray(position * kvLength, (position + 1) * kvLength)
      const value = values.subarray(position * kvLength, (position + 1) * kvLength)

      rmsNorm(normed, stream, block.attentionNorm, normEpsilon)
      multiply(query, block.query, normed, block.queryBias)
      multiply(key, block.key, normed, block.keyBias)
      multiply(value, block.value, normed, block.valueBias)
      rotate(query, headDim, this.#cosines, this.#sines, ropeAdjacent)
      rotate(key, headDim, this.#cosines, this.#sines, ropeAdjacent)
      if (this.#half) {
        roundToHalf(key)
        roundToHalf(value)
        attendHalf(attended, query, keys, values, config, position, sequence.window, sequence.sinks)
      } else attend(attended, query, keys, values, config, position, sequence.window, sequence.sinks, this.#scores)
      multiply(projected, block.attentionOutput, attended, block.attentionOutputBias)
      add(stream, projected)

      rmsNorm(normed, stream, block.feedForwardNorm, normEpsilon)
      multiply(this.#gate, block.gate, normed)
      multiply(this.#up, block.up, normed)
      siluTimes(this.#gate, this.#up)
      multiply(projected, block.down, this.#gate)
      add(stream, projected)
    }
    rmsNorm(normed, stream, this.#outputNorm, normEpsilon)
    return normed
  }

  /** As `hidden`, then what the model expects next: logits, [vocabulary]; overwritten by the next call. */
  forward(sequence: ReferenceSequence, token: number, position: number): Float32Array {
    multiply(this.#logits, this.#output, this.hidden(sequence, token, position))
    return this.#logits
  }

  #turnTo(position: number): void {
    for (let pair = 0; pair < this.#frequencies.length; pair++) {
      const angle = position * (this.#frequencies[pair] as number)
      this.#cosines[pair] = Math.cos(angle)
      this.#sines[pair] = Math.sin(angle)
    }
  }
}
