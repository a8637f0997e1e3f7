/** Spans and instruments of calls, attempts and batches. Reads settlements; never touches a body. */
import { context, SpanKind, SpanStatusCode, trace, type Context, type Span, type Tracer } from '@opentelemetry/api'
import type { LiveCall } from '../core/call.ts'
import type { LaneObserver } from '../core/lane.ts'
import { splitLatency, type LatencySplit, type Settlement } from '../core/settlement.ts'
import { sloMet } from '../core/slo-met.ts'
import type { CORE_INSTRUMENTS } from './catalogue.ts'
import type { InstrumentSpec } from './instrument-spec.ts'
import type { CounterHandle, GaugeHandle, HistogramHandle } from './instruments.ts'

type HandleOf<S> = S extends InstrumentSpec<infer L, infer K> ? (K extends 'histogram' ? HistogramHandle<L> : K extends 'gauge' ? GaugeHandle<L> : CounterHandle<L>) : never
export type CoreHandles = { readonly [K in keyof typeof CORE_INSTRUMENTS]: HandleOf<(typeof CORE_INSTRUMENTS)[K]> }

export interface CallTelemetryOptions {
  handles: CoreHandles
  /** A model name fit to be a label: configured, or `_other`. */
  modelLabel: (model: string) => string
  tracer?: Tracer
}

export interface CallTelemetry {
  /** The logical span, as child of `parent` (from `traceparent`, or the host's own active span). */
  startCallSpan(operation: string, model: string, parent?: Context): Span
  startAttemptSpan(call: { readonly span: Span; readonly operation: string; readonly model: string }, backend: { name: string; provider: string; inProcess?: boolean }, purpose: string): Span
  /** Records everything when the logical call settles. */
  watchCall(call: LiveCall): void
  watchAttempt(call: LiveCall, backend: string, purpose: string): void
  readonly observer: LaneObserver
}

/** Names of spans' attributes are made once, not for each call. */
const STAGES = (
  [
    ['before_handler', 'beforeHandlerMs'],
    ['gateway', 'gatewayMs'],
    ['queue', 'queueMs'],
    ['batch_wait', 'batchWaitMs'],
    ['upstream_ttft', 'upstreamTtftMs'],
    ['decode', 'decodeMs'],
    ['backpressure', 'backpressureMs'],
  ] as const
).map(([stage, part]) => ({ stage, part, attribute: `flyball.${stage}_ms` }))

/** What came before an attempt stands on the call's span. */
const ATTEMPT_STAGES = STAGES.filter(({ part }) => part !== 'beforeHandlerMs' && part !== 'gatewayMs')

export function callTelemetry({ handles, modelLabel, tracer = trace.getTracer('flyball') }: CallTelemetryOptions): CallTelemetry {
  return {
    startCallSpan(operation, model, parent = context.active()) {
      return tracer.startSpan(`${operation} ${modelLabel(model)}`, { kind: SpanKind.INTERNAL, attributes: { 'gen_ai.operation.name': operation, 'gen_ai.request.model': modelLabel(model) } }, parent)
    },

    startAttemptSpan(call, backend, purpose) {
      const parent = trace.setSpan(context.active(), call.span)
      const kind = backend.inProcess ? SpanKind.INTERNAL : SpanKind.CLIENT
      const attributes = { 'gen_ai.operation.name': call.operation, 'gen_ai.provider.name': backend.provider, 'gen_ai.request.model': modelLabel(call.model), 'flyball.backend': backend.name, 'flyball.purpose': purpose }
      return tracer.startSpan(`${call.operation} ${modelLabel(call.model)}`, { kind, attributes }, parent)
    },

    watchCall(call) {
      call.onSettle((settlement) => {
        const split = splitLatency(settlement.timings)
        record(call, settlement, split)
        endSpan(call, settlement, STAGES, split)
      })
    },

    watchAttempt(call, backend, purpose) {
      call.onSettle((settlement) => {
        const { outcome, timings } = settlement
        handles.attempts.add(1, { backend, purpose, outcome, reason: settlement.reason ?? '' })
        if (timings.dispatchedMs !== undefined && timings.endMs !== undefined) handles.attemptDuration.record((timings.endMs - timings.dispatchedMs) / 1_000, { backend, outcome })
        endSpan(call, settlement, ATTEMPT_STAGES)
      })
    },

    observer: {
      onDispatch(batch, lane) {
        handles.batchSize.record(batch.calls.length, { backend: lane.backend })
        for (const call of batch.calls) {
          handles.queueWait.record((batch.dispatchedMs - (call.timings.enqueuedMs ?? batch.dispatchedMs)) / 1_000, { backend: lane.backend, class: call.class })
        }
        if (lane.limits.batching !== 'merge') return
        const span = tracer.startSpan('batch', {
          root: true,
          links: batch.calls.map((call) => ({ context: call.span.spanContext() })),
          attributes: { 'flyball.backend': lane.backend, 'flyball.batch.size': batch.calls.length, 'flyball.batch.work': batch.work },
        })
        let open = batch.calls.length
        for (const call of batch.calls) {
          call.span.setAttribute('flyball.batch.size', batch.calls.length)
          ;(call as LiveCall).onSettle(() => { if (--open === 0) span.end() })
        }
      },
    },
  }

  function record(call: LiveCall, settlement: Settlement, split: LatencySplit): void {
    const { operation } = call
    const model = modelLabel(call.model)
    const { outcome, timings, usage } = settlement
    handles.calls.add(1, { operation, model, class: call.class, outcome, reason: settlement.reason ?? '' })
    if (sloMet(call, settlement)) handles.sloMet.add(1, { operation, model, class: call.class })
    handles.callDuration.record(split.totalMs / 1_000, { operation, model, class: call.class, outcome })
    for (const { stage, part } of STAGES) if (split[part] > 0) handles.stageDuration.record(split[part] / 1_000, { stage, class: call.class })
    if (outcome !== 'ok') return
    if (timings.firstTokenMs !== undefined) {
      handles.ttft.record((timings.firstTokenMs - timings.receivedMs) / 1_000, { operation, model, class: call.class })
      if (call.stream && usage.outputTokens > 1) handles.itl.record(split.decodeMs / 1_000 / (usage.outputTokens - 1), { operation, model, class: call.class })
    }
    if (usage.inputTokens > 0) handles.tokens.add(usage.inputTokens, { operation, model, kind: 'input' })
    if (usage.outputTokens > 0) handles.tokens.add(usage.outputTokens, { operation, model, kind: 'output' })
    if (usage.cachedInputTokens) handles.tokens.add(usage.cachedInputTokens, { operation, model, kind: 'cached_input' })
  }

  function endSpan(call: LiveCall, settlement: Settlement, stages: typeof STAGES, known?: LatencySplit): void {
    const { span } = call
    if (span.isRecording()) {
      const split = known ?? splitLatency(settlement.timings)
      span.setAttribute('flyball.outcome', settlement.outcome)
      span.setAttribute('flyball.class', call.class)
      // Those it went through: each attribute costs as much as a log line's field, and a missing one reads as 0.
      for (const { part, attribute } of stages) if (split[part] > 0) span.setAttribute(attribute, split[part])
      for (const [name, value] of call.facts) span.setAttribute(`flyball.${name}`, value)
      if (settlement.usage.inputTokens) span.setAttribute('gen_ai.usage.input_tokens', settlement.usage.inputTokens)
      if (settlement.usage.outputTokens) span.setAttribute('gen_ai.usage.output_tokens', settlement.usage.outputTokens)
      if (settlement.status !== undefined) span.setAttribute('http.response.status_code', settlement.status)
      if (settlement.outcome !== 'ok') {
        span.setAttribute('error.type', settlement.reason ?? settlement.outcome)
        if (settlement.outcome !== 'cancelled') span.setStatus({ code: SpanStatusCode.ERROR, message: settlement.reason ?? settlement.outcome })
      }
    }
    span.end()
  }
}

