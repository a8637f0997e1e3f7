/** A clock that only moves when told, for tests of single parts. Timers run in order of time, then of creation. */
import { sleepOn, type Clock } from '../../src/core/clock.ts'

export interface ManualClock extends Clock {
  /** Moves on by `ms`, running what falls due, and lets promises settle after each. */
  advance(ms: number): Promise<void>
  readonly pendingTimers: number
}

/** Lets every already queued promise reaction run. */
export async function settle(turns = 20): Promise<void> {
  for (let i = 0; i < turns; i++) await Promise.resolve()
}

export function manualClock(startMs = 1_000): ManualClock {
  let now = startMs
  let seq = 0
  let state = 12_345
  const timers = new Map<number, { atMs: number; fn: () => void }>()
  const clock: ManualClock = {
    monoMs: () => now,
    wallMs: () => now + 1_700_000_000_000,
    after(ms, fn) {
      const id = ++seq
      timers.set(id, { atMs: now + Math.max(0, ms), fn })
      return () => void timers.delete(id)
    },
    sleep: (ms, signal) => sleepOn(clock.after, ms, signal),
    random: () => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647,
    id: () => (++seq).toString(16).padStart(32, '0'),
    async advance(ms) {
      const until = now + ms
      await settle()
      for (;;) {
        const due = [...timers].filter(([, timer]) => timer.atMs <= until).sort((a, b) => a[1].atMs - b[1].atMs || a[0] - b[0])[0]
        if (!due) break
        timers.delete(due[0])
        now = Math.max(now, due[1].atMs)
        due[1].fn()
        await settle()
      }
      now = until
      await settle()
    },
    get pendingTimers() {
      return timers.size
    },
  }
  return clock
}
