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

/** A waiting call is given up after this multiple of its patience: late, and in the way of those who can be in time. */
const GIVE_UP_AFTER = 2
/** Memory for calls that have left: compacted past this. */
const SLACK = 1_024

/** Waiting calls of one class in order of arrival, which is the order in which they run out of patience. */
export class PatienceLine {
  #entries: { waiter: Waiter; giveUpMs: number }[] = []
  #head = 0
  #gone = 0

  add(waiter: Waiter, nowMs: number): void {
    const { startMs } = waiter.call.slo
    if (startMs !== undefined) this.#entries.push({ waiter, giveUpMs: nowMs + startMs * GIVE_UP_AFTER })
  }

  /** Somebody of this line has left. */
  left(isWaiting: (waiter: Waiter) => boolean): void {
    if (++this.#gone < SLACK || this.#gone < (this.#entries.length - this.#head) >> 1) return
    this.#entries = this.#entries.slice(this.#head).filter(({ waiter }) => isWaiting(waiter))
    this.#head = 0
    this.#gone = 0
  }

  /** Takes out those whose time is up. */
  *expired(nowMs: number): Generator<Waiter> {
    for (let entry = this.#entries[this.#head]; entry && entry.giveUpMs <= nowMs; entry = this.#entries[this.#head]) {
      this.#head++
      yield entry.waiter
    }
    if (this.#head > SLACK && this.#head > this.#entries.length >> 1) {
      this.#entries = this.#entries.slice(this.#head)
      this.#head = 0
    }
  }
}
