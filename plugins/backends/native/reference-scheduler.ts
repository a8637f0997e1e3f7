/**
 * Runs several sequences on one `ReferenceModel`, one after the other, a little of each per round. Lives in the worker,
 * but knows nothing of threads: a round in, results out.
 */
import { ATTENTION_SINKS } from './engine-contract.ts'
import type { GenerateRequest, GenerateStep, Pooling, TokenLogprobs } from './engine-contract.ts'
import type { ReferenceModel, ReferenceSequence } from './reference.ts'
import { logprobsOf, Sampler } from './sampling.ts'
import { StopStrings } from './stop-strings.ts'
import type { StreamDecoder, Tokenizer } from './tokenizer/tokenizer.ts'

/** Prompt tokens of one sequence per round: long enough to be quick, short enough not to hold up the others' tokens. */
const PROMPT_TOKENS_PER_ROUND = 16

export type Job =
  | { readonly kind: 'generate'; readonly id: number; readonly request: GenerateRequest }
  | { readonly kind: 'embed'; readonly id: number; readonly tokens: ArrayLike<number>; readonly pooling: Pooling }

export type Result =
  | { readonly kind: 'started'; readonly id: number }
  | { readonly kind: 'step'; readonly id: number; readonly step: GenerateStep }
  | { readonly kind: 'embedding'; readonly id: number; readonly values: Float32Array }
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }

interface Running {
  readonly job: Job
  readonly prompt: ArrayLike<number>
  readonly sequence: ReferenceSequence
  readonly generation: Generation | undefined
  position: number
  /** Generated but not yet run through the model. */
  pending: number | undefined
  readonly sum: Float64Array | undefined
}

interface Generation {
  readonly request: GenerateRequest
  readonly sampler: Sampler
  readonly stops: StopStrings
  readonly decoder: StreamDecoder
  generated: number
}

export class ReferenceScheduler {
  readonly #model: ReferenceModel
  readonly #tokenizer: Tokenizer
  readonly #maxSequences: number
  /** Highest priority first, then oldest. The host caps how many wait. */
  readonly #waiting: Job[] = []
  #running: Running[] = []
  /** Forward rounds so far. */
  steps = 0

  constructor(model: ReferenceModel, tokenizer: Tokenizer, maxSequences: number) {
    this.#model = model
    this.#tokenizer = tokenizer
    this.#maxSequences = maxSequences
  }

  get busy(): boolean {
    return this.#waiting.length > 0 || this.#running.length > 0
  }

  get kvTokens(): number {
    return this.#running.reduce((sum, { position }) => sum + position, 0)
  }

  add(job: Job): void {
    const priority = priorityOf(job)
    const at = this.#waiting.findIndex((other) => priorityOf(other) < priority)
    this.#waiting.splice(at < 0 ? this.#waiting.length : at, 0, job)
  }

  /** Forgets the job, running or waiting; its memory is free at once. */
  cancel(id: number): void {
    const waiting = this.#waiting.findIndex((job) => job.id === id)
    if (waiting >= 0) this.#waiting.splice(waiting, 1)
    this.#running = this.#running.filter(({ job }) => job.id !== id)
  }

  /** A chunk of prompt or one new token for every running sequence. */
  round(): Result[] {
    const results: Result[] = []
    while (this.#running.length < this.#maxSequences) {
      const job = this.#waiting.shift()
      if (job === undefined) break
      try {
        this.#running.push(this.#start(job))
        results.push({ kind: 'started', id: job.id })
      } catch (error) {
        results.push(failure(job.id, error))
      }
    }
    if (this.#running.length > 0) this.steps++
    this.#running = this.#running.filter((running) => {
      try {
        return this.#advance(running, results)
      } catch (error) {
        results.push(failure(running.job.id, error))
        return false
      }
    })
    return results
  }

  #start(job: Job): Running {
    const { contextLength, embeddingLength, vocabularySize } = this.#model.config
    if (job.kind === 'embed') {
      const sequence = this.#model.sequence(job.tokens.length)
      const sum = job.pooling === 'mean' ? new Float64Array(embeddingLength) : undefined
      return { job, prompt: job.tokens, sequence, generation: undefined, position: 0, pending: undefined, sum }
    }
    const { request } = job
    const { promptTokens, maxTokens, attentionWindow, attentionSinks } = request
    const capacity = Math.min(contextLength, promptTokens.length + maxTokens)
    const sinks = attentionSinks ?? (attentionWindow === undefined ? 0 : ATTENTION_SINKS)
    const generation: Generation = {
      request,
      sampler: new Sampler(request.sampling, vocabularySize, promptTokens),
      stops: new StopStrings(request.stopStrings),
      decoder: this.#tokenizer.streamDecoder(),
      generated: 0,
    }
    return { job, prompt: promptTokens, sequence: this.#model.sequence(capacity, attentionWindow, sinks), generation, position: 0, pending: undefined, sum: undefined }
  }

  /** @returns whether there is more to do */
  #advance(running: Running, results: Result[]): boolean {
    const { prompt, sequence, generation } = running
    if (generation === undefined) return this.#embed(running, results)
    if (running.position < prompt.length - 1) {
      const end = Math.min(prompt.length - 1, running.position + PROMPT_TOKENS_PER_ROUND)
      for (; running.position < end; running.position++) this.#model.hidden(sequence, prompt[running.position] as number, running.position)
      return true
    }
    const logits = this.#model.forward(sequence, running.pending ?? (prompt[running.position] as number), running.position)
    running.position++
    const step = this.#sample(running, generation, logits)
    results.push({ kind: 'step', id: running.job.id, step })
    return step.finish === undefined
  }

  #sample(running: Running, generation: Generation, logits: Float32Array): GenerateStep {
    const { request, sampler, stops, decoder } = generation
    const first = generation.generated === 0 ? { cachedPromptTokens: 0 } : {}
    const token = sampler.next(logits)
    if (request.stopTokens.includes(token)) return { tokens: [], finish: 'stop', ...first }
    generation.generated++
    running.pending = token
    const logprobs: { logprobs?: readonly TokenLogprobs[] } = request.logprobs === undefined ? {} : { logprobs: [logprobsOf(logits, token, request.logprobs)] }
    const { stop } = stops.push(decoder.push(token))
    if (stop !== undefined) return { tokens: [token], ...logprobs, finish: 'stop', stopString: stop, ...first }
    const full = generation.generated >= request.maxTokens || running.position >= running.sequence.capacity
    return { tokens: [token], ...logprobs, ...(full ? { finish: 'length' as const } : {}), ...first }
  }

  #embed(running: Running, results: Result[]): boolean {
    const { prompt, sequence, sum } = running
    const end = Math.min(prompt.length, running.position + PROMPT_TOKENS_PER_ROUND)
    for (; running.position < end; running.position++) {
      const hidden = this.#model.hidden(sequence, prompt[running.position] as number, running.position)
      if (sum !== undefined) for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (hidden[i] as number)
      else if (running.position === prompt.length - 1) results.push({ kind: 'embedding', id: running.job.id, values: hidden.slice() })
    }
    if (running.position < prompt.length) return true
    if (sum !== undefined) results.push({ kind: 'embedding', id: running.job.id, values: Float32Array.from(sum, (value) => value / prompt.length) })
    return false
  }
}

function failure(id: number, error: unknown): Result {
  return { kind: 'failed', id, message: error instanceof Error ? error.message : String(error) }
}

function priorityOf(job: Job): number {
  return job.kind === 'generate' ? (job.request.priority ?? 0) : 0
}
