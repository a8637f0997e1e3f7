/**
 * What providers say about their limits. Lenient: servers send -1, 0, nothing and prose; whatever is no sensible number
 * is left out.
 */
import type { Clock } from '../core/clock.ts'

export interface RateLimit {
  readonly limit?: number
  readonly remaining?: number
  /** Until the bucket is full again, ms from now. */
  readonly resetMs?: number
}

export interface RateLimits {
  readonly requests?: RateLimit
  /** Input and output together. */
  readonly tokens?: RateLimit
  readonly inputTokens?: RateLimit
  readonly outputTokens?: RateLimit
  readonly retryAfterMs?: number
}

type Kind = 'requests' | 'tokens' | 'inputTokens' | 'outputTokens'
type Field = 'limit' | 'remaining' | 'reset'

const KINDS: readonly (readonly [string, Kind])[] = [
  ['requests', 'requests'],
  ['input-tokens', 'inputTokens'],
  ['output-tokens', 'outputTokens'],
  ['tokens', 'tokens'],
]

/** A limit further off than this is a mistake. */
const MAX_WAIT_MS = 24 * 3_600_000

/** `x-ratelimit-limit-requests`, `anthropic-ratelimit-requests-limit`: the same words in two orders. */
function fieldOf(name: string): { kind: Kind; field: Field } | undefined {
  const openAi = /^x-ratelimit-(limit|remaining|reset)-(.+)$/.exec(name)
  const anthropic = /^anthropic-ratelimit-(.+)-(limit|remaining|reset)$/.exec(name)
  const [word, field] = openAi ? [openAi[2], openAi[1]] : anthropic ? [anthropic[1], anthropic[2]] : []
  const kind = KINDS.find(([known]) => known === word)?.[1]
  return kind === undefined ? undefined : { kind, field: field as Field }
}

const plainNumber = (text: string): number | undefined => (/^\d+(?:\.\d+)?$/.test(text) ? Number(text) : undefined)
const sensibleMs = (ms: number | undefined): number | undefined => (ms !== undefined && ms >= 0 && ms <= MAX_WAIT_MS ? ms : undefined)

const UNIT_MS: { readonly [unit: string]: number } = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `6m0s`, `120ms`, `1.5s`, a number of seconds, or an RFC 3339 time. */
function resetMs(text: string, clock: Pick<Clock, 'wallMs'>): number | undefined {
  const seconds = plainNumber(text)
  if (seconds !== undefined) {
    // Some send the time itself, in seconds or milliseconds since 1970.
    if (seconds > 1e12) return sensibleMs(Math.max(0, seconds - clock.wallMs()))
    if (seconds > 1e9) return sensibleMs(Math.max(0, seconds * 1_000 - clock.wallMs()))
    return sensibleMs(seconds * 1_000)
  }
  if (/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(text)) {
    let ms = 0
    for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) ms += Number(amount) * (UNIT_MS[unit as string] as number)
    return sensibleMs(ms)
  }
  return untilDate(text, clock)
}

function untilDate(text: string, clock: Pick<Clock, 'wallMs'>): number | undefined {
  const at = Date.parse(text)
  return Number.isNaN(at) || /^-?\d/.test(text) && !text.includes('T') ? undefined : sensibleMs(Math.max(0, at - clock.wallMs()))
}

export function readRateLimits(rawHeaders: readonly string[], clock: Pick<Clock, 'wallMs'>): RateLimits {
  const found: { [K in Kind]?: { limit?: number; remaining?: number; resetMs?: number } } = {}
  let retryMs: number | undefined
  let retryS: number | undefined
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase()
    const text = (rawHeaders[i + 1] as string).trim()
    if (name === 'retry-after-ms') retryMs = sensibleMs(plainNumber(text))
    else if (name === 'retry-after') retryS = sensibleMs(plainNumber(text) === undefined ? untilDate(text, clock) : Number(text) * 1_000)
    else if (name.includes('ratelimit')) {
      const known = fieldOf(name)
      if (!known) continue
      const entry = (found[known.kind] ??= {})
      if (known.field === 'reset') {
        const ms = resetMs(text, clock)
        if (ms !== undefined) entry.resetMs = ms
      } else {
        const count = plainNumber(text)
        // A limit of 0 is a server that does not know; 0 remaining is news.
        if (count !== undefined && (known.field === 'remaining' || count > 0)) entry[known.field] = count
      }
    }
  }
  const limits: { -readonly [K in keyof RateLimits]: RateLimits[K] } = {}
  for (const [, kind] of KINDS) {
    const entry = found[kind]
    if (!entry || Object.keys(entry).length === 0) continue
    // `remaining: 0` without a real limit comes from servers that keep no counts.
    if (entry.limit === undefined && entry.remaining === 0) delete entry.remaining
    if (Object.keys(entry).length > 0) limits[kind] = entry
  }
  const retryAfterMs = retryMs ?? retryS
  return retryAfterMs === undefined ? limits : { ...limits, retryAfterMs }
}
