/** What a backend did, read from our own spans: batches with their work and time, calls with their tokens and times. */
import { jsonAt, linesOf, readUnpacked, TraceError } from './traces/trace-file.ts'
import { attributesOf, spansOf, type ExportedSpan } from './traces/span-export.ts'
import type { BatchPoint, ServedCall } from './fit.ts'

export interface Observed {
  readonly batches: BatchPoint[]
  readonly calls: ServedCall[]
}

/** `backend`: only its spans. Throws a TraceError. */
export async function observedIn(file: string, backend?: string): Promise<Observed> {
  const batches: BatchPoint[] = []
  const calls: ServedCall[] = []
  for (const { line, text } of linesOf(await readUnpacked(file))) {
    for (const span of spansOf(jsonAt(file, line, text))) {
      const attributes = attributesOf(span)
      if (backend !== undefined && attributes['flyball.backend'] !== backend) continue
      const [startMs, endMs] = [milliseconds(span, 'startTimeUnixNano'), milliseconds(span, 'endTimeUnixNano')]
      if (startMs === undefined || endMs === undefined) continue
      const number = (name: string): number => Number(attributes[name] ?? 0) || 0
      if (attributes['flyball.batch.work'] !== undefined && span.name === 'batch') batches.push({ work: number('flyball.batch.work'), ms: endMs - startMs })
      else if (attributes['flyball.purpose'] !== undefined && attributes['flyball.outcome'] === 'ok') {
        const sentMs = startMs + number('flyball.queue_ms') + number('flyball.batch_wait_ms')
        calls.push({ startMs: sentMs, firstMs: sentMs + number('flyball.upstream_ttft_ms'), endMs, inputTokens: number('gen_ai.usage.input_tokens'), outputTokens: number('gen_ai.usage.output_tokens') })
      }
    }
  }
  if (batches.length + calls.length === 0) throw new TraceError(file, undefined, `expected spans of batches or attempts${backend === undefined ? '' : ` of backend ${backend}`}, got none`)
  return { batches, calls }
}

function milliseconds(span: ExportedSpan, name: 'startTimeUnixNano' | 'endTimeUnixNano'): number | undefined {
  const value = span[name]
  return value !== undefined && /^\d+$/.test(String(value)) ? Number(BigInt(value) / 1_000n) / 1_000 : undefined
}
