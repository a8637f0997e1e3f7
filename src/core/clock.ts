/**
 * The only door to time and randomness. Everything else takes a `Clock`, so the same lanes, plugins and
 * controllers run in real time and in the deterministic virtual-time simulator.
 */
import { randomFillSync } from 'node:crypto'

/** Undoes a scheduled callback. Calling it twice, or after the callback ran, does nothing. */
export type Cancel = () => void

export interface Clock {
  /** Monotonic milliseconds: for durations and deadlines. Never compare across processes. */
  monoMs(): number
  /** Wall-clock milliseconds since the Unix epoch: for display and persistence only; it may jump. */
  wallMs(): number
  /** Runs `fn` once after `ms` milliseconds. Does not keep the process alive. */
  after(ms: number, fn: () => void): Cancel
  /** Resolves after `ms`; rejects with the signal's reason when aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Uniform in [0, 1). */
  random(): number
  /** A fresh 128-bit id as 32 hex digits. */
  id(): string
}

/** Builds `sleep` for any clock from its `after`. */
export function sleepOn(after: Clock['after'], ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error)
    const cancel = after(ms, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    function onAbort(): void {
      cancel()
      reject(signal?.reason as Error)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** setTimeout silently turns larger delays into 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
/** Random bytes are drawn in blocks: one call into the kernel per 256 ids. */
const pool = new Uint8Array(4096)
let poolOffset = pool.length

function randomHex128(): string {
  if (poolOffset === pool.length) {
    randomFillSync(pool)
    poolOffset = 0
  }
  let id = ''
  for (const end = poolOffset + 16; poolOffset < end; poolOffset++) id += HEX[pool[poolOffset] as number]
  return id
}

/** The process's own clock. */
export const systemClock: Clock = {
  monoMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, Math.min(Math.max(0, ms), MAX_TIMER_MS))
    timer.unref()
    return () => clearTimeout(timer)
  },
  sleep: (ms, signal) => sleepOn(systemClock.after, ms, signal),
  random: Math.random,
  id: randomHex128,
}
