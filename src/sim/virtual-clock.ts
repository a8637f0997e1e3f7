/**
 * Time as a list of events: the same lanes, plugins and controllers run here thousands of times faster than on the wall,
 * and the same seed gives the same run, byte for byte. Between two events everything that promises have queued runs to
 * its end ("drained to quiet"), so an event never sees half of what an earlier one set off.
 */
import { sleepOn, type Cancel, type Clock } from '../core/clock.ts'
import { seededRandom } from './seeded-random.ts'

export interface VirtualClock extends Clock {
  /** Moves on by `ms`, running what falls due, and drains to quiet after each event. */
  advance(ms: number): Promise<void>
  /** Moves on until `promise` settles; at most `limitMs`. Throws an Error when it is still open then, or nothing is left to happen. */
  until<T>(promise: Promise<T>, limitMs?: number): Promise<T>
  /** Runs on while `wanted` says so and something is left to happen. */
  runWhile(wanted: () => boolean): Promise<void>
  /** Runs until no event is left; at most `limitMs`. */
  runToEnd(limitMs?: number): Promise<void>
  /** Everything that promises have queued runs to its end; time stands still. */
  quiet(): Promise<void>
  /** The wall clock jumps (a correction, a suspended machine); monotonic time goes on. */
  jumpWall(ms: number): void
  /** The machine sleeps: both clocks go on by `ms`, what falls due meanwhile runs late. */
  suspend(ms: number): void
  readonly pending: number
  /** Events run so far. */
  readonly events: number
}

export interface VirtualClockOptions {
  seed?: number
  startMonoMs?: number
  startWallMs?: number
}

interface Event {
  readonly atMs: number
  /** Ties are broken by age: events of one instant run in the order in which they were planned. */
  readonly seq: number
  fn: (() => void) | undefined
}

/**
 * How many rounds of nextTick and microtasks count as quiet. Node runs nextTick callbacks only when the microtask queue is
 * empty, so one round drains any chain of promises; the second is for callbacks that were themselves put off by a tick.
 */
const QUIET_ROUNDS = 2
/** Cancelled events are swept out of the heap when they are this many and more than half of it. */
const SWEEP_ABOVE = 1_024

export function virtualClock(options: VirtualClockOptions = {}): VirtualClock {
  let now = options.startMonoMs ?? 1_000
  let wallOffset = (options.startWallMs ?? 1_767_225_600_000) - now
  let seq = 0
  let events = 0
  let cancelled = 0
  let heap: Event[] = []
  const random = seededRandom(options.seed ?? 1)
  const ids = seededRandom((options.seed ?? 1) ^ 0x5bd1e995)
  const idPrefix = [0, 1, 2].map(() => Math.floor(ids() * 0x1_0000_0000).toString(16).padStart(8, '0')).join('')
  let idCount = 1

  const before = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.seq < b.seq)

  function siftDown(from: number): void {
    const item = heap[from] as Event
    let i = from
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1] as Event, heap[child] as Event)) child++
      if (!before(heap[child] as Event, item)) break
      heap[i] = heap[child] as Event
      i = child
    }
    heap[i] = item
  }

  function push(event: Event): void {
    let i = heap.length
    heap.push(event)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(event, heap[parent] as Event)) break
      heap[i] = heap[parent] as Event
      i = parent
    }
    heap[i] = event
  }

  function pop(): Event | undefined {
    const top = heap[0]
    const last = heap.pop()
    if (top && last && top !== last) {
      heap[0] = last
      siftDown(0)
    }
    return top
  }

  /** The next live event, without taking it. */
  function peek(): Event | undefined {
    while (heap.length > 0 && (heap[0] as Event).fn === undefined) {
      pop()
      cancelled--
    }
    return heap[0]
  }

  function sweep(): void {
    heap = heap.filter((event) => event.fn !== undefined)
    cancelled = 0
    for (let i = (heap.length >> 1) - 1; i >= 0; i--) siftDown(i)
  }

  function after(ms: number, fn: () => void): Cancel {
    const event: Event = { atMs: now + Math.max(0, Number.isNaN(ms) ? 0 : ms), seq: seq++, fn }
    push(event)
    return () => {
      if (event.fn === undefined) return
      event.fn = undefined
      if (++cancelled > SWEEP_ABOVE && cancelled > heap.length >> 1) sweep()
    }
  }

  async function quiet(): Promise<void> {
    for (let i = 0; i < QUIET_ROUNDS; i++) await new Promise<void>((resolve) => process.nextTick(resolve))
  }

  /** Runs the next event if it falls due by `limitMs`. */
  function step(limitMs: number): boolean {
    const event = peek()
    if (!event || event.atMs > limitMs) return false
    pop()
    now = Math.max(now, event.atMs)
    events++
    const fn = event.fn as () => void
    event.fn = undefined
    fn()
    return true
  }

  async function runUntil(limitMs: number, stop: () => boolean): Promise<void> {
    await quiet()
    while (!stop() && step(limitMs)) await quiet()
  }

  const clock: VirtualClock = {
    monoMs: () => now,
    wallMs: () => now + wallOffset,
    after,
    sleep: (ms, signal) => sleepOn(after, ms, signal),
    random,
    // Distinct is all that an id has to be here: the last part counts, the prefix tells runs apart.
    id: () => idPrefix + (idCount++).toString(16).padStart(8, '0'),
    async advance(ms) {
      const target = now + ms
      await runUntil(target, () => false)
      now = target
    },
    async until(promise, limitMs = Number.POSITIVE_INFINITY) {
      let settled = false
      const mark = (): void => void (settled = true)
      promise.then(mark, mark)
      await runUntil(now + limitMs, () => settled)
      if (!settled) throw new Error(`the promise is still open at ${now} ms with ${heap.length} events left`)
      return promise
    },
    runWhile: (wanted) => runUntil(Number.POSITIVE_INFINITY, () => !wanted()),
    runToEnd: (limitMs = Number.POSITIVE_INFINITY) => runUntil(now + limitMs, () => false),
    quiet,
    jumpWall(ms) {
      wallOffset += ms
    },
    suspend(ms) {
      now += Math.max(0, ms)
    },
    get pending() {
      return heap.length - cancelled
    },
    get events() {
      return events
    },
  }
  return clock
}
