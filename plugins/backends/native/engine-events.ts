/** Takes the C++ engine's event packets apart, one packet per step, and hands each caller its own. */
import { EVENT, FINISH } from './engine-addon.ts'
import { failed } from './engine-checks.ts'
import type { GenerateStep, TokenLogprobs } from './engine-contract.ts'
import type { Deferred } from './deferred.ts'
import type { StepQueue } from './step-queue.ts'

interface Generating {
  readonly queue: StepQueue
  readonly stopStrings: readonly string[]
  readonly logprobs: boolean
  /** For stop strings that only the decoded text can hold: the one that this token completes. Whoever gets one cancels. */
  readonly watch?: ((token: number) => string | undefined) | undefined
  /** Called once when the engine is done with it. */
  readonly release: () => void
}

interface Computing {
  readonly promise: Deferred<Float32Array>
  readonly release: () => void
}

type Step = { -readonly [K in keyof GenerateStep]: GenerateStep[K] } & { tokens: number[] }

const bits = new Int32Array(1)
const float = new Float32Array(bits.buffer)
function toFloat(word: number): number {
  bits[0] = word
  return float[0] as number
}

export class EngineEvents {
  /** Told when the first request comes and when the last one goes. */
  onBusy: (busy: boolean) => void = () => {}
  /** Capped by the engine's maxSequences + maxWaiting. */
  readonly #generating = new Map<number, Generating>()
  readonly #computing = new Map<number, Computing>()

  get size(): number {
    return this.#generating.size + this.#computing.size
  }

  generate(id: number, work: Generating): void {
    this.#generating.set(id, work)
    if (this.size === 1) this.onBusy(true)
  }

  values(id: number, work: Computing): void {
    this.#computing.set(id, work)
    if (this.size === 1) this.onBusy(true)
  }

  /** False when nobody waits for it any more. */
  forget(id: number): boolean {
    const work = this.#generating.get(id) ?? this.#computing.get(id)
    if (work === undefined) return false
    this.#generating.delete(id)
    this.#computing.delete(id)
    work.release()
    if (this.size === 0) this.onBusy(false)
    return true
  }

  failAll(error: Error): void {
    for (const [id, { queue }] of [...this.#generating]) {
      this.forget(id)
      queue.fail(error)
    }
    for (const [id, { promise }] of [...this.#computing]) {
      this.forget(id)
      promise.reject(error)
    }
  }

  receive(words: Int32Array): void {
    /** Of this packet; at most one per running sequence. */
    const steps = new Map<number, Step>()
    const stepOf = (id: number): Step => {
      const step = steps.get(id) ?? { tokens: [] }
      steps.set(id, step)
      return step
    }
    let at = 0
    const next = (): number => words[at++] as number
    while (at < words.length) {
      const event = next()
      const id = next()
      if (event === EVENT.first) {
        const step = stepOf(id)
        step.cachedPromptTokens = next()
        step.queueMs = next() / 1000
        step.prefillMs = next() / 1000
      } else if (event === EVENT.token) {
        const step = stepOf(id)
        const token = next()
        step.tokens.push(token)
        const stop = this.#generating.get(id)?.watch?.(token)
        if (stop !== undefined) {
          step.finish = 'stop'
          step.stopString = stop
        }
        const logprob = toFloat(next())
        const top: { token: number; logprob: number }[] = []
        for (let left = next(); left > 0; left--) top.push({ token: next(), logprob: toFloat(next()) })
        if (this.#generating.get(id)?.logprobs) step.logprobs = [...(step.logprobs ?? []), { logprob, top } satisfies TokenLogprobs]
      } else if (event === EVENT.floats) {
        const count = next()
        const values = new Float32Array(count)
        for (let index = 0; index < count; index++) values[index] = toFloat(next())
        const work = this.#computing.get(id)
        this.forget(id)
        work?.promise.resolve(values)
      } else this.#finish(id, next(), next(), stepOf)
    }
    for (const [id, step] of steps) {
      const queue = this.#generating.get(id)?.queue
      if (step.finish !== undefined) this.forget(id)
      queue?.push(step)
    }
  }

  #finish(id: number, why: number, stopIndex: number, stepOf: (id: number) => Step): void {
    if (why === FINISH.failed) {
      const generating = this.#generating.get(id)
      const computing = this.#computing.get(id)
      this.forget(id)
      const error = failed('it ran out of memory for keys and values, or computed numbers that are not finite')
      generating?.queue.fail(error)
      computing?.promise.reject(error)
    } else if (why !== FINISH.done) {
      const step = stepOf(id)
      if (step.finish !== undefined) return
      step.finish = why === FINISH.stop ? 'stop' : 'length'
      const stop = stopIndex < 0 ? undefined : this.#generating.get(id)?.stopStrings.filter((text) => text !== '')[stopIndex]
      if (stop !== undefined) step.stopString = stop
    }
  }
}
