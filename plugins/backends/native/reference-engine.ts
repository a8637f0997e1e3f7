/** The TypeScript engine: a worker thread computes, this side only passes messages, so the event loop stays free. */
import { Worker, type WorkerOptions } from 'node:worker_threads'
import { FlyballError, systemClock, type Clock } from '../../../src/index.ts'
import { deferred } from './deferred.ts'
import type { Deferred } from './deferred.ts'
import { checkGenerate, checkPrompt } from './engine-checks.ts'
import type { EngineInfo, EngineStats, GenerateRequest, GenerateStep, NativeEngine, Pooling } from './engine-contract.ts'
import { readGguf } from './gguf.ts'
import type { Gguf } from './gguf.ts'
import { countParameters, readModel } from './gguf-model.ts'
import { forFile, ModelError } from './model-error.ts'
import type { AttentionPrecision } from './reference.ts'
import type { Result } from './reference-scheduler.ts'
import type { FromWorker, ToWorker, WorkerInput } from './reference-worker.ts'
import { StepQueue } from './step-queue.ts'

export interface ReferenceEngineOptions {
  readonly clock?: Clock
  /** Sequences that compute at once; each has a cache of keys and values. Default 8. */
  readonly maxSequences?: number
  /** Requests that wait beside them; more are refused. Default 1024. */
  readonly maxWaiting?: number
  /** Default `half`: greedy outputs as llama.cpp's. */
  readonly precision?: AttentionPrecision
  /** The file's header, where it has been read already. */
  readonly gguf?: Gguf
  readonly signal?: AbortSignal
  /** Starts the thread, for who supervises threads. */
  readonly startWorker?: (script: URL, options: WorkerOptions) => Worker
}

const DEFAULT_MAX_SEQUENCES = 8
const DEFAULT_MAX_WAITING = 1024

interface Generating {
  readonly kind: 'generate'
  readonly queue: StepQueue
  readonly promptTokens: number
  readonly sentMs: number
  startedMs: number | undefined
  first: boolean
}

interface Embedding {
  readonly kind: 'embed'
  readonly promise: Deferred<Float32Array>
  readonly promptTokens: number
  started: boolean
}

interface Active {
  readonly work: Generating | Embedding
  readonly release: () => void
}

export class ReferenceEngine implements NativeEngine {
  readonly info: EngineInfo
  readonly #worker: Worker
  readonly #clock: Clock
  readonly #maxSequences: number
  readonly #maxWaiting: number
  /** Capped by maxSequences + maxWaiting. */
  readonly #active = new Map<number, Active>()
  #nextId = 1
  /** Why nothing more is taken: closed, or the worker died. */
  #over: FlyballError | undefined
  #steps = 0
  #kvTokens = 0
  #promptTokens = 0
  #generatedTokens = 0

  /**
   * Starts the thread and loads the model.
   * @throws ModelError when the file cannot be run; the signal's reason when aborted first
   */
  static async open(path: string, options: ReferenceEngineOptions = {}): Promise<ReferenceEngine> {
    options.signal?.throwIfAborted()
    const gguf = options.gguf ?? readGguf(path)
    const { config } = forFile(path, () => readModel(gguf))
    const { maxSequences = DEFAULT_MAX_SEQUENCES, precision = 'half' } = options
    const input: WorkerInput = { path, precision, maxSequences }
    // beside this file: .ts when run from sources, .js when built
    const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'
    const { startWorker = (script, workerOptions) => new Worker(script, workerOptions) } = options
    const worker = startWorker(new URL(`./reference-worker${extension}`, import.meta.url), { workerData: input, name: 'flyball-reference' })
    await ready(worker, options.signal)
    const info: EngineInfo = { name: 'reference', config, contextLength: config.contextLength, parameters: countParameters(gguf) }
    return new ReferenceEngine(worker, info, options)
  }

  private constructor(worker: Worker, info: EngineInfo, options: ReferenceEngineOptions) {
    this.info = info
    this.#worker = worker
    this.#clock = options.clock ?? systemClock
    this.#maxSequences = options.maxSequences ?? DEFAULT_MAX_SEQUENCES
    this.#maxWaiting = options.maxWaiting ?? DEFAULT_MAX_WAITING
    worker.on('message', (message: FromWorker) => this.#receive(message))
    worker.on('error', (error: unknown) => this.#end(crashed(error instanceof Error ? error.message : String(error), error)))
    worker.on('exit', (code) => this.#end(crashed(`its thread ended with code ${code}`)))
    // an idle engine does not keep the process alive
    worker.unref()
  }

  generate(request: GenerateRequest, signal: AbortSignal): AsyncIterable<GenerateStep> {
    this.#check(request.promptTokens, 1)
    checkGenerate(request)
    const id = this.#nextId++
    const queue = new StepQueue(() => this.#cancel(id))
    if (signal.aborted) {
      queue.fail(cancelled(signal))
      return queue
    }
    const onAbort = (): void => {
      this.#cancel(id)
      queue.fail(cancelled(signal))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    this.#send(
      { kind: 'generate', id, request: { ...request, promptTokens: Int32Array.from(request.promptTokens) } },
      {
        work: { kind: 'generate', queue, promptTokens: request.promptTokens.length, sentMs: this.#clock.monoMs(), startedMs: undefined, first: true },
        release: () => signal.removeEventListener('abort', onAbort),
      },
    )
    return queue
  }

  async embed(tokens: readonly number[] | Int32Array, pooling: Pooling, signal: AbortSignal): Promise<Float32Array> {
    this.#check(tokens, 0)
    if (signal.aborted) throw cancelled(signal)
    const id = this.#nextId++
    const promise = deferred<Float32Array>()
    const onAbort = (): void => {
      this.#cancel(id)
      promise.reject(cancelled(signal))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    this.#send(
      { kind: 'embed', id, tokens: Int32Array.from(tokens), pooling },
      { work: { kind: 'embed', promise, promptTokens: tokens.length, started: false }, release: () => signal.removeEventListener('abort', onAbort) },
    )
    return promise.promise
  }

  stats(): EngineStats {
    let running = 0
    for (const { work } of this.#active.values()) if (work.kind === 'embed' ? work.started : work.startedMs !== undefined) running++
    return {
      running,
      waiting: this.#active.size - running,
      maxSequences: this.#maxSequences,
      steps: this.#steps,
      promptTokens: this.#promptTokens,
      cachedPromptTokens: 0,
      generatedTokens: this.#generatedTokens,
      preemptions: 0,
      kvTokens: this.#active.size === 0 ? 0 : this.#kvTokens,
      kvCapacityTokens: this.#maxSequences * this.info.contextLength,
    }
  }

  async close(): Promise<void> {
    this.#end(new FlyballError('draining'))
    await this.#worker.terminate()
  }

  #check(tokens: ArrayLike<number>, room: number): void {
    if (this.#over !== undefined) throw this.#over
    checkPrompt(tokens, this.info.config.vocabularySize, this.info.contextLength, room)
    if (this.#active.size >= this.#maxSequences + this.#maxWaiting) throw new FlyballError('overloaded', { reason: 'engine_queue_full' })
  }

  #send(message: ToWorker, active: Active): void {
    const id = message.id
    this.#active.set(id, active)
    if (this.#active.size === 1) this.#worker.ref()
    this.#worker.postMessage(message)
  }

  #forget(id: number): Active | undefined {
    const active = this.#active.get(id)
    if (active === undefined) return undefined
    this.#active.delete(id)
    active.release()
    if (this.#active.size === 0) this.#worker.unref()
    return active
  }

  #cancel(id: number): void {
    if (this.#forget(id) !== undefined) this.#worker.postMessage({ kind: 'cancel', id } satisfies ToWorker)
  }

  #receive(message: FromWorker): void {
    if (message.kind !== 'results') return
    this.#steps = message.steps
    this.#kvTokens = message.kvTokens
    for (const result of message.results) this.#settle(result)
  }

  #settle(result: Result): void {
    // gone when the caller has left meanwhile
    const work = this.#active.get(result.id)?.work
    if (work === undefined) return
    if (result.kind === 'started') {
      if (work.kind === 'embed') work.started = true
      else work.startedMs = this.#clock.monoMs()
    } else if (result.kind === 'failed') {
      this.#forget(result.id)
      const error = new FlyballError('backend_failed', { message: `The native engine failed: ${result.message}` })
      if (work.kind === 'embed') work.promise.reject(error)
      else work.queue.fail(error)
    } else if (result.kind === 'embedding' && work.kind === 'embed') {
      this.#promptTokens += work.promptTokens
      this.#forget(result.id)
      work.promise.resolve(result.values)
    } else if (result.kind === 'step' && work.kind === 'generate') this.#step(result.id, work, result.step)
  }

  #step(id: number, work: Generating, step: GenerateStep): void {
    this.#generatedTokens += step.tokens.length
    if (step.finish !== undefined) this.#forget(id)
    if (!work.first) return work.queue.push(step)
    work.first = false
    this.#promptTokens += work.promptTokens
    const startedMs = work.startedMs ?? work.sentMs
    work.queue.push({ ...step, queueMs: startedMs - work.sentMs, prefillMs: this.#clock.monoMs() - startedMs })
  }

  #end(error: FlyballError): void {
    this.#over ??= error
    for (const id of this.#active.keys()) {
      const work = this.#forget(id)?.work
      if (work?.kind === 'embed') work.promise.reject(error)
      else work?.queue.fail(error)
    }
  }
}

/** Resolves when the worker has loaded the model; ends the worker otherwise. */
async function ready(worker: Worker, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve, reject } = deferred<void>()
  const onMessage = (message: FromWorker): void => {
    if (message.kind === 'unusable') reject(new ModelError(message.code, message.message))
    else resolve()
  }
  const onError = (error: unknown): void => reject(crashed(error instanceof Error ? error.message : String(error), error))
  const onExit = (code: number): void => reject(crashed(`its thread ended with code ${code} while loading`))
  const onAbort = (): void => reject(signal?.reason as Error)
  worker.on('message', onMessage).on('error', onError).on('exit', onExit)
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    await promise
  } catch (error) {
    await worker.terminate()
    throw error
  } finally {
    worker.off('message', onMessage).off('error', onError).off('exit', onExit)
    signal?.removeEventListener('abort', onAbort)
  }
}

function cancelled(signal: AbortSignal): FlyballError {
  return new FlyballError('cancelled', { cause: signal.reason })
}

function crashed(how: string, cause?: unknown): FlyballError {
  return new FlyballError('backend_failed', { message: `The native engine stopped: ${how}.`, cause })
}
