/** Key traces for cache policies: unsigned 32-bit keys, little-endian, without times; arrivals are made at a given rate. */
import { exponential, seededRandom } from '../seeded-random.ts'
import type { TraceRequest } from '../simulated-request.ts'
import { TraceError } from './trace-file.ts'

export interface CacheKeyOptions {
  /** Requests per second. */
  readonly perS: number
  readonly seed: number
  readonly changeClass?: string
}

/** Throws a TraceError when the length is no multiple of 4. */
export function* cacheKeys(file: string, bytes: Buffer, options: CacheKeyOptions): Generator<TraceRequest> {
  if (bytes.length % 4 !== 0) throw new TraceError(file, undefined, `expected keys of 4 bytes, got ${bytes.length} bytes: key ${Math.floor(bytes.length / 4) + 1} is cut off`)
  const random = seededRandom(options.seed)
  let atMs = 0
  for (let at = 0; at < bytes.length; at += 4) {
    atMs += exponential(random, 1_000 / options.perS)
    yield { atMs, inputTokens: 1, outputTokens: 1, work: 1, key: String(bytes.readUInt32LE(at)), changeClass: options.changeClass ?? 'trace' }
  }
}
