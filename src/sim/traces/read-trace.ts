/** Any trace file that we know, by what is in it. */
import type { TraceRequest } from '../simulated-request.ts'
import { aibrixJsonl } from './aibrix-jsonl.ts'
import { azureCsv } from './azure-csv.ts'
import { cacheKeys } from './cache-keys.ts'
import { mooncakeJsonl } from './mooncake-jsonl.ts'
import { serveGen } from './servegen.ts'
import { spanExport } from './span-export.ts'
import { isTar } from './tar.ts'
import { readUnpacked, shown, TraceError } from './trace-file.ts'

export const TRACE_FORMATS = ['azure', 'mooncake', 'aibrix', 'servegen', 'cache-keys', 'spans'] as const
export type TraceFormat = (typeof TRACE_FORMATS)[number]

export interface ReadTraceOptions {
  /** Default: recognised by content; key traces have none and are known by their name, `.trace`. */
  readonly format?: TraceFormat
  readonly seed?: number
  /** Arrivals of key traces, per second. Default 100. */
  readonly perS?: number
  /** ServeGen's lengths, a second archive. */
  readonly datasets?: string
  /** From this moment of the trace, s; times then count from here. */
  readonly fromS?: number
  /** Only so much of it, s. */
  readonly durationS?: number
  /** Arrivals come so many times as fast. */
  readonly speed?: number
  /** At most this many requests. */
  readonly limit?: number
}

/** ServeGen's 14 days of many clients are not read whole unless somebody says so. */
const SERVEGEN_S = 600

/** Throws a TraceError that names the line and what was expected there. */
export async function readTrace(file: string, options: ReadTraceOptions = {}): Promise<TraceRequest[]> {
  const bytes = await readUnpacked(file)
  const format = options.format ?? recognise(file, bytes)
  const { seed = 1, speed = 1, fromS = 0, durationS, limit = Number.POSITIVE_INFINITY } = options
  if (format === 'servegen') {
    const datasets = options.datasets === undefined ? undefined : await readUnpacked(options.datasets)
    return serveGen(file, bytes, options.datasets, datasets, { seed, fromS, durationS: durationS ?? SERVEGEN_S, scale: speed }).slice(0, limit)
  }
  const fromMs = fromS * 1_000
  const toMs = durationS === undefined ? Number.POSITIVE_INFINITY : fromMs + durationS * 1_000
  const requests: TraceRequest[] = []
  for (const request of rows(format, file, bytes, options)) {
    if (request.atMs < fromMs) continue
    if (request.atMs >= toMs || requests.length >= limit) break
    requests.push(fromMs === 0 && speed === 1 ? request : { ...request, atMs: (request.atMs - fromMs) / speed })
  }
  if (requests.length === 0) throw new TraceError(file, undefined, fromS > 0 ? `expected requests from second ${fromS} on, got none` : 'expected at least one request, got none')
  return requests
}

function rows(format: Exclude<TraceFormat, 'servegen'>, file: string, bytes: Buffer, options: ReadTraceOptions): Iterable<TraceRequest> {
  const seed = options.seed ?? 1
  switch (format) {
    case 'azure':
      return azureCsv(file, bytes)
    case 'mooncake':
      return mooncakeJsonl(file, bytes, seed)
    case 'aibrix':
      return aibrixJsonl(file, bytes)
    case 'cache-keys':
      return cacheKeys(file, bytes, { perS: options.perS ?? 100, seed })
    case 'spans':
      return spanExport(file, bytes)
  }
}

function recognise(file: string, bytes: Buffer): TraceFormat {
  if (isTar(bytes)) return 'servegen'
  if (/\.trace(\.gz)?$/.test(file)) return 'cache-keys'
  const head = bytes.toString('utf8', 0, 4_096)
  const first = head.split(/\r?\n/, 1)[0] ?? ''
  if (/^\uFEFF?TIMESTAMP\b/i.test(first)) return 'azure'
  if (first.startsWith('{')) {
    if (/"resourceSpans"|"startTimeUnixNano"/.test(first)) return 'spans'
    if (/"input_length"/.test(first)) return 'mooncake'
    if (/"requests"/.test(first)) return 'aibrix'
  }
  throw new TraceError(file, 1, `expected a trace of ${TRACE_FORMATS.join(', ')}, got ${shown(first)}; name the format if it is one of them`)
}
