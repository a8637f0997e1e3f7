/** Response headers: what passes through from upstream, and what we add. */
import type { LiveCall } from '../core/call.ts'
import { FlyballError } from '../core/errors.ts'

/** RFC 9110 7.6.1: about one connection, never forwarded. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'])

/** A copy of flat raw headers without those about the upstream's own connection. */
export function forwardableHeaders(rawHeaders: readonly string[]): string[] {
  const kept: string[] = []
  let named: Set<string> | undefined
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.length !== 10 || rawHeaders[i]?.toLowerCase() !== 'connection') continue
    named ??= new Set()
    for (const name of (rawHeaders[i + 1] as string).split(',')) named.add(name.trim().toLowerCase())
  }
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase()
    if (HOP_BY_HOP.has(name) || named?.has(name)) continue
    kept.push(rawHeaders[i] as string, rawHeaders[i + 1] as string)
  }
  return kept
}

/** `retry-after-ms` is read by both official SDKs; `retry-after` by everybody else. */
export function retryHeaders(error: FlyballError, into: string[] = []): string[] {
  if (error.retryAfterMs === undefined) return into
  const ms = Math.max(1, Math.ceil(error.retryAfterMs))
  into.push('retry-after-ms', String(ms), 'retry-after', String(Math.ceil(ms / 1_000)))
  return into
}

/** Header values come from configuration and plugins: anything that could break a header line is dropped. */
const safe = (value: unknown): string => String(value).replace(/[^\x20-\x7e]/g, '')

/** Who served the call, and where its time went up to now. */
export function callHeaders(call: LiveCall, nowMs: number, into: string[]): string[] {
  into.push('x-flyball-id', call.id, 'x-flyball-class', safe(call.class))
  const backend = call.facts.get('backend')
  if (backend !== undefined) into.push('x-flyball-backend', safe(backend))
  const cache = call.facts.get('cache')
  if (cache !== undefined) into.push('x-flyball-cache', safe(cache))
  into.push('server-timing', serverTiming(call, nowMs))
  return into
}

/** The stages in the order that a call goes through them; those it never reached are left out. */
function serverTiming(call: LiveCall, nowMs: number): string {
  const { receivedMs, createdMs, enqueuedMs, heldMs, dispatchedMs } = call.timings
  let text = `before;dur=${ms(createdMs - receivedMs)}`
  if (enqueuedMs === undefined) return `${text}, gateway;dur=${ms(nowMs - createdMs)}, total;dur=${ms(nowMs - receivedMs)}`
  text += `, gateway;dur=${ms(enqueuedMs - createdMs)}`
  const queueEndMs = heldMs ?? dispatchedMs ?? nowMs
  text += `, queue;dur=${ms(queueEndMs - enqueuedMs)}`
  if (heldMs !== undefined) text += `, batch;dur=${ms((dispatchedMs ?? nowMs) - heldMs)}`
  if (dispatchedMs !== undefined) text += `, upstream;dur=${ms(nowMs - dispatchedMs)}`
  return `${text}, total;dur=${ms(nowMs - receivedMs)}`
}

const ms = (duration: number): string => Math.max(0, duration).toFixed(1)
