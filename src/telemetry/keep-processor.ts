/**
 * Keeps the traces worth keeping: every error, every slow call, every move of a loop, and a share of the rest. There is no
 * tail sampler in the SDK; this one decides when the last span of this process in a trace has ended.
 */
import { SpanStatusCode, TraceFlags, type Context } from '@opentelemetry/api'
import type { ReadableSpan, Span, SpanProcessor } from '@opentelemetry/sdk-trace'

/** The event that the span of a loop's move carries. */
export const MOVE_EVENT = 'flyball.knob_move'

export interface KeepOptions {
  /** A call that takes at least this long is kept, ms. */
  slowMs: number
  /** Most traces that wait for their end; the oldest are let go. Default 2,000. */
  maxTraces?: number
}

/** A trace with more spans than this is kept in part. */
const MAX_SPANS_PER_TRACE = 256
/** Decisions remembered for spans that end late. */
const MAX_DECIDED = 2_000

/** Wants a sampler that records everything (`createAlwaysRecordSampler`): what is sampled passes, the rest waits here. */
export class KeepProcessor implements SpanProcessor {
  readonly #next: readonly SpanProcessor[]
  readonly #slowMs: number
  readonly #maxTraces: number
  readonly #waiting = new Map<string, ReadableSpan[]>()
  readonly #kept = new Set<string>()

  constructor(next: readonly SpanProcessor[], options: KeepOptions) {
    this.#next = next
    this.#slowMs = options.slowMs
    this.#maxTraces = options.maxTraces ?? 2_000
  }

  onStart(span: Span, parent: Context): void {
    for (const processor of this.#next) processor.onStart(span, parent)
  }

  onEnd(span: ReadableSpan): void {
    const { traceId, traceFlags } = span.spanContext()
    if ((traceFlags & TraceFlags.SAMPLED) !== 0) return this.#pass(span)
    if (this.#kept.has(traceId)) return this.#pass(promoted(span))
    const spans = this.#waiting.get(traceId) ?? []
    if (spans.length < MAX_SPANS_PER_TRACE) spans.push(span)
    if (!isLocalRoot(span)) {
      this.#waiting.set(traceId, spans)
      if (this.#waiting.size > this.#maxTraces) this.#waiting.delete(this.#waiting.keys().next().value as string)
      return
    }
    this.#waiting.delete(traceId)
    if (durationMs(span) < this.#slowMs && !spans.some(isRemarkable)) return
    this.#kept.add(traceId)
    if (this.#kept.size > MAX_DECIDED) this.#kept.delete(this.#kept.values().next().value as string)
    for (const one of spans) this.#pass(promoted(one))
  }

  #pass(span: ReadableSpan): void {
    for (const processor of this.#next) processor.onEnd(span)
  }

  async forceFlush(): Promise<void> {
    await Promise.all(this.#next.map((processor) => processor.forceFlush()))
  }

  async shutdown(): Promise<void> {
    this.#waiting.clear()
    await Promise.all(this.#next.map((processor) => processor.shutdown()))
  }
}

/** The first span of this process in its trace. */
function isLocalRoot({ parentSpanContext }: ReadableSpan): boolean {
  return parentSpanContext === undefined || parentSpanContext.isRemote === true
}

function isRemarkable({ status, events }: ReadableSpan): boolean {
  return status.code === SpanStatusCode.ERROR || events.some(({ name }) => name === MOVE_EVENT)
}

const durationMs = ({ duration: [seconds, nanoseconds] }: ReadableSpan): number => seconds * 1_000 + nanoseconds / 1e6

/** Exporters drop what is not marked as sampled. */
function promoted(span: ReadableSpan): ReadableSpan {
  const context = { ...span.spanContext(), traceFlags: span.spanContext().traceFlags | TraceFlags.SAMPLED }
  return Object.create(span, { spanContext: { value: () => context } }) as ReadableSpan
}
