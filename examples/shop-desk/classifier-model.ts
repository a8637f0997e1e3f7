/**
 * Sorts customers' messages into intents: hashed character trigrams, a random projection kept in 4 bits, nearest centroid.
 * Unpacking the projection is the price of a run, whatever its size: that is what batching saves.
 */

export const INTENTS = {
  order: ['where is my order', 'track my parcel', 'has my order shipped', 'when will my package arrive'],
  return: ['i want to return this', 'how do i send it back', 'return label please', 'start a return'],
  refund: ['when do i get my money back', 'refund status', 'i was charged twice', 'refund my payment'],
  delivery: ['how long does delivery take', 'do you ship abroad', 'delivery cost', 'express shipping'],
  hours: ['when are you open', 'opening hours', 'are you open on sunday', 'what time do you close'],
  other: ['hello', 'thank you', 'tell me a joke', 'can you help me'],
} as const
export type Intent = keyof typeof INTENTS

const FEATURES = 2_048
const DIMENSIONS = 1_024

/** Character trigrams of the lower-cased text, hashed into `FEATURES` buckets. */
function trigrams(text: string): Map<number, number> {
  const counts = new Map<number, number>()
  const padded = ` ${text.toLowerCase().slice(0, 2_000)} `
  for (let i = 0; i + 3 <= padded.length; i++) {
    const hash = (Math.imul(padded.charCodeAt(i), 73_856_093) ^ Math.imul(padded.charCodeAt(i + 1), 19_349_663) ^ Math.imul(padded.charCodeAt(i + 2), 83_492_791)) >>> 0
    counts.set(hash % FEATURES, (counts.get(hash % FEATURES) ?? 0) + 1)
  }
  return counts
}

/** Two weights a byte, 4 bits each, from a fixed seed. Shape [FEATURES, DIMENSIONS]. */
function packedProjection(): Uint8Array {
  const packed = new Uint8Array((FEATURES * DIMENSIONS) / 2)
  let state = 12_345
  for (let i = 0; i < packed.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    packed[i] = state >>> 24
  }
  return packed
}

export interface Classifier {
  /** One intent per text, in order. */
  classify(texts: readonly string[]): Intent[]
}

export function createClassifier(): Classifier {
  const packed = packedProjection()
  const weights = new Float32Array(FEATURES * DIMENSIONS)
  function unpack(): void {
    for (let i = 0; i < packed.length; i++) {
      const byte = packed[i] as number
      weights[2 * i] = (byte & 15) - 7.5
      weights[2 * i + 1] = (byte >> 4) - 7.5
    }
  }
  /** Unit vector of shape [DIMENSIONS]. */
  function embed(text: string): Float32Array {
    const vector = new Float32Array(DIMENSIONS)
    for (const [feature, count] of trigrams(text)) {
      const row = feature * DIMENSIONS
      for (let d = 0; d < DIMENSIONS; d++) vector[d] = (vector[d] as number) + count * (weights[row + d] as number)
    }
    let norm = 0
    for (const value of vector) norm += value * value
    norm = Math.sqrt(norm) || 1
    for (let d = 0; d < DIMENSIONS; d++) vector[d] = (vector[d] as number) / norm
    return vector
  }
  unpack()
  const examples = (Object.keys(INTENTS) as Intent[]).flatMap((intent) => INTENTS[intent].map((text) => ({ intent, vector: embed(text) })))
  return {
    classify(texts) {
      unpack()
      return texts.map((text) => {
        const vector = embed(text)
        let best: Intent = 'other'
        let bestScore = -2
        for (const example of examples) {
          let score = 0
          for (let d = 0; d < DIMENSIONS; d++) score += (vector[d] as number) * (example.vector[d] as number)
          if (score > bestScore) [best, bestScore] = [example.intent, score]
        }
        return best
      })
    },
  }
}
