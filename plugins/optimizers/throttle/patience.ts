/** How long a call may wait before its answer is worth nothing, and the waiting calls in that order. */
import type { Call, Waiter } from '../../../src/index.ts'

/** Time that a call can still wait and be in time, ms; Infinity without targets. `serviceMs`: what it takes once started. */
export function patienceMs(call: Call, nowMs: number, serviceMs: number): { ms: number; hard: boolean } {
  const { slo, timings, deadlineMs } = call
  const since = nowMs - timings.receivedMs
  const soft = Math.min(slo.startMs ?? Number.POSITIVE_INFINITY, slo.ttftMs ?? Number.POSITIVE_INFINITY, slo.e2eMs === undefined ? Number.POSITIVE_INFINITY : slo.e2eMs - serviceMs) - since
  const hard = deadlineMs === undefined ? Number.POSITIVE_INFINITY : deadlineMs - nowMs - serviceMs
  return hard < soft ? { ms: hard, hard: true } : { ms: soft, hard: false }
}

/** Memory for calls that have left: compacted past this. */
const SLACK = 1_024

/** Waiting calls of one class in order of arrival, which is the order in which they run out of patience. */
export class PatienceLine {
  #entries: Waiter[] = []
  #head = 0
  #gone = 0

  add(waiter: Waiter): void {
    this.#entries.push(waiter)
  }

  /** Somebody of this line has left. */
  left(isWaiting: (waiter: Waiter) => boolean): void {
    if (++this.#gone < SLACK || this.#gone < (this.#entries.length - this.#head) >> 1) return
    this.#entries = this.#entries.slice(this.#head).filter(isWaiting)
    this.#head = 0
    this.#gone = 0
  }

  /** Takes out those at the front that `isOver` says have no time left; `isWaiting` tells who is still here. */
  *over(isWaiting: (waiter: Waiter) => boolean, isOver: (waiter: Waiter) => boolean): Generator<Waiter> {
    for (let waiter = this.#entries[this.#head]; waiter; waiter = this.#entries[this.#head]) {
      const here = isWaiting(waiter)
      if (here && !isOver(waiter)) break
      this.#head++
      if (here) yield waiter
    }
    if (this.#head > SLACK && this.#head > this.#entries.length >> 1) {
      this.#entries = this.#entries.slice(this.#head)
      this.#head = 0
    }
  }
}
