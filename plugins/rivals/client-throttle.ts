/** Google SRE's client-side throttling: turn calls away in proportion to how many the backend has refused lately. */
import { z } from 'zod'
import { definePlugin, FlyballError, type LanePolicy } from '../../src/index.ts'

const options = z.strictObject({ k: z.number().min(1).default(2), windowMs: z.number().positive().default(120_000) })

/** Share to turn away: max(0, (requests − K·accepts)/(requests + 1)). */
export const rejectProbability = (requests: number, accepts: number, k: number): number => Math.max(0, (requests - k * accepts) / (requests + 1))

const SLOTS = 24

/** Counts over a sliding window, in slots. */
export class SlidingCounts {
  readonly #slotMs: number
  readonly #requests = new Float64Array(SLOTS)
  readonly #accepts = new Float64Array(SLOTS)
  #slot = 0

  constructor(windowMs: number) {
    this.#slotMs = windowMs / SLOTS
  }

  #roll(nowMs: number): number {
    const slot = Math.floor(nowMs / this.#slotMs)
    for (let fresh = Math.max(this.#slot + 1, slot - SLOTS + 1); fresh <= slot; fresh++) {
      this.#requests[fresh % SLOTS] = 0
      this.#accepts[fresh % SLOTS] = 0
    }
    this.#slot = Math.max(this.#slot, slot)
    return this.#slot % SLOTS
  }

  requested(nowMs: number): void {
    const at = this.#roll(nowMs)
    this.#requests[at] = (this.#requests[at] as number) + 1
  }

  accepted(nowMs: number): void {
    const at = this.#roll(nowMs)
    this.#accepts[at] = (this.#accepts[at] as number) + 1
  }

  totals(nowMs: number): { requests: number; accepts: number } {
    this.#roll(nowMs)
    return { requests: this.#requests.reduce((a, b) => a + b, 0), accepts: this.#accepts.reduce((a, b) => a + b, 0) }
  }
}

export const clientThrottle = definePlugin({
  name: 'client-throttle',
  phase: 'lane',
  doc: 'Google SRE client throttle: reject with p = max(0, (requests − K·accepts)/(requests + 1)).',
  options,
  create(host, { k, windowMs }) {
    return {
      forLane(): LanePolicy {
        const counts = new SlidingCounts(windowMs)
        return {
          name: 'client-throttle',
          admit() {
            const now = host.clock.monoMs()
            const { requests, accepts } = counts.totals(now)
            counts.requested(now)
            return host.clock.random() < rejectProbability(requests, accepts, k) ? new FlyballError('overloaded', { reason: 'client_throttle' }) : undefined
          },
          onSettle(_, settlement) {
            // Accepted is what the backend did not refuse: a slow answer counts as accepted.
            if (settlement.outcome === 'ok' || settlement.outcome === 'cancelled') counts.accepted(host.clock.monoMs())
          },
        }
      },
    }
  },
})
