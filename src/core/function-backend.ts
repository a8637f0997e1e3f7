/** A function as a backend: one call at a time per slot (`wrap`), or many as one run (`wrapBatch`). */
import { context, trace } from '@opentelemetry/api'
import type { Backend } from './backend.ts'
import type { Call } from './call.ts'
import { FlyballError, toFlyballError } from './errors.ts'
import { replyOf, type Reply } from './reply.ts'

export interface FunctionContext {
  /** Aborts when nobody waits for the result any more. */
  readonly signal: AbortSignal
}

export interface BatchContext extends FunctionContext {
  /** One signal per item, in order. */
  readonly signals: readonly AbortSignal[]
}

export interface FunctionBackendOptions {
  /** Runs at once. Default 1 for batches, 64 for single calls: a function rarely says how much it bears. */
  slots?: number
  /** Largest batch. Default 64. */
  maxBatch?: number
  /** Most work in one batch, in the unit of `work`. */
  maxBatchWork?: number
  /** Only items with equal keys share a batch. Default: all do. `null`: alone. */
  batchKey?: (input: unknown) => string | null
}

const valueReply = (value: unknown): Reply => replyOf([{ deltas: [{ type: 'value', value }], tokens: 0 }])

/** The function keeps its caller's trace context, so that its own spans nest under the attempt. */
const inSpan = <T>(call: Call, fn: () => T): T => context.with(trace.setSpan(context.active(), call.span), fn)

export function functionBackend<I, O>(name: string, fn: (input: I, context: FunctionContext) => O | Promise<O>, options: FunctionBackendOptions = {}): Backend {
  return {
    name,
    provider: 'function',
    inProcess: true,
    private: true,
    models: [name],
    limits: { slots: options.slots ?? 64, maxBatch: 1, batching: 'none' },
    run: (calls, signal) => calls.map(async (call) => valueReply(await inSpan(call, () => fn(call.input as I, { signal })))),
    async close() {},
  }
}

/**
 * `fn` gives one result per item, in order; an `Error` in an item's place fails that item alone. When it throws instead,
 * the batch is split and its halves are tried apart, so that one poisoned item does not fail its neighbours.
 */
export function batchFunctionBackend<I, O>(name: string, fn: (items: readonly I[], context: BatchContext) => Promise<readonly (O | Error)[]>, options: FunctionBackendOptions = {}): Backend {
  async function runItems(calls: readonly Call[], signal: AbortSignal): Promise<readonly (O | Error)[]> {
    let thrown: unknown
    try {
      const results = await inSpan(calls[0] as Call, () => fn(calls.map((call) => call.input as I), { signal, signals: calls.map((call) => call.signal) }))
      if (Array.isArray(results) && results.length === calls.length) return results
      // A wrong count cannot be told apart by splitting: nobody knows whose result is whose.
      const error = new FlyballError('backend_failed', { message: `${name} returned ${Array.isArray(results) ? `${results.length} results` : 'no array'} for ${calls.length} items` })
      return calls.map(() => error)
    } catch (error) {
      thrown = error
    }
    if (calls.length === 1 || signal.aborted) return calls.map(() => toFlyballError(thrown, 'backend_failed'))
    const half = calls.length >> 1
    const first = await runItems(calls.slice(0, half), signal)
    return [...first, ...(await runItems(calls.slice(half), signal))]
  }
  return {
    name,
    provider: 'function',
    inProcess: true,
    private: true,
    models: [name],
    limits: {
      slots: options.slots ?? 1,
      maxBatch: options.maxBatch ?? 64,
      ...(options.maxBatchWork === undefined ? {} : { maxBatchWork: options.maxBatchWork }),
      batching: 'merge',
    },
    batch: { key: (call) => (options.batchKey ? options.batchKey(call.input) : '') },
    run(calls, signal) {
      const results = runItems(calls, signal)
      return calls.map(async (_, i) => {
        const result = (await results)[i]
        if (result instanceof Error) throw toFlyballError(result, 'backend_failed')
        return valueReply(result)
      })
    },
    async close() {},
  }
}
