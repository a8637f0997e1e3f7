/**
 * Our own spans, as a collector's file exporter writes them (one OTLP/JSON export a line) or one span a line: last Tuesday,
 * ready to be run again under another policy.
 */
import type { TraceRequest } from '../simulated-request.ts'
import { jsonAt, linesOf, shown, TraceError } from './trace-file.ts'

interface OtlpValue {
  stringValue?: string
  intValue?: string | number
  doubleValue?: number
  boolValue?: boolean
}
export interface ExportedSpan {
  name?: string
  startTimeUnixNano?: string | number
  endTimeUnixNano?: string | number
  attributes?: readonly { key?: string; value?: OtlpValue }[] | Record<string, unknown>
}

/** Throws a TraceError. Spans are put in order of their start. */
export function spanExport(file: string, bytes: Buffer): TraceRequest[] {
  const found: { startMs: number; request: Omit<TraceRequest, 'atMs'> }[] = []
  for (const { line, text } of linesOf(bytes)) for (const span of spansOf(jsonAt(file, line, text))) {
    const attributes = attributesOf(span)
    // The logical call: attempts say what they were for, batches have no outcome.
    if (attributes['flyball.outcome'] === undefined || attributes['flyball.purpose'] !== undefined) continue
    const nanos = span.startTimeUnixNano
    if ((typeof nanos !== 'string' && typeof nanos !== 'number') || !/^\d+$/.test(String(nanos))) throw new TraceError(file, line, `expected startTimeUnixNano to be a whole number, got ${shown(nanos)}`)
    const tokens = (name: string): number => Math.max(0, Math.round(Number(attributes[name] ?? 0))) || 0
    const name = attributes['flyball.class']
    const tenant = attributes['flyball.tenant']
    found.push({
      // Whole microseconds first: nanoseconds since 1970 do not fit a number.
      startMs: Number(BigInt(nanos) / 1_000n) / 1_000,
      request: {
        inputTokens: tokens('gen_ai.usage.input_tokens'),
        outputTokens: Math.max(1, tokens('gen_ai.usage.output_tokens')),
        stream: Number(attributes['flyball.decode_ms'] ?? 0) > 0,
        ...(typeof name === 'string' ? { class: name } : {}),
        ...(typeof tenant === 'string' ? { tenant } : {}),
        ...(attributes['flyball.outcome'] === 'cancelled' ? { abortAfterMs: totalMs(attributes) } : {}),
      },
    })
  }
  if (found.length === 0) throw new TraceError(file, undefined, 'expected spans with flyball.outcome, got none')
  found.sort((a, b) => a.startMs - b.startMs)
  const firstMs = (found[0] as { startMs: number }).startMs
  return found.map(({ startMs, request }) => ({ atMs: startMs - firstMs, ...request }))
}

const STAGES = ['before_handler', 'gateway', 'queue', 'batch_wait', 'upstream_ttft', 'decode', 'backpressure']
const totalMs = (attributes: Readonly<Record<string, unknown>>): number => STAGES.reduce((sum, stage) => sum + Number(attributes[`flyball.${stage}_ms`] ?? 0), 0)

export function spansOf(row: Record<string, unknown>): ExportedSpan[] {
  if (!Array.isArray(row['resourceSpans'])) return [row as ExportedSpan]
  return (row['resourceSpans'] as { scopeSpans?: { spans?: ExportedSpan[] }[] }[]).flatMap((resource) => (resource.scopeSpans ?? []).flatMap((scope) => scope.spans ?? []))
}

export function attributesOf({ attributes }: ExportedSpan): Record<string, unknown> {
  if (!Array.isArray(attributes)) return (attributes ?? {}) as Record<string, unknown>
  return Object.fromEntries(attributes.map(({ key = '', value = {} }) => [key, value.stringValue ?? value.doubleValue ?? value.boolValue ?? (value.intValue === undefined ? undefined : Number(value.intValue))]))
}
