/** How well a model file predicts a text: on the C++ engine where it has been built, else in TypeScript. */
import { CpuEngine } from './engine.ts'
import { readGguf } from './gguf.ts'
import { forFile, ModelError } from './model-error.ts'
import { ReferenceModel } from './reference.ts'
import { largestIndex, logprobsOf } from './sampling.ts'
import { Tokenizer } from './tokenizer/tokenizer.ts'

export interface Measured {
  /** exp of the mean negative log probability of each token given those before it. */
  readonly perplexity: number
  /** Share of tokens that were the model's first choice. */
  readonly accuracy: number
  /** Tokens predicted. */
  readonly tokens: number
}

/** Enough for a steady figure, and minutes at worst for a small model in TypeScript. */
const MAX_TOKENS = 4096

/** @throws ModelError for the file, or when the text has nothing to predict */
export async function measureModel(path: string, text: string, signal: AbortSignal): Promise<Measured> {
  const gguf = readGguf(path)
  const tokenizer = forFile(path, () => new Tokenizer(gguf.metadata))
  const tokens = tokenizer.encode(text, { addSpecial: false }).slice(0, MAX_TOKENS)
  const lead = tokenizer.addBos && tokenizer.bos !== undefined ? [tokenizer.bos] : []
  const engine = CpuEngine.available() ? await CpuEngine.open(path, { gguf, signal }) : undefined
  const model = engine === undefined ? forFile(path, () => new ReferenceModel(gguf)) : undefined
  const config = engine?.info.config ?? (model as ReferenceModel).config
  const contextLength = engine?.info.contextLength ?? config.contextLength
  const sum = { logprob: 0, hits: 0, tokens: 0 }
  try {
    for (let start = 0; start < tokens.length; start += contextLength - lead.length) {
      const chunk = [...lead, ...tokens.slice(start, start + contextLength - lead.length)]
      if (chunk.length < 2) break
      const { logprobs, hits } = engine === undefined ? inTypeScript(model as ReferenceModel, chunk) : await engine.scoreWithHits(chunk, {}, signal)
      for (let i = 0; i < logprobs.length; i++) {
        sum.logprob += logprobs[i] as number
        sum.hits += hits[i] as number
      }
      sum.tokens += logprobs.length
    }
  } finally {
    await engine?.close()
  }
  if (sum.tokens === 0) throw new ModelError('invalid_model', 'the text has too few tokens to predict one from another')
  return { perplexity: Math.exp(-sum.logprob / sum.tokens), accuracy: sum.hits / sum.tokens, tokens: sum.tokens }
}

function inTypeScript(model: ReferenceModel, chunk: readonly number[]): { logprobs: number[]; hits: number[] } {
  const sequence = model.sequence(chunk.length)
  const logprobs: number[] = []
  const hits: number[] = []
  for (let position = 0; position + 1 < chunk.length; position++) {
    const logits = model.forward(sequence, chunk[position] as number, position)
    const next = chunk[position + 1] as number
    logprobs.push(logprobsOf(logits, next, 0).logprob)
    hits.push(largestIndex(logits) === next ? 1 : 0)
  }
  return { logprobs, hits }
}
