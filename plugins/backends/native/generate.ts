/** What the command line does with one model file: generate, inspect, tokenize. Plain data in, plain data out. */
import { systemClock, type Clock } from '../../../src/index.ts'
import { ChatTemplate } from './chat-template.ts'
import { GREEDY } from './engine-contract.ts'
import type { NativeEngine, SamplingParameters, TokenLogprobs } from './engine-contract.ts'
import { readGguf } from './gguf.ts'
import type { Gguf } from './gguf.ts'
import type { GgufMetadata } from './gguf-metadata.ts'
import { countParameters, readModel } from './gguf-model.ts'
import { forFile, ModelError } from './model-error.ts'
import { openEngine } from './open-engine.ts'
import { StopStrings } from './stop-strings.ts'
import { Tokenizer } from './tokenizer/tokenizer.ts'

export interface GenerateOptions {
  /** Path of the GGUF file. */
  readonly model: string
  readonly prompt: string
  /** The prompt is a user's message, put into the model's chat template. Default false: plain text to go on with. */
  readonly chat?: boolean
  readonly maxTokens: number
  /** What is left out is greedy. */
  readonly sampling?: Partial<SamplingParameters>
  readonly stop?: readonly string[]
  readonly logprobs?: number
  readonly attentionWindow?: number
  readonly signal?: AbortSignal
  readonly clock?: Clock
  /** Called with each piece of text as it comes. */
  readonly onText?: (text: string) => void
  /** Opens the engine. Default: the best one at hand. */
  readonly open?: (path: string, options: { readonly clock: Clock; readonly gguf: Gguf; readonly signal?: AbortSignal }) => Promise<NativeEngine>
}

export interface GenerateResult {
  readonly model: string
  readonly engine: string
  readonly promptTokens: readonly number[]
  readonly tokens: readonly number[]
  /** Of the generated tokens; ends before a stop string. */
  readonly text: string
  readonly finishReason: 'stop' | 'length'
  readonly logprobs?: readonly TokenLogprobs[]
  readonly timings: {
    readonly loadMs: number
    readonly promptMs: number
    readonly generateMs: number
    /** After the first token; 0 when there was no second. */
    readonly tokensPerSecond: number
  }
}

/** @throws ModelError for the file, FlyballError for the request */
export async function runGenerate(options: GenerateOptions): Promise<GenerateResult> {
  const { clock = systemClock, signal = new AbortController().signal } = options
  const open = options.open ?? openEngine
  const startMs = clock.monoMs()
  const gguf = readGguf(options.model)
  const tokenizer = forFile(gguf.path, () => new Tokenizer(gguf.metadata))
  const promptTokens = options.chat
    ? forFile(gguf.path, () => new ChatTemplate(gguf.metadata, tokenizer)).encode({ messages: [{ role: 'user', content: options.prompt }], nowMs: clock.wallMs() })
    : tokenizer.encode(options.prompt)
  const engine = await open(options.model, { clock, gguf, signal })
  try {
    const loadedMs = clock.monoMs()
    let firstMs = loadedMs
    const decoder = tokenizer.streamDecoder()
    const stops = new StopStrings(options.stop ?? [])
    const tokens: number[] = []
    const logprobs: TokenLogprobs[] = []
    let text = ''
    const give = (piece: string): void => {
      text += piece
      if (piece !== '') options.onText?.(piece)
    }
    let finishReason: 'stop' | 'length' = 'length'
    const steps = engine.generate(
      {
        promptTokens,
        maxTokens: options.maxTokens,
        sampling: { ...GREEDY, ...options.sampling },
        stopTokens: [...tokenizer.endOfGeneration],
        stopStrings: options.stop ?? [],
        ...(options.logprobs === undefined ? {} : { logprobs: options.logprobs }),
        ...(options.attentionWindow === undefined ? {} : { attentionWindow: options.attentionWindow }),
      },
      signal,
    )
    for await (const step of steps) {
      if (tokens.length === 0) firstMs = clock.monoMs()
      tokens.push(...step.tokens)
      logprobs.push(...(step.logprobs ?? []))
      for (const token of step.tokens) give(stops.push(decoder.push(token)).text)
      if (step.finish === undefined) continue
      finishReason = step.finish
      if (step.stopString === undefined) give(stops.push(decoder.end()).text + stops.end())
    }
    const generateMs = clock.monoMs() - firstMs
    return {
      model: gguf.metadata.string('general.name') ?? options.model,
      engine: engine.info.name,
      promptTokens,
      tokens,
      text,
      finishReason,
      ...(options.logprobs === undefined ? {} : { logprobs }),
      timings: {
        loadMs: loadedMs - startMs,
        promptMs: firstMs - loadedMs,
        generateMs,
        tokensPerSecond: tokens.length < 2 || generateMs <= 0 ? 0 : ((tokens.length - 1) / generateMs) * 1000,
      },
    }
  } finally {
    await engine.close()
  }
}

const MAX_SHOWN_VALUE = 200

/**
 * What a GGUF file holds. A sound file that we cannot run is described too, with the reason in `runnable`.
 * @throws ModelError when the file is not sound
 */
export function runInspect(path: string): Record<string, unknown> {
  const gguf = readGguf(path)
  const byType: Record<string, { tensors: number; values: number; bytes: number }> = {}
  for (const { type, values, bytes } of gguf.tensors.values()) {
    const sum = (byType[type] ??= { tensors: 0, values: 0, bytes: 0 })
    sum.tensors++
    sum.values += values
    sum.bytes += bytes
  }
  const config = attempt(() => readModel(gguf).config)
  const tokenizer = attempt(() => new Tokenizer(gguf.metadata))
  return {
    file: path,
    bytes: gguf.fileBytes,
    version: gguf.version,
    alignment: gguf.alignment,
    dataOffset: gguf.dataOffset,
    hasData: gguf.hasData,
    runnable: config.error ?? tokenizer.error ?? true,
    parameters: countParameters(gguf),
    tensors: gguf.tensors.size,
    tensorsByType: byType,
    ...(config.value === undefined ? {} : { config: config.value, architecture: config.value.architecture, contextLength: config.value.contextLength }),
    ...(tokenizer.value === undefined ? {} : { tokenizer: describeTokenizer(tokenizer.value, gguf.metadata) }),
    metadata: describeMetadata(gguf.metadata),
  }
}

/**
 * @param special add BOS and EOS as the model wants them, and read control tokens in the text
 * @throws ModelError for the file
 */
export function runTokenize(options: { readonly model: string; readonly text: string | Uint8Array; readonly special?: boolean }): { tokens: number[] } {
  const { special = true } = options
  const gguf = readGguf(options.model)
  const tokenizer = forFile(gguf.path, () => new Tokenizer(gguf.metadata))
  const text = typeof options.text === 'string' ? options.text : new TextDecoder('utf-8', { ignoreBOM: true }).decode(options.text)
  return { tokens: tokenizer.encode(text, { addSpecial: special, parseSpecial: special }) }
}

function describeTokenizer(tokenizer: Tokenizer, metadata: GgufMetadata): Record<string, unknown> {
  const { kind, preTokenizer, vocabularySize, bos, eos, addBos, addEos, endOfGeneration } = tokenizer
  return { kind, preTokenizer, vocabularySize, bos, eos, addBos, addEos, endOfGeneration: [...endOfGeneration], chatTemplate: metadata.has('tokenizer.chat_template') }
}

function describeMetadata(metadata: GgufMetadata): Record<string, unknown> {
  const described: [string, unknown][] = []
  for (const [key, entry] of metadata.entries()) {
    if (entry.type === 'array') described.push([key, `${entry.value.length} × ${entry.of}`])
    else if (entry.type === 'string' && entry.value.length > MAX_SHOWN_VALUE) described.push([key, `${entry.value.slice(0, MAX_SHOWN_VALUE)}…`])
    // JSON has no 64-bit integers
    else described.push([key, typeof entry.value === 'bigint' ? String(entry.value) : entry.value])
  }
  return Object.fromEntries(described)
}

function attempt<T>(read: () => T): { readonly value?: T; readonly error?: string } {
  try {
    return { value: read() }
  } catch (error) {
    if (error instanceof ModelError) return { error: error.message }
    throw error
  }
}
