/** The request headers that go upstream. */
import { propagation, ROOT_CONTEXT, trace, type Span, type TextMapSetter } from '@opentelemetry/api'

/**
 * Not forwarded: what is about the client's connection (RFC 9110 7.6.1), what we set anew, what would make the reply
 * unreadable to us, and cookies, which are the host application's business and never a model provider's.
 */
const NEVER = new Set(['host', 'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'expect', 'accept-encoding', 'cookie'])
const CREDENTIALS = new Set(['authorization', 'x-api-key', 'api-key'])

type Kind = 'forward' | 'never' | 'credential'

/** Clients spell few names: what was decided about a spelling is kept, so that a header costs no lower-casing. */
const MAX_SPELLINGS = 1_024
const kinds = new Map<string, Kind>()

function kindOf(name: string): Kind {
  let kind = kinds.get(name)
  if (kind === undefined) {
    const lower = name.toLowerCase()
    kind = NEVER.has(lower) || lower.startsWith('x-flyball-') ? 'never' : CREDENTIALS.has(lower) ? 'credential' : 'forward'
    if (kinds.size < MAX_SPELLINGS) kinds.set(name, kind)
  }
  return kind
}

/** Flat copies of the headers that may pass. Credentials pass only when `withCredentials`. */
export function forwardHeaders(rawHeaders: readonly string[], withCredentials: boolean): string[] {
  const kept: string[] = []
  let connection: string | undefined
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    const kind = kindOf(name)
    if (kind === 'forward' || (kind === 'credential' && withCredentials)) kept.push(name, rawHeaders[i + 1] as string)
    else if (name.length === 10 && name.toLowerCase() === 'connection') connection = rawHeaders[i + 1] as string
  }
  return connection === undefined || /^(?:keep-alive|close)$/i.test(connection) ? kept : withoutNamed(kept, connection)
}

/** `connection` may name further headers of its hop. */
function withoutNamed(headers: string[], connection: string): string[] {
  const named = new Set(connection.split(',').map((name) => name.trim().toLowerCase()))
  return headers.filter((_, i) => !named.has((headers[i - (i % 2)] as string).toLowerCase()))
}

/** Replaces a header, or adds it. */
export function setHeader(headers: string[], name: string, value: string): void {
  for (let i = 0; i < headers.length; i += 2) {
    const present = headers[i] as string
    if (present.length === name.length && present.toLowerCase() === name) {
      headers[i + 1] = value
      return
    }
  }
  headers.push(name, value)
}

export function hasHeader(headers: readonly string[], name: string): boolean {
  for (let i = 0; i < headers.length; i += 2) if (headers[i]?.length === name.length && headers[i]?.toLowerCase() === name) return true
  return false
}

const setter: TextMapSetter<string[]> = { set: (headers, name, value) => setHeader(headers, name.toLowerCase(), value) }

/** The trace goes on upstream. Without a registered propagator the client's own trace headers pass unchanged. */
export function injectTrace(headers: string[], span: Span): void {
  propagation.inject(trace.setSpan(ROOT_CONTEXT, span), headers, setter)
}

/** The client's credential, whichever protocol's header it came in. */
export function credentialOf(rawHeaders: readonly string[]): string | undefined {
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (kindOf(name) === 'credential') return (rawHeaders[i + 1] as string).replace(/^Bearer\s+/i, '')
  }
  return undefined
}
