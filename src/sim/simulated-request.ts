/** One request of a trace or a generated workload, before anybody has served it. */

export interface TraceRequest {
  /** Arrival, ms since the start of the run. Traces and workloads are in this order. */
  readonly atMs: number
  readonly inputTokens: number
  readonly outputTokens: number
  /** What the client asked for at most; default: what it gets. */
  readonly maxOutputTokens?: number
  readonly class?: string
  readonly tenant?: string
  /** Identity of the answer, for caches: equal keys have equal answers as long as the answer does not change. */
  readonly key?: string
  /** Class of change of that answer. */
  readonly changeClass?: string
  readonly stream?: boolean
  /** The caller goes away after this long, ms. */
  readonly abortAfterMs?: number
  /** Expected cost in the unit of batching; default: input and output tokens together. */
  readonly work?: number
  /** Hashes of its prompt's blocks, where a trace has them. */
  readonly prefixBlocks?: readonly number[]
}

export const workOf = (request: TraceRequest): number => request.work ?? Math.max(1, request.inputTokens + request.outputTokens)
