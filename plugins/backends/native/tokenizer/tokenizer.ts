/** Text to tokens and back, by what the GGUF file itself says. */
import type { GgufMetadata } from '../gguf-metadata.ts'
import { required } from '../gguf-metadata.ts'
import { ModelError, shown } from '../model-error.ts'
import { bpeModel } from './bpe.ts'
import { splitSpecialTokens } from './special-tokens.ts'
import { spmModel } from './spm.ts'
import type { TokenizerModel } from './tokenizer-model.ts'
import { readVocabulary, TOKEN_KIND } from './vocabulary.ts'
import type { Vocabulary } from './vocabulary.ts'

const LONE_SURROGATES = /\p{Surrogate}/gu

export interface EncodeOptions {
  /** Put BOS in front and EOS behind where the model wants them. Default true. */
  readonly addSpecial?: boolean
  /** Read control tokens written in the text (`<|im_start|>`) as such. Default false: users cannot forge them. */
  readonly parseSpecial?: boolean
}

export interface DecodeOptions {
  /** Write control tokens out. Default false. */
  readonly special?: boolean
  /** The tokens are a text from its start: drop the space that the encoder put in front. Default false. */
  readonly textStart?: boolean
}

/** Puts tokens together to text as they come, holding back the start of a character until the rest is there. */
export interface StreamDecoder {
  push(token: number): string
  /** What is left: U+FFFD for an unfinished character. */
  end(): string
}

export class Tokenizer {
  /** `llama` (SPM) or `gpt2` (byte-level BPE), and the name of the pre-tokenizer. */
  readonly kind: 'llama' | 'gpt2'
  readonly preTokenizer: string | undefined
  readonly vocabularySize: number
  readonly bos: number | undefined
  readonly eos: number | undefined
  readonly addBos: boolean
  readonly addEos: boolean
  /** Tokens that end a generation. */
  readonly endOfGeneration: ReadonlySet<number>
  /** How control tokens are written, longest first. */
  readonly controlTexts: readonly string[]
  readonly #vocabulary: Vocabulary
  readonly #model: TokenizerModel

  /** @throws ModelError `unsupported` (kind, pre-tokenizer) or `invalid_model` */
  constructor(metadata: GgufMetadata) {
    const kind = required(metadata.string('tokenizer.ggml.model'), 'tokenizer.ggml.model')
    if (kind !== 'llama' && kind !== 'gpt2') throw new ModelError('unsupported', `tokenizer ${shown(kind)} is not supported, only llama and gpt2`)
    this.kind = kind
    this.preTokenizer = metadata.string('tokenizer.ggml.pre')
    this.#vocabulary = readVocabulary(metadata)
    this.#model = kind === 'llama' ? spmModel(metadata, this.#vocabulary) : bpeModel(metadata, this.#vocabulary)
    this.vocabularySize = this.#vocabulary.texts.length
    this.bos = this.#vocabulary.bos
    this.eos = this.#vocabulary.eos
    this.addBos = (metadata.bool('tokenizer.ggml.add_bos_token') ?? this.#model.addBos) && this.bos !== undefined
    this.addEos = (metadata.bool('tokenizer.ggml.add_eos_token') ?? false) && this.eos !== undefined
    this.endOfGeneration = this.#vocabulary.endOfGeneration
    this.controlTexts = this.#vocabulary.special.filter(({ control }) => control).map(({ text }) => text)
  }

  /** Lone surrogates become U+FFFD. */
  encode(text: string, { addSpecial = true, parseSpecial = false }: EncodeOptions = {}): number[] {
    return this.encodeParts([{ text, parseSpecial }], addSpecial)
  }

  /** One text made of parts of which only some may name control tokens. */
  encodeParts(parts: Iterable<{ readonly text: string; readonly parseSpecial: boolean }>, addSpecial = true): number[] {
    const tokens: number[] = []
    if (addSpecial && this.addBos) tokens.push(this.bos as number)
    let first = true
    for (const { text, parseSpecial } of parts) {
      for (const fragment of splitSpecialTokens(text.replace(LONE_SURROGATES, '\ufffd'), this.#vocabulary.special, parseSpecial)) {
        if (typeof fragment === 'number') tokens.push(fragment)
        else this.#model.encode(fragment, first, tokens)
        first = typeof fragment === 'number'
      }
    }
    if (addSpecial && this.addEos) tokens.push(this.eos as number)
    return tokens
  }

  /** Invalid UTF-8 becomes U+FFFD. */
  decode(tokens: Iterable<number>, options: DecodeOptions = {}): string {
    const decoder = this.streamDecoder(options)
    let text = ''
    for (const token of tokens) text += decoder.push(token)
    return text + decoder.end()
  }

  streamDecoder({ special = false, textStart = false }: DecodeOptions = {}): StreamDecoder {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
    let atStart = textStart && this.#model.spacePrefix
    return {
      push: (token) => {
        let bytes = this.bytes(token, special)
        if (atStart && bytes.length > 0) {
          if (bytes[0] === 0x20) bytes = bytes.subarray(1)
          atStart = false
        }
        return decoder.decode(bytes, { stream: true })
      },
      end: () => decoder.decode(),
    }
  }

  /** What the token adds to the text; nothing for a control token unless `special`, nor for an id that is none. */
  bytes(token: number, special = false): Uint8Array {
    const kind = this.#vocabulary.kinds[token]
    if (kind === undefined || (!special && (kind === TOKEN_KIND.control || kind === TOKEN_KIND.unknown))) return new Uint8Array(0)
    return this.#model.bytes(token)
  }

  /** The token as the vocabulary writes it. */
  text(token: number): string | undefined {
    return this.#vocabulary.texts[token]
  }

  /** The token that is written so. */
  token(text: string): number | undefined {
    return this.#vocabulary.byText.get(text)
  }
}
