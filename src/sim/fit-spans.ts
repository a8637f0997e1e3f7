/** What a backend did, read from our own spans: batches with their work and time, streamed calls with their concurrency. */
import { jsonAt, linesOf, readUnpacked, TraceError } from './traces/trace-file.ts'
import { attributesOf, spansOf, type ExportedSpan } from './traces/span-export.ts'
import type { BatchPoint, StreamPoint } from './fit.ts'

export interface Observed {
  readonly batches: BatchPoint[]
  readonly calls: StreamPoint[]
}

interface Attempt {
  readonly startMs: number
  readonly endMs: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly ttftMs: number
  readonly decodeMs: number
}

/** `backend`: only its spans. Throws a TraceError. */
export async function observedIn(file: string, backend?: string): Promise<Observed> {
  const batches: BatchPoint[] = []
  const attempts: Attempt[] = []
  for (const { line, text } of linesOf(await readUnpacked(file))) {
    for (const span of spansOf(jsonAt(file, line, text))) {
      const attributes = attributesOf(span)
      if (backend !== undefined && attributes['flyball.backend'] !== backend) continue
      const [startMs, endMs] = [milliseconds(span, 'startTimeUnixNano'), milliseconds(span, 'endTimeUnixNano')]
      if (startMs === undefined || endMs === undefined) continue
      const number = (name: string): number => Number(attributes[name] ?? 0) || 0
      if (attributes['flyball.batch.work'] !== undefined && span.name === 'batch') batches.push({ work: number('flyball.batch.work'), ms: endMs - startMs })
      else if (attributes['flyball.purpose'] !== undefined && attributes['flyball.outcome'] === 'ok') {
        const waitedMs = number('flyball.queue_ms') + number('flyball.batch_wait_ms')
        attempts.push({ startMs: startMs + waitedMs, endMs, inputTokens: number('gen_ai.usage.input_tokens'), outputTokens: number('gen_ai.usage.output_tokens'), ttftMs: number('flyball.upstream_ttft_ms'), decodeMs: number('flyball.decode_ms') })
      }
    }
  }
  if (batches.length + attempts.length === 0) throw new TraceError(file, undefined, `expected spans of batches or attempts${backend === undefined ? '' : ` of backend ${backend}`}, got none`)
  return { batches, calls: withConcurrency(attempts) }
}

/** Mean number of attempts at the backend while each was there. */
function withConcurrency(attempts: readonly Attempt[]): StreamPoint[] {
  const starts = [...attempts].sort((a, b) => a.startMs - b.startMs)
  return starts.map((attempt) => {
    const spanMs = Math.max(1e-3, attempt.endMs - attempt.startMs)
    let together = 0
    for (const other of starts) {
      if (other.startMs > attempt.endMs) break
      together += Math.max(0, Math.min(attempt.endMs, other.endMs) - Math.max(attempt.startMs, other.startMs))
    }
    return { inputTokens: attempt.inputTokens, outputTokens: attempt.outputTokens, ttftMs: attempt.ttftMs, decodeMs: attempt.decodeMs, concurrency: Math.max(1, together / spanMs) }
  })
}

function milliseconds(span: ExportedSpan, name: 'startTimeUnixNano' | 'endTimeUnixNano'): number | undefined {
  const value = span[name]
  return value !== undefined && /^\d+$/.test(String(value)) ? Number(BigInt(value) / 1_000n) / 1_000 : undefined
}
