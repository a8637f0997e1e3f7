/**
 * What the native backend asks of an engine, whoever computes: the TypeScript reference or the C++ one. Tokens in,
 * tokens out; text, templates and the wire are the backend's business.
 */
import type { ModelConfig } from './gguf-model.ts'

/** Applied in this order: repetition penalty, temperature, top-k, top-p, min-p. */
export interface SamplingParameters {
  /** 0 is greedy: the most likely token, whatever the other parameters say but for the repetition penalty. */
  readonly temperature: number
  /** Keep the k most likely tokens; 0 keeps all. */
  readonly topK: number
  /** Keep the fewest tokens whose probabilities sum to this; 1 keeps all. */
  readonly topP: number
  /** Drop tokens less likely than this share of the most likely one; 0 keeps all. */
  readonly minP: number
  /** Divides positive and multiplies negative logits of tokens among the last `REPETITION_WINDOW`; 1 is off. */
  readonly repetitionPenalty: number
  /** Same seed, same request, same engine: same tokens. */
  readonly seed: number
}

export interface GenerateRequest {
  /** At least one. */
  readonly promptTokens: readonly number[] | Int32Array
  readonly maxTokens: number
  readonly sampling: SamplingParameters
  /** Generation ends before any of these is emitted (end-of-turn tokens). */
  readonly stopTokens: readonly number[]
  /** Generation ends once the decoded text holds one of these; at most `MAX_STOP_STRINGS`. */
  readonly stopStrings: readonly string[]
  /** How many alternatives to report beside each token's log probability; undefined reports none at all. */
  readonly logprobs?: number
  /**
   * Position p attends to j when j > p - window, or j < sinks. Undefined is the model's own window, if any; a wider
   * one than the model's has no effect.
   */
  readonly attentionWindow?: number
  /** First positions that stay in sight of a window. Default `ATTENTION_SINKS` with `attentionWindow`, else 0. */
  readonly attentionSinks?: number
  /** Larger goes first where sequences wait. */
  readonly priority?: number
  /** Requests may share cached prefixes only within the same space, such as a tenant; undefined shares with none. */
  readonly cacheSpace?: string
}

export interface TokenLogprobs {
  /** Natural logarithm, of the distribution before temperature and filters. */
  readonly logprob: number
  readonly top: readonly { readonly token: number; readonly logprob: number }[]
}

export interface GenerateStep {
  /** Freshly generated, in order; may be empty on the last step. */
  readonly tokens: readonly number[]
  /** One per token where asked for. */
  readonly logprobs?: readonly TokenLogprobs[]
  /**
   * Set on the last step. `stop`: a stop token (not emitted) or a stop string; `length`: `maxTokens` or the context is full.
   */
  readonly finish?: 'stop' | 'length'
  /** The stop string that ended it; the decoded text holds it, the reader cuts it off. */
  readonly stopString?: string
  /** On the first step: how many prompt tokens came out of the prefix cache instead of being computed. */
  readonly cachedPromptTokens?: number
  /** On the first step: milliseconds in the engine's queue, then computing the prompt. */
  readonly queueMs?: number
  readonly prefillMs?: number
}

export interface EngineStats {
  readonly running: number
  readonly waiting: number
  /** Sequences at once, and the cap on it. */
  readonly maxSequences: number
  readonly steps: number
  readonly promptTokens: number
  readonly cachedPromptTokens: number
  readonly generatedTokens: number
  readonly preemptions: number
  /** Tokens that the KV memory holds and can hold. */
  readonly kvTokens: number
  readonly kvCapacityTokens: number
}

export interface EngineInfo {
  /** `reference` or `cpu`, and the kernels in use. */
  readonly name: string
  readonly config: ModelConfig
  /** Tokens of prompt and output together in one sequence. */
  readonly contextLength: number
  readonly parameters: number
}

export type Pooling = 'mean' | 'last'

export interface NativeEngine {
  readonly info: EngineInfo
  /**
   * Starts at once, not at the first read. Leaving the loop or aborting frees the sequence within one step.
   * @throws FlyballError `invalid_request` (does not fit), `overloaded` (the waiting line is full), `cancelled`,
   *   `backend_failed` (the engine crashed), `draining` (closed)
   */
  generate(request: GenerateRequest, signal: AbortSignal): AsyncIterable<GenerateStep>
  /** The last hidden state after the final norm, pooled over the tokens; not normalised to unit length. */
  embed(tokens: readonly number[] | Int32Array, pooling: Pooling, signal: AbortSignal): Promise<Float32Array>
  stats(): EngineStats
  /** Fails what runs with `draining`, then frees threads and memory. Safe to call twice. */
  close(): Promise<void>
}

/** How far back the repetition penalty looks, in tokens of prompt and output. */
export const REPETITION_WINDOW = 64
/** The OpenAI API allows 4; other clients send a few more. */
export const MAX_STOP_STRINGS = 16
/** The OpenAI API's limit for `top_logprobs`. */
export const MAX_TOP_LOGPROBS = 20

/** Enough to keep a windowed model stable (StreamingLLM, Xiao et al. 2023). */
export const ATTENTION_SINKS = 4

export const GREEDY: SamplingParameters = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 }
