/** Calls for tests of the core, without a governor. */
import { INVALID_SPAN_CONTEXT, trace } from '@opentelemetry/api'
import { LiveCall, type CallInit } from '../../src/core/call.ts'
import type { Clock } from '../../src/core/clock.ts'
import { DEFAULT_CLASSES, type SloClass } from '../../src/core/slo.ts'

export const NO_SPAN = trace.wrapSpanContext(INVALID_SPAN_CONTEXT)

export function testCall(clock: Clock, init: Partial<CallInit> = {}): LiveCall {
  return new LiveCall({ operation: 'chat', model: 'm', slo: DEFAULT_CLASSES[0] as SloClass, tenant: 't', stream: false, input: {}, work: 1, span: NO_SPAN, ...init }, clock)
}
