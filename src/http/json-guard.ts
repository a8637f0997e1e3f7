/**
 * What `JSON.parse` lets through and we do not: keys that appear twice (two readers of one body could see two different
 * requests), keys that reach a prototype, and nesting that would exhaust a later stack.
 */
import { FlyballError } from '../core/errors.ts'

/** JSON Schemas of tools nest; nothing that people send nests deeper. */
export const DEFAULT_MAX_DEPTH = 100

const QUOTE = 34
const BACKSLASH = 92
const COLON = 58
const OPEN_BRACE = 123
const CLOSE_BRACE = 125
const OPEN_BRACKET = 91
const CLOSE_BRACKET = 93

/**
 * Looks at the text before it is parsed; strings are skipped with `indexOf`, so a long prompt costs little. Text that is
 * not JSON may pass: the parser says so afterwards. Throws `invalid_request`.
 */
export function guardJsonText(text: string, maxDepth = DEFAULT_MAX_DEPTH): void {
  // One entry per open container: the keys of an object so far, or undefined for an array.
  const open: (Keys | undefined)[] = []
  let at = 0
  const { length } = text
  while (at < length) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      const start = at + 1
      const end = closingQuote(text, start)
      if (end === -1) return
      const keys = open[open.length - 1]
      at = end + 1
      if (keys === undefined) continue
      // A string in an object is a key exactly when a colon follows.
      let after = at
      while (after < length && isSpace(text.charCodeAt(after))) after++
      if (text.charCodeAt(after) !== COLON) continue
      keys.add(keyBetween(text, start, end))
      at = after + 1
    } else {
      at++
      if (code === OPEN_BRACE || code === OPEN_BRACKET) {
        if (open.length >= maxDepth) throw new FlyballError('invalid_request', { message: `The body is nested deeper than ${maxDepth} levels.` })
        const parent = open[open.length - 1]
        open.push(code === OPEN_BRACE ? new Keys(parent?.last === 'constructor') : undefined)
      } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) open.pop()
    }
  }
}

/** The same for a body that another middleware has parsed; what was there twice can no longer be seen. */
export function guardJsonValue(value: unknown, maxDepth = DEFAULT_MAX_DEPTH): void {
  const stack: { value: unknown; depth: number; key: string }[] = [{ value, depth: 1, key: '' }]
  for (let top = stack.pop(); top; top = stack.pop()) {
    if (typeof top.value !== 'object' || top.value === null) continue
    if (top.depth > maxDepth) throw new FlyballError('invalid_request', { message: `The body is nested deeper than ${maxDepth} levels.` })
    const isArray = Array.isArray(top.value)
    for (const [key, child] of Object.entries(top.value)) {
      if (!isArray) refusePrototypeKey(key, top.key === 'constructor')
      if (typeof child === 'object') stack.push({ value: child, depth: top.depth + 1, key })
    }
  }
}

class Keys {
  last = ''
  readonly #underConstructor: boolean
  readonly #few: string[] = []
  #many: Set<string> | undefined

  constructor(underConstructor: boolean) {
    this.#underConstructor = underConstructor
  }

  add(key: string): void {
    refusePrototypeKey(key, this.#underConstructor)
    const seen = this.#many ? this.#many.has(key) : this.#few.includes(key)
    if (seen) throw new FlyballError('invalid_request', { message: 'The body has the same key twice in one object.', ...(SAFE_KEY.test(key) ? { param: key } : {}) })
    if (this.#many) this.#many.add(key)
    else if (this.#few.push(key) > 16) this.#many = new Set(this.#few)
    this.last = key
  }
}

/** Only names that look like fields are echoed: a key may be a piece of somebody's text. */
const SAFE_KEY = /^[a-z_]{1,40}$/

function refusePrototypeKey(key: string, underConstructor: boolean): void {
  // `constructor` alone is a fine name for a field of a tool's schema.
  if (key === '__proto__' || (underConstructor && key === 'prototype')) throw new FlyballError('invalid_request', { message: `The key ${key} is not allowed.` })
}

function closingQuote(text: string, from: number): number {
  for (let end = text.indexOf('"', from); end !== -1; end = text.indexOf('"', end + 1)) {
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++
    if (slashes % 2 === 0) return end
  }
  return -1
}

function keyBetween(text: string, start: number, end: number): string {
  const raw = text.slice(start, end)
  if (!raw.includes('\\')) return raw
  try {
    // `"mod\u0065l"` is `model` to the parser, so it is to us.
    return JSON.parse(`"${raw}"`) as string
  } catch {
    return raw
  }
}

const isSpace = (code: number): boolean => code === 32 || code === 10 || code === 13 || code === 9
