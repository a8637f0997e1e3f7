/**
 * Reads an event stream beside the path. It runs on every chunk of every pass-through reply, so it parses only events
 * that can matter: JSON escapes quotes inside strings, so `"usage":{` in the bytes can only be a key, and a search for
 * keys in the raw bytes is exact.
 */
import type { Delta } from '../../core/reply.ts'
import type { SideReader } from '../protocol.ts'
import { LineCutter, decodeByteText } from './byte-text.ts'

export interface StreamFacts {
  /** What one event says; `counted`: output tokens seen so far, for usage that comes before its end. */
  read(document: unknown, counted: number): readonly Delta[]
  /** The stream said that it is over. */
  complete(): boolean
}

export interface StreamPatterns {
  /** Global. One match per event that carries output. */
  readonly content: RegExp
  /** Matches lines that `read` must see. */
  readonly hot: RegExp
}

const NOTHING = { tokens: 0 } as const
export const BROKEN: Delta = { type: 'error', code: 'upstream_invalid', message: 'The stream is broken.' }
export const CUT_SHORT: Delta = { type: 'error', code: 'upstream_invalid', message: 'The stream ended before it was complete.' }

/** Raw line ends cannot be inside a JSON string, so no content can look like this. */
const DONE = /(?:^|\n)data: ?\[DONE\]/
const [CR, SPACE, CLOSING_BRACKET, CLOSING_BRACE, LETTER_D] = [13, 32, 93, 125, 100]

/** Where the line's last visible character is; before `start` when it has none. */
function lastVisible(text: string, start: number, end: number): number {
  let at = end - 1
  while (at >= start && (text.charCodeAt(at) === SPACE || text.charCodeAt(at) === CR)) at--
  return at
}

/** Every `data:` line looks like a whole JSON document (or `[DONE]`): one event per line, as all providers send it. */
function looksWhole(text: string): boolean {
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf('\n', start)
    if (end - start > 1 && text.charCodeAt(start) === LETTER_D) {
      const last = text.charCodeAt(lastVisible(text, start, end))
      if (last !== CLOSING_BRACE && last !== CLOSING_BRACKET) return false
    }
    start = end + 1
  }
  return true
}

export function streamSideReader(patterns: StreamPatterns, facts: StreamFacts): SideReader {
  const lines = new LineCutter()
  const { content, hot } = patterns
  let counted = 0
  /** Data lines that are no document yet: an event may spread its JSON over several. */
  let partial = ''
  /** The last lines that were more than a line end: `[DONE]` is looked for once, at the end. */
  let last = ''
  let done = false
  let failed = false

  function event(json: string, deltas: Delta[]): boolean {
    let document: unknown
    try {
      document = JSON.parse(decodeByteText(json))
    } catch {
      return false
    }
    for (const delta of facts.read(document, counted)) {
      if (delta.type === 'error') failed = true
      deltas.push(delta)
    }
    return true
  }

  function broken(deltas: Delta[]): void {
    partial = ''
    failed = true
    deltas.push(BROKEN)
  }

  function line(text: string, deltas: Delta[]): void {
    if (text === '') {
      if (partial !== '') broken(deltas)
      return
    }
    if (!text.startsWith('data:')) return
    const data = text.slice(5).trim()
    if (data === '' && partial === '') return
    if (data === '[DONE]') {
      done = true
      if (partial !== '') broken(deltas)
      return
    }
    if (partial === '' && data.endsWith('}') && !hot.test(data)) return
    if (event(partial + data, deltas)) partial = ''
    else partial += `${data}\n`
  }

  function readLines(text: string): Delta[] {
    const deltas: Delta[] = []
    for (let start = 0; start < text.length; ) {
      const end = text.indexOf('\n', start)
      line(text.slice(start, lastVisible(text, start, end) + 1), deltas)
      start = end + 1
    }
    return deltas
  }

  return {
    push(bytes) {
      const text = lines.take(bytes)
      if (text === '') return NOTHING
      if (text.length > 2) last = text
      const matches = text.match(content)
      const tokens = matches === null ? 0 : matches.length
      counted += tokens
      if (partial !== '' || hot.test(text) || !looksWhole(text)) {
        const deltas = readLines(text)
        if (deltas.length > 0) return { tokens, deltas }
      }
      return tokens === 0 ? NOTHING : { tokens }
    },
    end() {
      const rest = lines.rest()
      if (rest !== '') last = rest
      const deltas = rest === '' && partial === '' ? [] : readLines(`${rest}\n\n`)
      if (!failed && !done && !DONE.test(last) && !facts.complete()) deltas.push(CUT_SHORT)
      return deltas.length === 0 ? NOTHING : { tokens: 0, deltas }
    },
  }
}
