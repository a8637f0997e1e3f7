/** Reads a unary body beside the path: by search where that is exact, by parsing where it is not. */
import type { Delta } from '../../core/reply.ts'
import type { SideReader } from '../protocol.ts'
import { asBuffer, decodeByteText, toByteText } from './byte-text.ts'

export const NOT_JSON: Delta = { type: 'error', code: 'upstream_invalid', message: 'The body is not a JSON document.' }

export interface UnaryFacts {
  /** Facts of a document whose text (one character per byte) looks like a JSON object. */
  read(text: string): readonly Delta[]
}

export function unarySideReader(facts: UnaryFacts): SideReader {
  const pieces: Uint8Array[] = []
  return {
    push(bytes) {
      pieces.push(bytes)
      return { tokens: 0 }
    },
    end() {
      const only = pieces.length === 1 ? pieces[0] : undefined
      const text = toByteText(only ?? Buffer.concat(pieces.map(asBuffer))).trim()
      pieces.length = 0
      if (!text.startsWith('{') || !text.endsWith('}')) return { tokens: 0, deltas: [NOT_JSON] }
      const deltas = facts.read(text)
      let tokens = 0
      for (const delta of deltas) if (delta.type === 'usage') tokens = delta.usage.outputTokens
      return { tokens, deltas }
    },
  }
}

export function parseByteText(text: string): unknown {
  try {
    return JSON.parse(decodeByteText(text))
  } catch {
    return undefined
  }
}

/**
 * The last object under `key` in a JSON text, without parsing the rest: bodies of embeddings are megabytes of numbers.
 * For numbers only: its strings are not decoded. Undefined when there is none.
 */
export function lastObjectUnder(text: string, key: string): unknown {
  const quoted = `"${key}"`
  for (let at = text.lastIndexOf(quoted); at !== -1; at = at === 0 ? -1 : text.lastIndexOf(quoted, at - 1)) {
    const start = openingBrace(text, at + quoted.length)
    if (start === -1) continue
    const end = closingBrace(text, start)
    if (end === -1) return undefined
    try {
      return JSON.parse(text.slice(start, end + 1))
    } catch {
      return undefined
    }
  }
  return undefined
}

const [TAB, LF, CR, SPACE, QUOTE, COLON, BACKSLASH, OPENING_BRACE, CLOSING_BRACE] = [9, 10, 13, 32, 34, 58, 92, 123, 125]

/** Index of the `{` after `:`; -1 when something else follows. */
function openingBrace(text: string, from: number): number {
  let colon = false
  for (let at = from; at < text.length; at++) {
    const char = text.charCodeAt(at)
    if (char === COLON && !colon) colon = true
    else if (char === OPENING_BRACE) return colon ? at : -1
    else if (char !== SPACE && char !== LF && char !== CR && char !== TAB) return -1
  }
  return -1
}

function closingBrace(text: string, start: number): number {
  let depth = 0
  let inString = false
  for (let at = start; at < text.length; at++) {
    const char = text.charCodeAt(at)
    if (inString) {
      if (char === BACKSLASH) at++
      else if (char === QUOTE) inString = false
    } else if (char === QUOTE) inString = true
    else if (char === OPENING_BRACE) depth++
    else if (char === CLOSING_BRACE && --depth === 0) return at
  }
  return -1
}
