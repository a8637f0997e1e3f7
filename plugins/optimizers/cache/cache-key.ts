/** What identifies an answer, and which calls have none that may be kept. */
import { hash } from 'node:crypto'
import { header, type Call } from '../../../src/index.ts'
import { canonicalJson } from './canonical-json.ts'

export interface KeyOptions {
  /** `null`: do not cache. Undefined: derive it. */
  readonly key?: ((call: Call) => string | null | undefined) | undefined
  /** Cache answers that are drawn at random as well. */
  readonly cacheSampled: boolean
}

export type KeyResult = { readonly key: string } | { readonly bypass: 'asked' | 'no_key' | 'sampled' | 'side_effect' }

/** Say who asks and how the answer is delivered, not what is asked. */
const NOT_THE_QUESTION: ReadonlySet<string> = new Set(['user', 'metadata', 'safety_identifier', 'prompt_cache_key', 'prompt_cache_retention', 'service_tier', 'stream_options', 'stream', 'store'])
/** In a stream they change its bytes. */
const STREAM_FIELDS = ['stream_options'] as const
/** Headers that change the answer. */
const VARY = ['anthropic-version', 'anthropic-beta', 'openai-beta', 'openai-organization', 'openai-project'] as const
/** Operations whose answers are drawn at random unless the temperature is 0; the protocols' default is 1. */
const SAMPLED: ReadonlySet<string> = new Set(['chat', 'completions', 'messages', 'responses'])

function bypassAsked(call: Call): boolean {
  const headers = call.wire?.rawHeaders
  if (!headers) return false
  const control = header(headers, 'cache-control')
  if (control !== undefined && /\bno-(store|cache)\b/i.test(control)) return true
  return header(headers, 'x-flyball-cache')?.toLowerCase() === 'bypass'
}

/** Drawn at random: the same question may rightly have another answer. */
export function isSampled(call: Call): boolean {
  if (!SAMPLED.has(call.operation) || typeof call.input !== 'object' || call.input === null) return false
  return (call.input as { temperature?: unknown }).temperature !== 0
}

export function cacheKey(call: Call, options: KeyOptions): KeyResult {
  if (bypassAsked(call)) return { bypass: 'asked' }
  const given = options.key?.(call)
  const named = given === undefined ? call.cacheKey : given
  if (named === null) return { bypass: 'no_key' }
  if (named === undefined) {
    if (!options.cacheSampled && isSampled(call)) return { bypass: 'sampled' }
    // OpenAI's `store` keeps the answer on the provider's side: skipping the call would skip that.
    if (typeof call.input === 'object' && call.input !== null && (call.input as { store?: unknown }).store === true) return { bypass: 'side_effect' }
  }
  const question = named === undefined ? canonicalJson(call.input, NOT_THE_QUESTION) : `=${named}`
  if (question === undefined) return { bypass: 'no_key' }
  const wire = call.wire
  const input = call.input as Record<string, unknown> | null
  const context = canonicalJson([
    call.tenant,
    call.operation,
    call.model,
    wire?.protocol ?? '',
    // A unary answer is not replayed as a stream nor the other way round: neither has the bytes of the other.
    call.stream,
    call.stream && typeof input === 'object' && input !== null ? STREAM_FIELDS.map((name) => input[name] ?? null) : [],
    wire ? VARY.map((name) => header(wire.rawHeaders, name) ?? null) : [],
  ])
  if (context === undefined) return { bypass: 'no_key' }
  // One call into the hash: an object for it costs more than hashing a prompt.
  return { key: hash('sha256', `${context}\n${question}`, 'base64url') }
}
