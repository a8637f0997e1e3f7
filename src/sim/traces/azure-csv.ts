/** Azure LLM inference traces: `TIMESTAMP,ContextTokens,GeneratedTokens`, one request a line, in order. */
import type { TraceRequest } from '../simulated-request.ts'
import { linesOf, shown, TraceError, wholeAt } from './trace-file.ts'

const HEADER = 'TIMESTAMP,ContextTokens,GeneratedTokens'
const TIMESTAMP = /^(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d(?:\.\d+)?)(?:Z|[+-]00:?00)?$/

/** Throws a TraceError. */
export function* azureCsv(file: string, bytes: Buffer): Generator<TraceRequest> {
  let startMs: number | undefined
  let lastMs = 0
  for (const { line, text } of linesOf(bytes)) {
    if (line === 1) {
      if (text.replace(/^\uFEFF/, '') !== HEADER) throw new TraceError(file, 1, `expected the header ${HEADER}, got ${shown(text)}`)
      continue
    }
    const fields = text.split(',')
    if (fields.length !== 3) throw new TraceError(file, line, `expected 3 fields, got ${fields.length}`)
    const [time = '', context, generated] = fields
    const part = TIMESTAMP.exec(time)
    if (!part) throw new TraceError(file, line, `expected a timestamp like 2023-11-16 18:17:03.9799600, got ${shown(time)}`)
    const [, year, month, day, hour, minute, second] = part
    const wallMs = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute)) + Number(second) * 1_000
    startMs ??= wallMs
    const atMs = wallMs - startMs
    if (atMs < lastMs) throw new TraceError(file, line, `expected times in order, got one ${Math.round(lastMs - atMs)} ms before the line above`)
    lastMs = atMs
    yield { atMs, inputTokens: wholeAt(file, line, 'ContextTokens', context), outputTokens: Math.max(1, wholeAt(file, line, 'GeneratedTokens', generated)), stream: true }
  }
}
