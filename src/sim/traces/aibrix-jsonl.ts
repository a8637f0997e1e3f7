/** AIBrix traces: `timestamp` (ms) and the `requests` of that moment, with lengths; their prompts become keys, not text. */
import { createHash } from 'node:crypto'
import type { TraceRequest } from '../simulated-request.ts'
import { jsonAt, linesOf, shown, TraceError, wholeAt } from './trace-file.ts'

/** Throws a TraceError. */
export function* aibrixJsonl(file: string, bytes: Buffer): Generator<TraceRequest> {
  let startMs: number | undefined
  let lastMs = 0
  for (const { line, text } of linesOf(bytes)) {
    const row = jsonAt(file, line, text)
    const wallMs = wholeAt(file, line, 'timestamp', row['timestamp'])
    startMs ??= wallMs
    const atMs = wallMs - startMs
    if (atMs < lastMs) throw new TraceError(file, line, `expected timestamps in order, got ${wallMs} after ${lastMs + startMs}`)
    lastMs = atMs
    if (!Array.isArray(row['requests'])) throw new TraceError(file, line, `expected requests to be a list, got ${shown(row['requests'])}`)
    for (const request of row['requests'] as Record<string, unknown>[]) {
      const prompt = request?.['prompt'] ?? request?.['Prompt']
      yield {
        atMs,
        inputTokens: wholeAt(file, line, 'Prompt Length', request?.['Prompt Length']),
        outputTokens: Math.max(1, wholeAt(file, line, 'Output Length', request?.['Output Length'])),
        stream: true,
        ...(typeof prompt === 'string' ? { key: createHash('sha256').update(prompt).digest('base64url').slice(0, 16) } : {}),
      }
    }
  }
}
