/** Attempts are child calls: a retry, a refresh or a plain serve gets its own signal, span and settlement. */
import type { Span } from '@opentelemetry/api'
import { LiveCall, type Call, type CallInit } from './call.ts'
import type { Clock } from './clock.ts'
import type { AttemptOptions } from './plugin.ts'

/** A child of `call`, as its attempt: same request, own life. */
export function forkCall(call: Call, span: Span, clock: Clock, options: AttemptOptions = {}): LiveCall {
  const deadlineMs = options.deadlineMs === undefined ? call.deadlineMs : (options.deadlineMs ?? undefined)
  const backend = options.backend ?? call.backend
  const init: CallInit = {
    operation: call.operation,
    model: call.model,
    slo: options.slo ?? call.slo,
    tenant: call.tenant,
    stream: call.stream,
    input: call.input,
    work: call.work,
    priority: options.priority ?? call.priority,
    retries: call.retries,
    purpose: options.purpose ?? call.purpose,
    once: call.once,
    span,
  }
  // None given: it follows its parent, which a child of a live call does by itself.
  if (options.signal) init.signal = options.signal
  else if (!(call instanceof LiveCall)) init.signal = call.signal
  // An attempt is late by what its caller has waited so far, unless nobody waits for it.
  if (!options.background) init.receivedMs = call.timings.receivedMs
  if (backend !== undefined) init.backend = backend
  if (call.maxOutputTokens !== undefined) init.maxOutputTokens = call.maxOutputTokens
  if (deadlineMs !== undefined) init.deadlineMs = deadlineMs
  if (call.wire !== undefined) init.wire = call.wire
  if (call.canonical !== undefined) init.canonical = call.canonical
  if (call.cacheKey !== undefined) init.cacheKey = call.cacheKey
  if (call.cacheClass !== undefined) init.cacheClass = call.cacheClass
  const child = new LiveCall(init, clock, call)
  // What nobody waits for is so down to the last attempt.
  if (options.background || call.facts.get('background') === true) child.note('background', true)
  if (options.background || !(call instanceof LiveCall)) return child
  child.serves = call
  // First listener: the logical call knows where the time went before it settles itself.
  child.onSettle(() => { if (!call.settlement) call.adopt(child) })
  return child
}
