/** Tokens, their kinds and the special ones, read and checked from GGUF metadata. */
import type { GgufMetadata } from '../gguf-metadata.ts'
import { required } from '../gguf-metadata.ts'
import { ModelError, shown } from '../model-error.ts'

/** Kinds as numbered in `tokenizer.ggml.token_type`. */
export const TOKEN_KIND = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

export interface Vocabulary {
  readonly texts: readonly string[]
  readonly kinds: Uint8Array
  /** The last token of each text, should a text be there twice. */
  readonly byText: ReadonlyMap<string, number>
  readonly bos: number | undefined
  readonly eos: number | undefined
  readonly unknown: number | undefined
  /** Tokens that end a generation: EOS, end of turn, end of message. */
  readonly endOfGeneration: ReadonlySet<number>
  /** Control, unknown and user-defined tokens that text can name, longest first. */
  readonly special: readonly { readonly token: number; readonly text: string; readonly control: boolean }[]
}

const MAX_TOKENS = 1 << 22

/** End-of-turn markers of common chat formats, for files that do not say which token it is. */
const endOfTurnTexts = ['<|eot_id|>', '<|im_end|>', '<|end|>', '<end_of_turn>', '<|endoftext|>', '<|eom_id|>', '<EOT>', '<｜end▁of▁sentence｜>']

/** @throws ModelError `invalid_model` */
export function readVocabulary(metadata: GgufMetadata): Vocabulary {
  const texts = required(metadata.strings('tokenizer.ggml.tokens'), 'tokenizer.ggml.tokens')
  const count = texts.length
  if (count === 0 || count > MAX_TOKENS) throw new ModelError('invalid_model', `tokenizer.ggml.tokens: expected 1 to ${MAX_TOKENS} tokens, got ${count}`)

  const kinds = new Uint8Array(count).fill(TOKEN_KIND.normal)
  const kindNumbers = metadata.numbers('tokenizer.ggml.token_type')
  if (kindNumbers !== undefined) {
    if (kindNumbers.length !== count) throw lengths('token_type', kindNumbers.length, count)
    kindNumbers.forEach((kind, token) => {
      if (!Number.isInteger(kind) || kind < 0 || kind > TOKEN_KIND.byte) {
        throw new ModelError('invalid_model', `tokenizer.ggml.token_type: token ${token} has the unknown kind ${kind}`)
      }
      kinds[token] = kind
    })
  }
  const byText = new Map<string, number>()
  texts.forEach((text, token) => byText.set(text, token))

  const id = (name: string): number | undefined => {
    const key = `tokenizer.ggml.${name}`
    const token = metadata.uint(key)
    if (token !== undefined && token >= count) throw new ModelError('invalid_model', `${key} is ${token}, but there are ${count} tokens`)
    return token
  }
  const eos = id('eos_token_id')
  const endOfGeneration = new Set<number>()
  for (const token of [eos, id('eot_token_id'), id('eom_token_id')]) if (token !== undefined) endOfGeneration.add(token)
  for (const text of endOfTurnTexts) {
    const token = byText.get(text)
    if (token !== undefined && (kinds[token] === TOKEN_KIND.control || kinds[token] === TOKEN_KIND.userDefined)) endOfGeneration.add(token)
  }

  const special: { token: number; text: string; control: boolean }[] = []
  for (let token = 0; token < count; token++) {
    const kind = kinds[token] as number
    const text = texts[token] as string
    if (text === '' || (kind !== TOKEN_KIND.control && kind !== TOKEN_KIND.unknown && kind !== TOKEN_KIND.userDefined)) continue
    special.push({ token, text, control: kind !== TOKEN_KIND.userDefined })
  }
  special.sort((a, b) => b.text.length - a.text.length)
  return { texts, kinds, byText, bos: id('bos_token_id'), eos, unknown: id('unknown_token_id'), endOfGeneration, special }
}

/** Scores of an SPM vocabulary: one finite number per token. */
export function readScores(metadata: GgufMetadata, count: number): Float32Array {
  const scores = required(metadata.numbers('tokenizer.ggml.scores'), 'tokenizer.ggml.scores')
  if (scores.length !== count) throw lengths('scores', scores.length, count)
  return Float32Array.from(scores, (score, token) => {
    if (!Number.isFinite(score)) throw new ModelError('invalid_model', `tokenizer.ggml.scores: token ${token} has the score ${score}`)
    return score
  })
}

/** Merges of a BPE vocabulary by "left right", the first of a kind counting. */
export function readMerges(metadata: GgufMetadata): Map<string, number> {
  const ranks = new Map<string, number>()
  required(metadata.strings('tokenizer.ggml.merges'), 'tokenizer.ggml.merges').forEach((merge, rank) => {
    const space = merge.indexOf(' ', 1)
    if (space < 1 || space === merge.length - 1) throw new ModelError('invalid_model', `tokenizer.ggml.merges: merge ${rank} ${shown(merge)} is not two parts`)
    if (!ranks.has(merge)) ranks.set(merge, rank)
  })
  return ranks
}

function lengths(name: string, got: number, expected: number): ModelError {
  return new ModelError('invalid_model', `tokenizer.ggml.${name} has ${got} elements, but there are ${expected} tokens`)
}
