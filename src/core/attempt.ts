/** Attempts are child calls: a retry, a refresh or a plain serve gets its own signal, span and settlement. */
import type { Span } from '@opentelemetry/api'
import { LiveCall, type Call } from './call.ts'
import type { Clock } from './clock.ts'
import type { AttemptOptions } from './plugin.ts'

/** A child of `call`, as its attempt: same request, own life. */
export function forkCall(call: Call, span: Span, clock: Clock, options: AttemptOptions = {}): LiveCall {
  const deadlineMs = options.deadlineMs === undefined ? call.deadlineMs : (options.deadlineMs ?? undefined)
  const backend = options.backend ?? call.backend
  const child = new LiveCall(
    {
      operation: call.operation,
      model: call.model,
      slo: options.slo ?? call.slo,
      tenant: call.tenant,
      stream: call.stream,
      input: call.input,
      work: call.work,
      priority: options.priority ?? call.priority,
      purpose: options.purpose ?? call.purpose,
      once: call.once,
      // None given: it follows its parent, which a child of a live call does by itself.
      ...(options.signal ? { signal: options.signal } : call instanceof LiveCall ? {} : { signal: call.signal }),
      // An attempt is late by what its caller has waited so far, unless nobody waits for it.
      ...(options.background ? {} : { receivedMs: call.timings.receivedMs }),
      ...(backend === undefined ? {} : { backend }),
      ...(call.maxOutputTokens === undefined ? {} : { maxOutputTokens: call.maxOutputTokens }),
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
      ...(call.wire === undefined ? {} : { wire: call.wire }),
      ...(call.canonical === undefined ? {} : { canonical: call.canonical }),
      ...(call.cacheKey === undefined ? {} : { cacheKey: call.cacheKey }),
      ...(call.cacheClass === undefined ? {} : { cacheClass: call.cacheClass }),
      span,
    },
    clock,
    call,
  )
  // What nobody waits for is so down to the last attempt.
  if (options.background || call.facts.get('background') === true) child.note('background', true)
  if (!(call instanceof LiveCall)) return child
  const earlier = call.onPriority
  call.onPriority = () => {
    earlier?.()
    child.raisePriority(call.priority)
  }
  if (options.background) return child
  child.serves = call
  // First listener: the logical call knows where the time went before it settles itself.
  child.onSettle(() => { if (!call.settlement) call.adopt(child) })
  return child
}
