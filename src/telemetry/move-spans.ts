/** Every move of a loop as a span of its own, with an event per knob: traces then show what changed around a slow call. */
import { trace, type Tracer } from '@opentelemetry/api'
import type { DecisionLog } from '../control/decision-log.ts'
import { MOVE_EVENT } from './keep-processor.ts'

/** Returns what stops it. */
export function moveSpans(decisions: DecisionLog, tracer: Tracer = trace.getTracer('flyball')): () => void {
  return decisions.onDecision(({ controller, scope, mode, dry, moves, why, seq }) => {
    if (moves.length === 0) return
    const span = tracer.startSpan(`control ${controller}`, { root: true })
    span.setAttributes({ 'flyball.controller': controller, 'flyball.mode': mode, 'flyball.reason': why.reason, 'flyball.dry_run': dry, 'flyball.decision': seq })
    for (const [part, value] of Object.entries(scope)) span.setAttribute(`flyball.scope.${part}`, value)
    for (const [name, value] of Object.entries(why.numbers)) span.setAttribute(`flyball.why.${name}`, value)
    for (const { knob, key, from, to, bound } of moves) span.addEvent(MOVE_EVENT, { knob, scope: key, from, to, bound: bound ?? 'none' })
    span.end()
  })
}
