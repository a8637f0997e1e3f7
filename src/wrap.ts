/** Functions behind a governor: call them as before; they are queued, batched, traced and governed. */
import type { Governor } from './governor-contract.ts'
import { batchFunctionBackend, functionBackend, type BatchContext, type FunctionBackendOptions, type FunctionContext } from './core/function-backend.ts'
import type { Backend } from './core/backend.ts'
import type { FlyballError } from './core/errors.ts'

export interface WrapOptions<I> extends Omit<FunctionBackendOptions, 'batchKey'> {
  batchKey?: (input: I) => string | null
  /** What identifies the answer. Without it results are never cached: we cannot know what else they depend on. */
  key?: (input: I) => string | null
  /** Cache class of an input, for a TTL of its own. */
  cacheClass?: (input: I) => string | undefined
  /** Cost of one item. Default 1. */
  work?: (input: I) => number
}

export interface WrappedCallOptions {
  signal?: AbortSignal
  /** SLO class by name. */
  class?: string
  tenant?: string
  priority?: number
  /** Give up when it has not been served this long after the call, ms. */
  timeoutMs?: number
}

export type Wrapped<I, O> = (input: I, options?: WrappedCallOptions) => Promise<O>

export function wrap<I, O>(governor: Governor, name: string, fn: (input: I, context: FunctionContext) => O | Promise<O>, options: WrapOptions<I> = {}): Wrapped<I, O> {
  return callable(governor, functionBackend<I, O>(name, fn, options as FunctionBackendOptions), options)
}

export function wrapBatch<I, O>(governor: Governor, name: string, fn: (items: readonly I[], context: BatchContext) => Promise<readonly (O | Error)[]>, options: WrapOptions<I> = {}): Wrapped<I, O> {
  return callable(governor, batchFunctionBackend<I, O>(name, fn, options as FunctionBackendOptions), options)
}

function callable<I, O>(governor: Governor, backend: Backend, options: WrapOptions<I>): Wrapped<I, O> {
  governor.addBackend(backend)
  return async (input, callOptions = {}) => {
    const cacheClass = options.cacheClass?.(input)
    const call = governor.call({
      operation: backend.name,
      model: backend.name,
      input,
      cacheKey: options.key?.(input) ?? null,
      ...(cacheClass === undefined ? {} : { cacheClass }),
      work: options.work?.(input) ?? 1,
      ...(callOptions.signal ? { signal: callOptions.signal } : {}),
      ...(callOptions.class === undefined ? {} : { class: callOptions.class }),
      ...(callOptions.tenant === undefined ? {} : { tenant: callOptions.tenant }),
      ...(callOptions.priority === undefined ? {} : { priority: callOptions.priority }),
      ...(callOptions.timeoutMs === undefined ? {} : { deadlineMs: governor.clock.monoMs() + callOptions.timeoutMs }),
    })
    let value: unknown
    try {
      const reply = await governor.send(call)
      for await (const chunk of reply.body) for (const delta of chunk.deltas ?? []) if (delta.type === 'value') value = delta.value
    } catch (thrown) {
      throw original(thrown as FlyballError)
    }
    return value as O
  }
}

/** The caller of a wrapped function gets its own error back, not ours around it. */
function original(error: FlyballError): Error {
  return error.code === 'backend_failed' && error.cause instanceof Error ? error.cause : error
}
