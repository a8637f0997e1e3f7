/** What plants have in common: they are Backends whose service is computed instead of done. */
import type { Backend } from '../../core/backend.ts'
import type { Call } from '../../core/call.ts'
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

/** Runs `fn` once when the signal aborts, at once if it has; returns what takes it back. */
export function onAbort(signal: AbortSignal, fn: () => void): () => void {
  if (signal.aborted) {
    fn()
    return () => {}
  }
  signal.addEventListener('abort', fn, { once: true })
  return () => signal.removeEventListener('abort', fn)
}
