/** Byte-level BPE (`tokenizer.ggml.model` = gpt2): words by a pre-tokenizer, joined by the rank of their merges. */
import type { GgufMetadata } from '../gguf-metadata.ts'
import { ModelError, shown } from '../model-error.ts'
import { fromByteCharacters, toByteCharacters } from './byte-level.ts'
import { mergePieces } from './merge.ts'
import { cutWords, PRE_TOKENIZERS } from './pre-tokenizers.ts'
import type { TokenizerModel } from './tokenizer-model.ts'
import { readMerges, TOKEN_KIND } from './vocabulary.ts'
import type { Vocabulary } from './vocabulary.ts'

/** Words whose tokens are remembered: ordinary text repeats them. Emptied when full. */
const MAX_CACHED_WORDS = 16384
const MAX_CACHED_WORD_LENGTH = 48
const encoder = new TextEncoder()

/** @throws ModelError `unsupported` (pre-tokenizer) or `invalid_model` */
export function bpeModel(metadata: GgufMetadata, vocabulary: Vocabulary): TokenizerModel {
  const { texts, kinds, byText, unknown } = vocabulary
  const name = metadata.string('tokenizer.ggml.pre')
  if (name === undefined) throw new ModelError('unsupported', 'tokenizer.ggml.pre is missing, and a guess would give wrong tokens; convert the file again')
  const preTokenizer = PRE_TOKENIZERS.get(name)
  if (preTokenizer === undefined) {
    throw new ModelError('unsupported', `pre-tokenizer ${shown(name)} is not supported, only ${[...PRE_TOKENIZERS.keys()].join(', ')}`)
  }
  const { stages, wholeWords, addBos } = preTokenizer
  const ranks = readMerges(metadata)
  const rank = (left: string, right: string): number | undefined => ranks.get(`${left} ${right}`)
  const cache = new Map<string, readonly number[]>()

  const encodeWord = (word: string): number[] => {
    const characters = toByteCharacters(word)
    const whole = wholeWords ? byText.get(characters) : undefined
    if (whole !== undefined) return [whole]
    const tokens: number[] = []
    for (const piece of mergePieces(characters.split(''), rank)) {
      const token = byText.get(piece)
      if (token !== undefined) tokens.push(token)
      // a merge whose result is no token: its bytes one by one; bytes that the vocabulary lacks are left out, as the
      // models' own tokenizers do
      else for (const character of piece) {
        const byte = byText.get(character) ?? unknown
        if (byte !== undefined) tokens.push(byte)
      }
    }
    return tokens
  }

  const spacePrefix = metadata.bool('tokenizer.ggml.add_space_prefix') ?? false
  return {
    spacePrefix,
    addBos,
    encode(text, first, out) {
      const written = spacePrefix && first ? ` ${text}` : text
      for (const word of cutWords(written, stages)) {
        let tokens = cache.get(word)
        if (tokens === undefined) {
          tokens = encodeWord(word)
          if (word.length <= MAX_CACHED_WORD_LENGTH) {
            if (cache.size >= MAX_CACHED_WORDS) cache.clear()
            cache.set(word, tokens)
          }
        }
        for (const token of tokens) out.push(token)
      }
    },
    bytes(token) {
      const text = texts[token] as string
      return kinds[token] === TOKEN_KIND.normal || kinds[token] === TOKEN_KIND.unused ? fromByteCharacters(text) : encoder.encode(text)
    },
  }
}
