/**
 * When a request's head arrived: before any middleware, so that time spent in the host's own handlers is visible. Node
 * says so on a diagnostics channel; nothing of the host's is patched.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import type { Clock } from '../core/clock.ts'

const CHANNEL = 'http.server.request.start'

export interface ReceivedAt {
  /** Monotonic ms; undefined for a request that arrived before we listened, or not over HTTP/1. */
  of(req: IncomingMessage): number | undefined
  stop(): void
}

/** Forgets a request when the request itself is forgotten. */
export function receivedAt(clock: Clock): ReceivedAt {
  const marks = new WeakMap<object, number>()
  const listener = (message: unknown): void => {
    const { request } = message as { request: object }
    marks.set(request, clock.monoMs())
  }
  subscribe(CHANNEL, listener)
  return {
    of: (req) => marks.get(req),
    stop: () => void unsubscribe(CHANNEL, listener),
  }
}
