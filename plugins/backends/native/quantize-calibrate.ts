/** Runs a text through a model and says how large each matrix's inputs were. */
import { CpuEngine } from './engine.ts'
import type { Gguf } from './gguf.ts'
import type { Model } from './gguf-model.ts'
import { forFile, ModelError } from './model-error.ts'
import { Tokenizer } from './tokenizer/tokenizer.ts'

/** Beyond this more text changes the means little. */
const MAX_TOKENS = 8192

/**
 * Mean square of each input column, by the name of the matrix that multiplies it.
 * @throws ModelError `unsupported` without the native engine, `invalid_model` when the text is too short
 */
export async function columnEnergies(gguf: Gguf, { tensors }: Model, text: string, signal: AbortSignal): Promise<ReadonlyMap<string, Float32Array>> {
  if (!CpuEngine.available()) throw new ModelError('unsupported', 'calibration needs the native engine, which has not been built here (`flyball build-native` does)')
  const tokenizer = forFile(gguf.path, () => new Tokenizer(gguf.metadata))
  const tokens = tokenizer.encode(text, { addSpecial: false }).slice(0, MAX_TOKENS)
  if (tokens.length < 2) throw new ModelError('invalid_model', 'the calibration text is too short')
  const engine = await CpuEngine.open(gguf.path, { gguf, signal, collectEnergies: true })
  try {
    for (let start = 0; start < tokens.length; start += engine.info.contextLength) {
      const chunk = tokens.slice(start, start + engine.info.contextLength)
      if (chunk.length >= 2) await engine.score(chunk, {}, signal)
    }
    const energies = engine.energies()
    const named = new Map<string, Float32Array>()
    const at = (slot: number): Float32Array => {
      const values = energies[slot] as Float32Array
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length
      // a little of the mean, so that no column is free to be wrong
      return values.map((value) => (mean === 0 ? 1 : value + mean * 0.05))
    }
    tensors.blocks.forEach((block, index) => {
      for (const { name } of [block.query, block.key, block.value]) named.set(name, at(index * 4))
      named.set(block.attentionOutput.name, at(index * 4 + 1))
      for (const { name } of [block.gate, block.up]) named.set(name, at(index * 4 + 2))
      named.set(block.down.name, at(index * 4 + 3))
    })
    // an embedding that is the output too is looked up by rows as well: its columns stay alike
    if (tensors.output !== tensors.embedding) named.set(tensors.output.name, at(tensors.blocks.length * 4))
    return named
  } finally {
    await engine.close()
  }
}
