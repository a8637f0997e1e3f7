/** SentencePiece BPE (`tokenizer.ggml.model` = llama): joins by score, spaces written as U+2581, unknown text as bytes. */
import type { GgufMetadata } from '../gguf-metadata.ts'
import { ModelError } from '../model-error.ts'
import { mergePieces } from './merge.ts'
import type { TokenizerModel } from './tokenizer-model.ts'
import { readScores, TOKEN_KIND } from './vocabulary.ts'
import type { Vocabulary } from './vocabulary.ts'

const SPACE = '\u2581'
const encoder = new TextEncoder()

/** @throws ModelError `invalid_model` */
export function spmModel(metadata: GgufMetadata, vocabulary: Vocabulary): TokenizerModel {
  const { texts, kinds, byText, unknown } = vocabulary
  const scores = readScores(metadata, texts.length)
  const spacePrefix = metadata.bool('tokenizer.ggml.add_space_prefix') ?? true
  const byteTokens = Array.from({ length: 256 }, (_, byte) => byText.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`))
  if (byteTokens.includes(undefined) && unknown === undefined) {
    throw new ModelError('invalid_model', 'tokenizer.ggml.tokens: neither all 256 byte tokens nor an unknown token, so some text has no tokens')
  }

  const rank = (left: string, right: string): number | undefined => {
    const token = byText.get(left + right)
    return token === undefined ? undefined : -(scores[token] as number)
  }

  return {
    spacePrefix,
    addBos: true,
    encode(text, first, out) {
      const written = (spacePrefix && first ? ` ${text}` : text).replaceAll(' ', SPACE)
      for (const piece of mergePieces(Array.from(written), rank)) {
        const token = byText.get(piece)
        if (token !== undefined) out.push(token)
        else for (const byte of encoder.encode(piece)) out.push((byteTokens[byte] ?? unknown) as number)
      }
    },
    bytes(token) {
      const text = texts[token] as string
      if (kinds[token] === TOKEN_KIND.byte && /^<0x[0-9A-F]{2}>$/.test(text)) return Uint8Array.of(parseInt(text.slice(3, 5), 16))
      return encoder.encode(kinds[token] === TOKEN_KIND.normal ? text.replaceAll(SPACE, ' ') : text)
    },
  }
}
