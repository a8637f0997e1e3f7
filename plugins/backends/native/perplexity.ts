/** How well a model predicts a text; the measure for quantization and attention windows. */
import { ATTENTION_SINKS } from './engine-contract.ts'
import { CpuEngine } from './engine.ts'
import { readGguf } from './gguf.ts'
import { forFile, ModelError } from './model-error.ts'
import { ReferenceModel } from './reference.ts'
import type { AttentionPrecision } from './reference.ts'
import { logprobsOf } from './sampling.ts'
import { Tokenizer } from './tokenizer/tokenizer.ts'

export interface PerplexityOptions {
  readonly model: string
  readonly text: string | Uint8Array
  /** Attend to this many latest positions and the first `sinks`; undefined is the model's own window. */
  readonly window?: number
  /** Default `ATTENTION_SINKS` with a window. */
  readonly sinks?: number
  readonly precision?: AttentionPrecision
}

export interface PerplexityResult {
  /** exp of the mean negative log probability of each token, given those before it. */
  readonly perplexity: number
  /** Natural logarithm; the mean over `tokens`. */
  readonly negativeLogLikelihood: number
  /** Tokens predicted. */
  readonly tokens: number
  /** Stretches of at most the model's context, each read from scratch. */
  readonly chunks: number
}

/**
 * Runs on this thread, in the TypeScript engine: for the command line.
 * @throws ModelError for the file, or when the text has nothing to predict
 */
export function runPerplexity(options: PerplexityOptions): PerplexityResult {
  const gguf = readGguf(options.model)
  const { model, tokenizer } = forFile(gguf.path, () => ({ model: new ReferenceModel(gguf, options.precision), tokenizer: new Tokenizer(gguf.metadata) }))
  const text = typeof options.text === 'string' ? options.text : new TextDecoder('utf-8', { ignoreBOM: true }).decode(options.text)
  const tokens = tokenizer.encode(text, { addSpecial: false })
  const { contextLength } = model.config
  const lead = tokenizer.addBos ? [tokenizer.bos as number] : []
  const perChunk = contextLength - lead.length
  const { window, sinks = window === undefined ? 0 : ATTENTION_SINKS } = options

  let sum = 0
  let predicted = 0
  let chunks = 0
  for (let start = 0; start < tokens.length; start += perChunk) {
    const chunk = [...lead, ...tokens.slice(start, start + perChunk)]
    if (chunk.length < 2) break
    const sequence = model.sequence(chunk.length, window, sinks)
    for (let position = 0; position + 1 < chunk.length; position++) {
      const logits = model.forward(sequence, chunk[position] as number, position)
      sum -= logprobsOf(logits, chunk[position + 1] as number, 0).logprob
      predicted++
    }
    chunks++
  }
  if (predicted === 0) throw new ModelError('invalid_model', 'the text has too few tokens to predict one from another')
  const negativeLogLikelihood = sum / predicted
  return { perplexity: Math.exp(negativeLogLikelihood), negativeLogLikelihood, tokens: predicted, chunks }
}

/**
 * The same on the C++ engine where it has been built, else as `runPerplexity`. The engine's context may be shorter than
 * the model's where key-value memory is: chunks then are too.
 * @throws as `runPerplexity`; the signal's reason when aborted
 */
export async function measurePerplexity(options: PerplexityOptions, signal: AbortSignal = new AbortController().signal): Promise<PerplexityResult> {
  if (!CpuEngine.available() || options.precision !== undefined) return runPerplexity(options)
  const gguf = readGguf(options.model)
  const tokenizer = forFile(gguf.path, () => new Tokenizer(gguf.metadata))
  const text = typeof options.text === 'string' ? options.text : new TextDecoder('utf-8', { ignoreBOM: true }).decode(options.text)
  const tokens = tokenizer.encode(text, { addSpecial: false })
  const lead = tokenizer.addBos ? [tokenizer.bos as number] : []
  const engine = await CpuEngine.open(options.model, { gguf, signal })
  try {
    const { window, sinks = window === undefined ? 0 : ATTENTION_SINKS } = options
    const attention = window === undefined ? {} : { attentionWindow: window, attentionSinks: sinks }
    const perChunk = engine.info.contextLength - lead.length
    let sum = 0
    let predicted = 0
    let chunks = 0
    for (let start = 0; start < tokens.length; start += perChunk) {
      const chunk = [...lead, ...tokens.slice(start, start + perChunk)]
      if (chunk.length < 2) break
      for (const logprob of await engine.score(chunk, attention, signal)) sum -= logprob
      predicted += chunk.length - 1
      chunks++
    }
    if (predicted === 0) throw new ModelError('invalid_model', 'the text has too few tokens to predict one from another')
    const negativeLogLikelihood = sum / predicted
    return { perplexity: Math.exp(negativeLogLikelihood), negativeLogLikelihood, tokens: predicted, chunks }
  } finally {
    await engine.close()
  }
}
