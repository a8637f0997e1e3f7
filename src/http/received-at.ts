/**
 * When a request's head arrived: before any middleware, so that time spent in the host's own handlers is visible. Node
 * says so on a diagnostics channel; nothing of the host's is patched.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import type { Clock } from '../core/clock.ts'

const CHANNEL = 'http.server.request.start'

interface Marked {
  [mark: symbol]: number | undefined
}

export interface ReceivedAt {
  /** Monotonic ms; undefined for a request that arrived before we listened, or not over HTTP/1. */
  of(req: IncomingMessage): number | undefined
  stop(): void
}

/** The mark stands on the request itself, under a key that only this edge has: a `WeakMap` of all requests keeps the garbage collector busy. */
export function receivedAt(clock: Clock): ReceivedAt {
  const mark = Symbol('received')
  const listener = (message: unknown): void => {
    const { request } = message as { request: Marked }
    request[mark] = clock.monoMs()
  }
  subscribe(CHANNEL, listener)
  return {
    of: (req) => (req as IncomingMessage & Marked)[mark],
    stop: () => void unsubscribe(CHANNEL, listener),
  }
}
