/** How long a call may wait before its answer is worth nothing, and the waiting calls in that order. */
import { Chain, type Call, type Link, type Waiter } from '../../../src/index.ts'

/** Time that a call can still wait and be in time, ms; Infinity without targets. `serviceMs`: what it takes once started. */
export function patienceMs(call: Call, nowMs: number, serviceMs: number): { ms: number; hard: boolean } {
  const { slo, timings, deadlineMs } = call
  const since = nowMs - timings.receivedMs
  const soft = Math.min(slo.startMs ?? Number.POSITIVE_INFINITY, slo.ttftMs ?? Number.POSITIVE_INFINITY, slo.e2eMs === undefined ? Number.POSITIVE_INFINITY : slo.e2eMs - serviceMs) - since
  const hard = deadlineMs === undefined ? Number.POSITIVE_INFINITY : deadlineMs - nowMs - serviceMs
  return hard < soft ? { ms: hard, hard: true } : { ms: soft, hard: false }
}

/** A call's place in the line. */
export type PatiencePlace = Link<Waiter>

/** Waiting calls of one class in order of arrival, which is the order in which they run out of patience. */
export class PatienceLine {
  readonly #line = new Chain<Waiter>()

  add(waiter: Waiter): PatiencePlace {
    return this.#line.add(waiter)
  }

  leave(place: PatiencePlace): void {
    this.#line.remove(place)
  }

  /** Takes out the first one, if `isOver` says that it has no time left. */
  over(isOver: (waiter: Waiter) => boolean): Waiter | undefined {
    const { first } = this.#line
    const waiter = first?.value
    if (!first || !waiter || !isOver(waiter)) return undefined
    this.#line.remove(first)
    return waiter
  }
}
