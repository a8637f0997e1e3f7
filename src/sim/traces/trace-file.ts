/** Bytes and lines of a trace file, unpacked where it is gzip; errors that name the line and what was expected there. */
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'

/** A trace that cannot be read: where, and what was expected there. */
export class TraceError extends Error {
  readonly file: string
  /** 1-based; undefined: the file as a whole. */
  readonly line: number | undefined

  constructor(file: string, line: number | undefined, what: string) {
    super(`${file}${line === undefined ? '' : `:${line}`}: ${what}`)
    this.name = 'TraceError'
    this.file = file
    this.line = line
  }
}

/** More than this unpacked is no trace that this reader holds in memory. */
const MAX_BYTES = 2 ** 31 - 1

export async function readUnpacked(file: string): Promise<Buffer> {
  let bytes: Buffer
  try {
    bytes = await readFile(file)
  } catch (error) {
    throw new TraceError(file, undefined, `cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`)
  }
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    return await promisify(gunzip)(bytes, { maxOutputLength: MAX_BYTES })
  } catch (error) {
    throw new TraceError(file, undefined, `expected gzip to unpack, got ${(error as NodeJS.ErrnoException).code ?? 'an error'}`)
  }
}

/** Lines without their ends, numbered from 1; empty ones are left out. */
export function* linesOf(bytes: Buffer): Generator<{ line: number; text: string }> {
  let from = 0
  for (let line = 1; from < bytes.length; line++) {
    let to = bytes.indexOf(10, from)
    if (to < 0) to = bytes.length
    const text = bytes.toString('utf8', from, to > from && bytes[to - 1] === 13 ? to - 1 : to)
    from = to + 1
    if (text !== '') yield { line, text }
  }
}

/** How a wrong value is shown: short, and never more of it. */
export function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : value === undefined ? 'nothing' : JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

/** A whole number of at least `least`, or a TraceError. */
export function wholeAt(file: string, line: number, name: string, value: unknown, least = 0): number {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value
  if (typeof number !== 'number' || !Number.isSafeInteger(number) || number < least) throw new TraceError(file, line, `expected ${name} to be a whole number of at least ${least}, got ${shown(value)}`)
  return number
}

export function jsonAt(file: string, line: number, text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new TraceError(file, line, `expected a JSON object, got ${shown(text)}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TraceError(file, line, `expected a JSON object, got ${shown(value)}`)
  return value as Record<string, unknown>
}
