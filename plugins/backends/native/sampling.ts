/** Picks the next token from logits. */
import { REPETITION_WINDOW } from './engine-contract.ts'
import type { SamplingParameters, TokenLogprobs } from './engine-contract.ts'

/** Draws one sequence's tokens; holds its random state and recent tokens. */
export class Sampler {
  readonly #parameters: SamplingParameters
  readonly #random: () => number
  /** The last `REPETITION_WINDOW` tokens, oldest first. */
  readonly #recent: number[]
  readonly #scratch: Float32Array
  readonly #order: Uint32Array

  /** @param history prompt tokens, for the repetition penalty */
  constructor(parameters: SamplingParameters, vocabularySize: number, history: ArrayLike<number>) {
    this.#parameters = parameters
    this.#random = seeded(parameters.seed)
    this.#recent = Array.from(history).slice(-REPETITION_WINDOW)
    this.#scratch = new Float32Array(vocabularySize)
    this.#order = new Uint32Array(vocabularySize)
  }

  /** @throws Error when the logits are not finite: the model is broken */
  next(logits: Float32Array): number {
    const token = this.#pick(logits)
    if (this.#recent.push(token) > REPETITION_WINDOW) this.#recent.shift()
    return token
  }

  #pick(logits: Float32Array): number {
    const { temperature, repetitionPenalty } = this.#parameters
    const weights = this.#scratch
    weights.set(logits)
    if (repetitionPenalty !== 1) {
      for (const token of new Set(this.#recent)) {
        const logit = weights[token] as number
        weights[token] = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty
      }
    }
    const best = largestIndex(weights)
    const largest = weights[best] as number
    if (!Number.isFinite(largest)) throw new Error('the model computed logits that are not finite')
    if (temperature <= 0) return best
    // unnormalised probabilities: every filter works on ratios and sums of them
    for (let token = 0; token < weights.length; token++) weights[token] = Math.exp(((weights[token] as number) - largest) / temperature)
    return this.#draw(weights)
  }

  /** Draws from unnormalised probabilities whose largest is 1, filtered. */
  #draw(weights: Float32Array): number {
    const { topK, topP, minP } = this.#parameters
    const order = this.#order
    for (let token = 0; token < weights.length; token++) order[token] = token
    let count = weights.length
    if (topK > 0 || topP < 1) {
      // ties go to the smaller token
      order.sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b)
      if (topK > 0) count = Math.min(count, topK)
      if (topP < 1) count = countWithin(weights, order, count, topP)
    }
    let sum = 0
    for (let rank = 0; rank < count; rank++) {
      const token = order[rank] as number
      if ((weights[token] as number) < minP) weights[token] = 0
      sum += weights[token] as number
    }
    let left = this.#random() * sum
    let last = order[0] as number
    for (let rank = 0; rank < count; rank++) {
      const token = order[rank] as number
      const weight = weights[token] as number
      if (weight === 0) continue
      last = token
      left -= weight
      if (left < 0) break
    }
    return last
  }
}

/** The fewest leading tokens whose share reaches `topP`; at least one. */
function countWithin(weights: Float32Array, order: Uint32Array, count: number, topP: number): number {
  let total = 0
  for (let rank = 0; rank < count; rank++) total += weights[order[rank] as number] as number
  let sum = 0
  for (let rank = 0; rank < count; rank++) {
    sum += weights[order[rank] as number] as number
    if (sum >= topP * total) return rank + 1
  }
  return count
}

/** The first of the largest values. */
export function largestIndex(values: Float32Array): number {
  let best = 0
  for (let index = 1; index < values.length; index++) if ((values[index] as number) > (values[best] as number)) best = index
  return best
}

/** Log probabilities of the chosen token and of the `top` most likely ones, before temperature and filters. */
export function logprobsOf(logits: Float32Array, chosen: number, top: number): TokenLogprobs {
  const largest = logits[largestIndex(logits)] as number
  let sum = 0
  for (let token = 0; token < logits.length; token++) sum += Math.exp((logits[token] as number) - largest)
  const normaliser = largest + Math.log(sum)
  const ranked: number[] = []
  // insertion into a short list: `top` is at most MAX_TOP_LOGPROBS
  for (let token = 0; top > 0 && token < logits.length; token++) {
    if (ranked.length === top && (logits[token] as number) <= (logits[ranked[top - 1] as number] as number)) continue
    let at = ranked.length
    while (at > 0 && (logits[ranked[at - 1] as number] as number) < (logits[token] as number)) at--
    ranked.splice(at, 0, token)
    if (ranked.length > top) ranked.pop()
  }
  const logprob = (token: number): number => (logits[token] as number) - normaliser
  return { logprob: logprob(chosen), top: ranked.map((token) => ({ token, logprob: logprob(token) })) }
}

/** Uniform in [0, 1) with 53 random bits, from sfc32 (Doty-Humphrey's small fast counting generator). */
export function seeded(seed: number): () => number {
  let a = seed >>> 0
  let b = Math.floor(seed / 2 ** 32) >>> 0
  let c = 0x9e3779b9
  let counter = 1
  const next = (): number => {
    const result = (a + b + counter) >>> 0
    counter = (counter + 1) >>> 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) >>> 0
    c = (((c << 21) | (c >>> 11)) + result) >>> 0
    return result
  }
  // the state needs a few rounds before nearby seeds part
  for (let round = 0; round < 16; round++) next()
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53
}
