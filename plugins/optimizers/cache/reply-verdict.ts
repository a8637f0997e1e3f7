/** Which answers may be kept, what they weigh, and how to tell whether one has changed. */
import { hash } from 'node:crypto'
import type { Call, Chunk, Delta, Reply } from '../../../src/index.ts'
import { canonicalJson } from './canonical-json.ts'

/** Operations whose answers must say that they are finished; one that does not was cut short. */
const FINISHES: ReadonlySet<string> = new Set(['chat', 'completions', 'messages', 'responses'])

/**
 * Never errors, never tool calls (their effect is the point of them), and no truncation but at the caller's own limit: that is
 * part of the question, and cuts the same answer at the same place.
 */
export function mayKeep({ operation, maxOutputTokens }: Pick<Call, 'operation' | 'maxOutputTokens'>, status: number, chunks: readonly Chunk[]): boolean {
  if (status !== 200) return false
  let finished = false
  for (const chunk of chunks) {
    for (const delta of chunk.deltas ?? []) {
      if (delta.type === 'error' || delta.type === 'tool-start' || delta.type === 'tool-input') return false
      if (delta.type !== 'finish') continue
      if (delta.reason !== 'stop' && !(delta.reason === 'length' && maxOutputTokens !== undefined)) return false
      finished = true
    }
  }
  return finished || !FINISHES.has(operation)
}

/** Of one caller's exchange, not of the answer. */
const NOT_KEPT = /^(connection|keep-alive|transfer-encoding|te|trailer|upgrade|proxy-.*|date|age|set-cookie|set-cookie2|server-timing|x-request-id|request-id|retry-after.*|x-ratelimit-.*|anthropic-ratelimit-.*|traceparent|tracestate|cf-ray|alt-svc|openai-processing-ms|x-envoy-.*|x-flyball-.*)$/i

export function keptHeaders(rawHeaders: readonly string[]): string[] {
  const kept: string[] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (isKept(name)) kept.push(name, rawHeaders[i + 1] as string)
  }
  return kept
}

/** Upstreams spell few names: what was decided about a spelling is remembered. */
const MAX_SPELLINGS = 1_024
const keptByName = new Map<string, boolean>()

function isKept(name: string): boolean {
  let kept = keptByName.get(name)
  if (kept === undefined) {
    kept = !NOT_KEPT.test(name)
    if (keptByName.size < MAX_SPELLINGS) keptByName.set(name, kept)
  }
  return kept
}

/** Objects, arrays and map slots around the bytes themselves. */
const CHUNK_BYTES = 160
const DELTA_BYTES = 80

/** Estimated memory; undefined: it cannot be kept (a value without a text is shared state in disguise). */
export function chunkBytes(chunk: Chunk): number | undefined {
  let bytes = CHUNK_BYTES + (chunk.raw?.byteLength ?? 0)
  for (const delta of chunk.deltas ?? []) {
    const own = deltaBytes(delta)
    if (own === undefined) return undefined
    bytes += DELTA_BYTES + own
  }
  return bytes
}

function deltaBytes(delta: Delta): number | undefined {
  switch (delta.type) {
    case 'text':
    case 'reasoning':
    case 'refusal':
      return delta.text.length * 2
    case 'tool-input':
      return delta.json.length * 2
    case 'embedding':
      return delta.vector.length * 8
    case 'value': {
      const text = canonicalJson(delta.value)
      return text === undefined ? undefined : text.length * 2
    }
    default:
      return 64
  }
}

/** A value of a wrapped function belongs to whoever got it: the next one gets a copy. */
export function ownChunk(chunk: Chunk): Chunk {
  const { deltas } = chunk
  if (!deltas?.some((delta) => delta.type === 'value' && typeof delta.value === 'object' && delta.value !== null)) return chunk
  return { ...chunk, deltas: deltas.map((delta) => (delta.type === 'value' ? { ...delta, value: structuredClone(delta.value) } : delta)) }
}

/** Fields in which two equal answers differ: ids, times, and what it cost. */
const VOLATILE = /"(id|created|created_at|system_fingerprint|request_id|service_tier)"\s*:\s*("(?:[^"\\]|\\.)*"|-?[\d.eE+]+|null)/g
const USAGE = /"usage"\s*:\s*\{(?:[^{}]|\{[^{}]*\})*\}/g

/** What an answer says, without what differs between two equal ones: exact first, normalised where it can be. */
export function answerDigest(reply: Pick<Reply, 'status'>, chunks: readonly Chunk[]): string {
  let text = ''
  for (const chunk of chunks) {
    if (chunk.raw) text += Buffer.from(chunk.raw).toString('latin1')
    else for (const delta of chunk.deltas ?? []) if (delta.type !== 'start' && delta.type !== 'usage') text += canonicalJson(delta) ?? ''
  }
  return hash('sha256', `${reply.status}${text.replace(VOLATILE, '').replace(USAGE, '')}`, 'base64url')
}
