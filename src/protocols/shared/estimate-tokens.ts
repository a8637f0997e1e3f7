/** A guess at tokens before anybody has tokenised. Used for ordering and fairness, never for accounting. */
import { arrayOf, objectOf } from './json-value.ts'

/** English averages about four characters a token in today's tokenizers. */
const CHARACTERS_PER_TOKEN = 4
/** Role and separators of one message. */
const TOKENS_PER_MESSAGE = 4
/** Images cost hundreds of tokens whatever their bytes; providers' formulas range from 85 to 1,600. */
const TOKENS_PER_IMAGE = 600
/** Output where the request sets no bound. */
export const ASSUMED_OUTPUT_TOKENS = 256

export const textTokens = (characters: number): number => Math.ceil(characters / CHARACTERS_PER_TOKEN)

function partTokens(part: unknown): number {
  const { type, text, content, thinking } = objectOf(part)
  if (type === 'image_url' || type === 'image') return TOKENS_PER_IMAGE
  return typeof text === 'string' ? textTokens(text.length) : typeof thinking === 'string' ? textTokens(thinking.length) : contentTokens(content)
}

/** Tokens of a text, or of a list of parts. */
export function contentTokens(content: unknown): number {
  if (typeof content === 'string') return textTokens(content.length)
  let sum = 0
  for (const part of arrayOf(content)) sum += partTokens(part)
  return sum
}

export function messageTokens(messages: readonly unknown[]): number {
  let sum = 0
  for (const message of messages) sum += TOKENS_PER_MESSAGE + contentTokens(objectOf(message)['content'])
  return sum
}

/** A text, a list of texts, token ids, or a list of those. */
export function inputTokens(input: unknown): number {
  if (typeof input === 'string') return textTokens(input.length)
  if (!Array.isArray(input)) return 0
  if (typeof input[0] === 'number') return input.length
  let sum = 0
  for (const item of input) sum += inputTokens(item)
  return sum
}
