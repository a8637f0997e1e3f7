/** What plants have in common: they are Backends whose service is computed instead of done. */
import type { Backend } from '../../core/backend.ts'
import { LiveCall, type Call } from '../../core/call.ts'
import { CANONICAL, type Chunk, type Delta, type Reply } from '../../core/reply.ts'

/** What a simulated call asks for: `call.input`. */
export interface SimulatedRequest {
  readonly inputTokens: number
  readonly outputTokens: number
  /** What its answer depends on, for plants whose answers repeat or change. */
  readonly key?: string
  /** Class of change of that answer. */
  readonly changeClass?: string
}

export interface Plant extends Backend {
  /** From now on service takes this many times as long: slowdowns, recoveries, drift. */
  setSlowdown(factor: number): void
  /** Down: calls fail at once. */
  setDown(down: boolean): void
  /** Work done for calls that nobody waited for any more, in ms of service. */
  readonly wastedMs: number
  /** From now on it has these parameters: capacity that was added, a cliff that moved. Unknown names are a TypeError. */
  reshape(values: Readonly<Record<string, number>>): void
  /** Hosted APIs: the quota is this share of the configured one. */
  setQuota?(share: number): void
  /** Changing answers: this class changes so many times as often. */
  setHazardFactor?(changeClass: string, factor: number): void
  /** Hosted APIs: calls answered 429 so far. */
  readonly refusals?: number
}

/** Writes new numbers into a plant's own copy of its parameters. */
export function reshape(parameters: object, values: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!(name in parameters)) throw new TypeError(`plant: there is no parameter ${name}`)
    if (typeof value !== 'number' || !(value >= 0)) throw new TypeError(`plant: ${name}: expected a number of at least 0, got ${value}`)
  }
  Object.assign(parameters, values)
}

export const requestOf = (call: Call): SimulatedRequest => call.input as SimulatedRequest

/** A unary reply in one piece. */
export function unaryReply(deltas: readonly Delta[], tokens: number, status = 200, rawHeaders: readonly string[] = []): Reply {
  const chunk: Chunk = { deltas, tokens }
  return { status, rawHeaders, protocol: CANONICAL, stream: false, complete: true, body: { [Symbol.asyncIterator]: () => once(chunk) }, cancel() {} }
}

function once(chunk: Chunk): AsyncIterator<Chunk> {
  let given = false
  return {
    next() {
      if (given) return Promise.resolve({ done: true, value: undefined })
      given = true
      return Promise.resolve({ done: false, value: chunk })
    },
  }
}

/** Without making a signal for it. */
export const isAborted = (call: Call): boolean => (call instanceof LiveCall ? call.aborted : call.signal.aborted)
export const onCallAbort = (call: Call, fn: () => void): (() => void) => (call instanceof LiveCall ? call.onAbort(fn) : onAbort(call.signal, fn))

/** Runs `fn` once when the signal aborts, at once if it has; returns what takes it back. */
export function onAbort(signal: AbortSignal, fn: () => void): () => void {
  if (signal.aborted) {
    fn()
    return () => {}
  }
  signal.addEventListener('abort', fn, { once: true })
  return () => signal.removeEventListener('abort', fn)
}
