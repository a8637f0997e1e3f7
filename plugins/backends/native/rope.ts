/** Rotation frequencies of rotary position embeddings. */
import type { ModelConfig } from './gguf-model.ts'

/**
 * Angle per position of each rotated pair: base^(-2i/d), slowed as the model's scaling says.
 * @param factors the values of `rope_freqs.weight`, divisors; they replace scaling by formula
 * @returns [ropeDimensions / 2]
 */
export function ropeFrequencies(config: ModelConfig, factors?: Float32Array): Float32Array {
  const { ropeDimensions, ropeBase, ropeScaling } = config
  return Float32Array.from({ length: ropeDimensions / 2 }, (_, pair) => {
    const frequency = ropeBase ** ((-2 * pair) / ropeDimensions)
    if (ropeScaling.kind === 'linear') return frequency / ropeScaling.factor / (factors?.[pair] ?? 1)
    if (factors !== undefined) return frequency / (factors[pair] as number)
    if (ropeScaling.kind === 'none') return frequency
    const { factor, lowFrequencyFactor, highFrequencyFactor, originalContextLength } = ropeScaling
    // how often the pair turns within the context that the model was first trained with
    const turns = (originalContextLength * frequency) / (2 * Math.PI)
    const kept = Math.min(1, Math.max(0, (turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor)))
    return kept * frequency + (1 - kept) * (frequency / factor)
  })
}
