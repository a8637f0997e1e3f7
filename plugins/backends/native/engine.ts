/** The C++ engine behind the contract. Its own threads compute; this side checks requests and hands tokens on. */
import { FlyballError } from '../../../src/index.ts'
import { ISA_VARIABLE, loadAddon, REQUEST_KIND, STAT } from './engine-addon.ts'
import type { AddonCore, AddonRequest } from './engine-addon.ts'
import { cancelled, checkGenerate, checkPrompt, failed } from './engine-checks.ts'
import { ATTENTION_SINKS, GREEDY } from './engine-contract.ts'
import type { EngineInfo, EngineStats, GenerateRequest, GenerateStep, NativeEngine, Pooling, SamplingParameters } from './engine-contract.ts'
import { deferred } from './deferred.ts'
import { EngineEvents } from './engine-events.ts'
import { modelSpec } from './engine-spec.ts'
import { readGguf, type Gguf } from './gguf.ts'
import { countParameters, readModel } from './gguf-model.ts'
import { forFile, ModelError } from './model-error.ts'
import { StepQueue } from './step-queue.ts'
import { StopStrings } from './stop-strings.ts'
import { Tokenizer } from './tokenizer/tokenizer.ts'

const KV_TYPE = { f32: 0, bf16: 1, half: 2 } as const
export type KvPrecision = keyof typeof KV_TYPE

export interface CpuEngineOptions {
  /** Default: as many as there are physical cores that this process may use. */
  readonly threads?: number
  /** Kernels by name (`scalar`, `avx2`, `avx512vnni`, `avx512bf16`, `neon`). Default FLYBALL_NATIVE_ISA, else the best. */
  readonly isa?: string
  /** Sequences at once. Default 32. */
  readonly maxSequences?: number
  /** Tokens of one forward pass, prompts and decodes together. Default 512. */
  readonly tokensPerStep?: number
  /** Requests that wait beside them; more are refused. Default 1024. */
  readonly maxWaiting?: number
  /** Memory for keys and values, never exceeded. Default 512 MiB or what one full context needs, whichever is more; at most 2 GiB. */
  readonly kvBudgetBytes?: number
  /**
   * How keys and values are kept. `half`: with the numerics of llama.cpp's default attention, so that greedy outputs
   * agree with it even in near ties, at less speed in long contexts. Default: `half` where the weights are not
   * quantised, bfloat16 where they are.
   */
  readonly kvPrecision?: KvPrecision
  /** Turn all matrices into 32-bit floats on loading, to compare a quantised model with itself. Default false. */
  readonly expandWeights?: boolean
  /** Add up the squares of every matrix's inputs, for calibration; computes on one thread. Default false. */
  readonly collectEnergies?: boolean
  /** How long a thread that waits for the others spins before it sleeps. Default 30 µs. */
  readonly spinMicros?: number
  /** The file's header, where it has been read already. */
  readonly gguf?: Gguf
  readonly signal?: AbortSignal
}

/** Beyond the contract: what the backend's instruments read. */
export interface CpuEngineStats extends EngineStats {
  readonly tokensPerStep: number
  /** Of the last forward pass. */
  readonly batchTokens: number
  readonly stepMs: number
  /** Sum over all steps. */
  readonly busyMs: number
  /** Tokens kept for reuse by later requests. */
  readonly cachedTokens: number
}

type Attention = Pick<GenerateRequest, 'attentionWindow' | 'attentionSinks'>

const DEFAULT_MAX_SEQUENCES = 32
const DEFAULT_TOKENS_PER_STEP = 512
const DEFAULT_MAX_WAITING = 1024
const DEFAULT_SPIN_MICROS = 30
const MIB = 2 ** 20
const PAGE_TOKENS = 32

export class CpuEngine implements NativeEngine {
  readonly info: EngineInfo
  readonly threads: number
  readonly weightBytes: number
  readonly #core: AddonCore
  readonly #events: EngineEvents
  readonly #tokenizer: Tokenizer
  readonly #maxWaiting: number
  readonly #window: number
  #maxSequences: number
  #tokensPerStep: number
  #nextId = 1
  #closed: Promise<void> | undefined
  #lastStats: Float64Array

  /** Whether the addon has been built and loads on this machine. */
  static available(): boolean {
    return loadAddon() !== undefined
  }

  /**
   * Reads and repacks the weights off the JavaScript thread.
   * @throws ModelError `unsupported` without an addon (or for kernels that this CPU has not), or what the file is wrong in;
   *   the signal's reason when aborted
   */
  static async open(path: string, options: CpuEngineOptions = {}): Promise<CpuEngine> {
    options.signal?.throwIfAborted()
    const addon = loadAddon()
    if (addon === undefined) throw new ModelError('unsupported', 'the native engine has not been built here (`flyball build-native` does, with a C++17 compiler)')
    const gguf = options.gguf ?? readGguf(path)
    const model = forFile(path, () => readModel(gguf))
    const tokenizer = forFile(path, () => new Tokenizer(gguf.metadata))
    const { config } = model
    const precision = options.kvPrecision ?? (['F32', 'F16', 'BF16'].includes(model.tensors.blocks[0]?.query.type ?? '') ? 'half' : 'bf16')
    const bytesPerToken = 2 * config.blockCount * config.headCountKv * config.headDim * (precision === 'f32' ? 4 : 2)
    const events = new EngineEvents()
    let core: AddonCore
    try {
      core = await addon.load(
        {
          ...modelSpec(gguf, model, tokenizer),
          isa: options.isa ?? process.env[ISA_VARIABLE] ?? '',
          threads: options.threads ?? 0,
          spinMicros: options.spinMicros ?? DEFAULT_SPIN_MICROS,
          kvBytes: options.kvBudgetBytes ?? defaultBudget(config.contextLength * bytesPerToken),
          kvType: KV_TYPE[precision],
          expand: options.expandWeights ?? false,
          collect: options.collectEnergies ?? false,
          maxSequences: options.maxSequences ?? DEFAULT_MAX_SEQUENCES,
          tokensPerStep: options.tokensPerStep ?? DEFAULT_TOKENS_PER_STEP,
        },
        (words) => events.receive(words),
      )
    } catch (error) {
      throw new ModelError('unsupported', `${path}: ${error instanceof Error ? error.message : String(error)}`, error)
    }
    if (options.signal?.aborted) {
      await core.close()
      throw options.signal.reason as Error
    }
    return new CpuEngine(core, events, { name: '', config, contextLength: 0, parameters: countParameters(gguf) }, tokenizer, options)
  }

  private constructor(core: AddonCore, events: EngineEvents, info: EngineInfo, tokenizer: Tokenizer, options: CpuEngineOptions) {
    this.#tokenizer = tokenizer
    const { kernels, threads, contextLength, weightBytes } = core.describe()
    this.info = { ...info, name: `cpu (${kernels}, ${threads} ${threads === 1 ? 'thread' : 'threads'})`, contextLength }
    this.threads = threads
    this.weightBytes = weightBytes
    this.#core = core
    this.#events = events
    this.#window = info.config.slidingWindow ?? 0
    this.#maxSequences = options.maxSequences ?? DEFAULT_MAX_SEQUENCES
    this.#tokensPerStep = options.tokensPerStep ?? DEFAULT_TOKENS_PER_STEP
    this.#maxWaiting = options.maxWaiting ?? DEFAULT_MAX_WAITING
    this.#lastStats = core.stats()
    // an idle engine does not keep the process alive
    events.onBusy = (busy) => core.hold(busy)
  }

  generate(request: GenerateRequest, signal: AbortSignal): AsyncIterable<GenerateStep> {
    this.#checkRoom()
    checkPrompt(request.promptTokens, this.info.config.vocabularySize, this.info.contextLength, 1)
    checkGenerate(request)
    const id = this.#nextId++
    const queue = new StepQueue(() => this.#cancel(id))
    if (signal.aborted) {
      queue.fail(cancelled(signal))
      return queue
    }
    const release = this.#onAbort(id, signal, (error) => queue.fail(error))
    const { stopStrings, logprobs } = request
    const core = this.#core
    this.#events.generate(id, { queue, stopStrings, logprobs: logprobs !== undefined, release, watch: this.#watch(id, stopStrings) })
    core.submit({
      ...plain(id, REQUEST_KIND.generate, request.promptTokens, request.sampling),
      maxTokens: Math.min(request.maxTokens, this.info.contextLength),
      stopTokens: Int32Array.from(request.stopTokens),
      stopStrings: stopStrings.filter((stop) => stop !== ''),
      topLogprobs: logprobs ?? -1,
      ...this.#attention(request),
      priority: Math.trunc(request.priority ?? 0),
      cacheSpace: request.cacheSpace,
    })
    return queue
  }

  embed(tokens: readonly number[] | Int32Array, pooling: Pooling, signal: AbortSignal): Promise<Float32Array> {
    return this.#values(pooling === 'mean' ? REQUEST_KIND.embedMean : REQUEST_KIND.embedLast, tokens, {}, signal)
  }

  /**
   * Natural log probabilities of each token after the first, given those before it: one fewer than `tokens`.
   * @throws as `generate`
   */
  async score(tokens: readonly number[] | Int32Array, attention: Attention, signal: AbortSignal): Promise<Float32Array> {
    return (await this.scoreWithHits(tokens, attention, signal)).logprobs
  }

  /** The same, and for each of them 1 where it was the most likely token, else 0. */
  async scoreWithHits(tokens: readonly number[] | Int32Array, attention: Attention, signal: AbortSignal): Promise<{ readonly logprobs: Float32Array; readonly hits: Float32Array }> {
    if (tokens.length === 1) return { logprobs: new Float32Array(0), hits: new Float32Array(0) }
    const values = await this.#values(REQUEST_KIND.score, tokens, attention, signal)
    return { logprobs: values.slice(0, values.length / 2), hits: values.slice(values.length / 2) }
  }

  /** Of all computed so far: per layer four times (attention, its output, feed-forward, its output), then of the output matrix. */
  energies(): readonly Float32Array[] {
    return this.#core.energies()
  }

  stats(): CpuEngineStats {
    if (this.#closed === undefined) this.#lastStats = this.#core.stats()
    const at = (name: keyof typeof STAT): number => this.#lastStats[STAT[name]] as number
    return {
      running: at('running'),
      // those that the engine's thread has not seen yet wait too
      waiting: Math.max(at('waiting'), this.#events.size - at('running')),
      maxSequences: this.#maxSequences,
      steps: at('steps'),
      promptTokens: at('promptTokens'),
      cachedPromptTokens: at('cachedTokens'),
      generatedTokens: at('generatedTokens'),
      preemptions: at('preemptions'),
      kvTokens: at('kvPages') * PAGE_TOKENS,
      kvCapacityTokens: at('kvCapacityPages') * PAGE_TOKENS,
      tokensPerStep: this.#tokensPerStep,
      batchTokens: at('batchTokens'),
      stepMs: at('stepMs'),
      busyMs: at('busyMs'),
      cachedTokens: at('cachedPages') * PAGE_TOKENS,
    }
  }

  /** Takes effect with the next step; sequences that run already stay. Whole numbers, at least 1. */
  setLimits(limits: { readonly maxSequences?: number; readonly tokensPerStep?: number }): void {
    this.#maxSequences = limits.maxSequences ?? this.#maxSequences
    this.#tokensPerStep = limits.tokensPerStep ?? this.#tokensPerStep
    if (this.#closed === undefined) this.#core.setLimits(this.#maxSequences, this.#tokensPerStep)
  }

  /** Forgets all cached prefixes that no running sequence holds. */
  dropCache(): void {
    if (this.#closed === undefined) this.#core.dropCache()
  }

  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.stats()
      this.#closed = this.#core.close()
      this.#events.failAll(new FlyballError('draining'))
    }
    return this.#closed
  }

  async #values(kind: AddonRequest['kind'], tokens: readonly number[] | Int32Array, attention: Attention, signal: AbortSignal): Promise<Float32Array> {
    this.#checkRoom()
    checkPrompt(tokens, this.info.config.vocabularySize, this.info.contextLength, 0)
    if (signal.aborted) throw cancelled(signal)
    const id = this.#nextId++
    const promise = deferred<Float32Array>()
    const release = this.#onAbort(id, signal, promise.reject)
    this.#events.values(id, { promise, release })
    this.#core.submit({ ...plain(id, kind, tokens, GREEDY), ...this.#attention(attention) })
    return promise.promise
  }

  /** The engine compares bytes; a replacement character stands for bytes that it does not equal, so text is compared here. */
  #watch(id: number, stopStrings: readonly string[]): ((token: number) => string | undefined) | undefined {
    if (!stopStrings.some((stop) => stop.includes('\ufffd'))) return undefined
    const decoder = this.#tokenizer.streamDecoder()
    const stops = new StopStrings(stopStrings)
    return (token) => {
      const { stop } = stops.push(decoder.push(token))
      if (stop !== undefined) this.#core.cancel(id)
      return stop
    }
  }

  /** 0 is full attention; the narrower of the request's window and the model's own counts. */
  #attention({ attentionWindow, attentionSinks }: Attention): { window: number; sinks: number } {
    const asked = attentionWindow ?? Infinity
    const own = this.#window > 0 ? this.#window : Infinity
    const window = Math.min(asked, own)
    const sinks = attentionSinks ?? (attentionWindow === undefined ? 0 : ATTENTION_SINKS)
    if (window >= this.info.contextLength) return { window: 0, sinks: 0 }
    return { window, sinks: Math.min(sinks, this.info.contextLength) }
  }

  #onAbort(id: number, signal: AbortSignal, fail: (error: FlyballError) => void): () => void {
    const onAbort = (): void => {
      this.#cancel(id)
      fail(cancelled(signal))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    return () => signal.removeEventListener('abort', onAbort)
  }

  #cancel(id: number): void {
    if (this.#events.forget(id) && this.#closed === undefined) this.#core.cancel(id)
  }

  #checkRoom(): void {
    if (this.#closed !== undefined) throw new FlyballError('draining')
    if (this.#events.size >= this.#maxSequences + this.#maxWaiting) throw new FlyballError('overloaded', { reason: 'engine_queue_full' })
    if (this.#nextId >= 2 ** 31) throw failed('it has run out of numbers for requests')
  }
}

function plain(id: number, kind: AddonRequest['kind'], prompt: readonly number[] | Int32Array, sampling: SamplingParameters): AddonRequest {
  const { temperature, topP, minP, repetitionPenalty, topK, seed } = sampling
  return {
    id, kind, prompt: Int32Array.from(prompt), maxTokens: 0, stopTokens: new Int32Array(0), stopStrings: [], topLogprobs: -1, window: 0, sinks: 0, priority: 0,
    temperature, topP, minP, repetitionPenalty, topK: Math.min(topK, 2 ** 31 - 1), seed, cacheSpace: undefined,
  }
}

function defaultBudget(fullContextBytes: number): number {
  return Math.min(2048 * MIB, Math.max(512 * MIB, fullContextBytes))
}
