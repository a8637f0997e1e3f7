/** Files of a tar archive that is in memory: names and bytes, nothing else of it. */
import { shown, TraceError } from './trace-file.ts'

const BLOCK = 512

export const isTar = (bytes: Buffer): boolean => bytes.length >= BLOCK && bytes.toString('latin1', 257, 262) === 'ustar'

/** Throws a TraceError for an archive that breaks off. */
export function* tarFiles(file: string, bytes: Buffer): Generator<{ name: string; bytes: Buffer }> {
  for (let at = 0; at + BLOCK <= bytes.length; ) {
    const header = bytes.subarray(at, at + BLOCK)
    if (header[0] === 0) return
    const text = (from: number, to: number): string => header.toString('utf8', from, to).replace(/\0[\s\S]*$/, '')
    const size = Number.parseInt(text(124, 136).trim(), 8)
    if (!Number.isSafeInteger(size) || size < 0) throw new TraceError(file, undefined, `expected a tar archive, got a header with size ${shown(text(124, 136))} at byte ${at}`)
    const prefix = text(345, 500)
    const name = (prefix === '' ? '' : `${prefix}/`) + text(0, 100)
    at += BLOCK
    if (at + size > bytes.length) throw new TraceError(file, undefined, `expected ${size} bytes of ${name}, got ${bytes.length - at}: the archive breaks off`)
    const type = String.fromCharCode(header[156] as number)
    if (type === '0' || type === '\0') yield { name, bytes: bytes.subarray(at, at + size) }
    at += Math.ceil(size / BLOCK) * BLOCK
  }
}
