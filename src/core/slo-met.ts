/** Did this call get what its class was promised? */
import type { Call } from './call.ts'
import type { Settlement } from './settlement.ts'

/** Measured from the arrival of the request's head, so that time before our handler counts too. */
export function sloMet(call: Pick<Call, 'slo'>, settlement: Settlement): boolean {
  if (settlement.outcome !== 'ok') return false
  const { receivedMs, dispatchedMs, firstTokenMs, endMs, backpressureMs } = settlement.timings
  const { startMs, ttftMs, itlMs, e2eMs } = call.slo
  const end = endMs ?? receivedMs
  // A call that needed no backend (a cache hit) started when it ended.
  const start = dispatchedMs ?? firstTokenMs ?? end
  if (startMs !== undefined && start - receivedMs > startMs) return false
  if (ttftMs !== undefined && (firstTokenMs ?? end) - receivedMs > ttftMs) return false
  if (e2eMs !== undefined && end - receivedMs - backpressureMs > e2eMs) return false
  if (itlMs !== undefined && firstTokenMs !== undefined && settlement.usage.outputTokens > 1) {
    return (end - firstTokenMs - backpressureMs) / (settlement.usage.outputTokens - 1) <= itlMs
  }
  return true
}
