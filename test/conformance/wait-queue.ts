/**
 * What every `WaitQueue` must do. A third party's queue runs it as `waitQueueConformance('mine', (clock) => myQueue(clock))`
 * inside a vitest file.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Clock, SloClass, Waiter, WaitQueue } from '../../src/index.ts'
import { virtualClock } from '../support/virtual-clock.ts'
import { testCall } from '../support/calls.ts'

const CLASSES: readonly SloClass[] = [
  { name: 'interactive', priority: 0, startMs: 500, quantile: 0.95 },
  { name: 'batch', priority: 10, startMs: 5_000, quantile: 0.95 },
  { name: 'whenever', priority: 20, quantile: 0.95 },
]

export interface WaiterInit {
  class?: number
  tenant?: string
  key?: string | null
  work?: number
  deadlineMs?: number
  priority?: number
}

export function testWaiter(clock: Clock, init: WaiterInit = {}): Waiter {
  const slo = CLASSES[init.class ?? 0] as SloClass
  const work = init.work ?? 1
  const call = testCall(clock, { slo, tenant: init.tenant ?? 't', work, ...(init.deadlineMs === undefined ? {} : { deadlineMs: clock.monoMs() + init.deadlineMs }), ...(init.priority === undefined ? {} : { priority: init.priority }) })
  return { call, arrivedMs: clock.monoMs(), key: init.key === undefined ? 'k' : init.key, work }
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('add' as const), class: fc.nat(2), tenant: fc.constantFrom('a', 'b', 'c'), key: fc.constantFrom('k', 'l', null), work: fc.integer({ min: 0, max: 50 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), which: fc.nat(200) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('take' as const), max: fc.nat(5), only: fc.constantFrom('all', 'none', 'k', 'l') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 3_000 }) }) },
)

export function waitQueueConformance(name: string, make: (clock: Clock) => WaitQueue): void {
  describe(`${name} as a wait queue`, () => {
    it('gives everybody back exactly once, by take or by remove', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
          const clock = virtualClock()
          const queue = make(clock)
          const inside = new Set<Waiter>()
          const everybody: Waiter[] = []
          for (const one of steps) {
            if (one.do === 'add') {
              const waiter = testWaiter(clock, one)
              everybody.push(waiter)
              inside.add(waiter)
              queue.add(waiter)
            } else if (one.do === 'remove') {
              const waiter = everybody[one.which % Math.max(1, everybody.length)]
              if (waiter) expect(queue.remove(waiter)).toBe(inside.delete(waiter))
            } else if (one.do === 'wait') await clock.advance(one.ms)
            else {
              const first = queue.first()
              const asked: Waiter[] = []
              const taken = queue.take(one.max, (waiter) => {
                asked.push(waiter)
                return one.only === 'all' || waiter.key === one.only
              })
              expect(taken.length).toBeLessThanOrEqual(one.max)
              if (one.max > 0) expect(asked[0]).toBe(first)
              expect(new Set(asked).size).toBe(asked.length)
              if (one.only === 'none') expect(taken).toEqual([])
              if (one.only === 'all') expect(taken).toHaveLength(Math.min(one.max, inside.size))
              for (const waiter of taken) {
                expect(one.only === 'all' || waiter.key === one.only).toBe(true)
                expect(inside.delete(waiter)).toBe(true)
              }
            }
            expect(queue.size).toBe(inside.size)
            expect(queue.first() === undefined).toBe(inside.size === 0)
          }
          expect(new Set(queue.waiters())).toEqual(inside)
          for (let left = inside.size; left > 0; left--) for (const waiter of queue.take(1, () => true)) expect(inside.delete(waiter)).toBe(true)
          expect([inside.size, queue.size, queue.first(), queue.take(3, () => true)]).toEqual([0, 0, undefined, []])
        }),
        { numRuns: 200 },
      )
    })

    it('does not know a waiter twice', () => {
      const clock = virtualClock()
      const queue = make(clock)
      const waiter = testWaiter(clock)
      expect(queue.remove(waiter)).toBe(false)
      queue.add(waiter)
      expect(queue.remove(waiter)).toBe(true)
      expect(queue.remove(waiter)).toBe(false)
      queue.add(waiter)
      expect(queue.take(5, () => true)).toEqual([waiter])
    })

    it('stops looking when nobody fits: a dispatch does not become linear in the queue', () => {
      const clock = virtualClock()
      const queue = make(clock)
      for (let i = 0; i < 5_000; i++) queue.add(testWaiter(clock, { key: 'other' }))
      let asked = 0
      queue.take(8, () => {
        asked++
        return false
      })
      expect(asked).toBeGreaterThan(0)
      expect(asked).toBeLessThanOrEqual(1_000)
      expect(queue.size).toBe(5_000)
    })

    it('serves everybody in the end, though others keep coming', async () => {
      const clock = virtualClock()
      const queue = make(clock)
      const patient = testWaiter(clock, { class: 2, tenant: 'patient', work: 4 })
      queue.add(patient)
      let served = false
      for (let i = 0; i < 5_000 && !served; i++) {
        await clock.advance(10)
        queue.add(testWaiter(clock, { class: i % 2, tenant: 'busy', work: 4 }))
        served = queue.take(1, () => true).includes(patient)
      }
      expect(served).toBe(true)
    })

    it('costs about the same with 100,000 waiting as with 1,000', () => {
      const perCall = (waiting: number): number => {
        const clock = virtualClock()
        const queue = make(clock)
        const made = Array.from({ length: waiting + 4_000 }, (_, i) => testWaiter(clock, { class: i % 2, tenant: `t${i % 50}`, work: 1 + (i % 7) }))
        for (const waiter of made.slice(0, waiting)) queue.add(waiter)
        // The least of many short rounds: what is left when the collector and the neighbours are quiet.
        let best = Number.POSITIVE_INFINITY
        for (let round = 0; round < 20; round++) {
          const batch = made.slice(waiting + round * 200, waiting + (round + 1) * 200)
          const start = performance.now()
          for (const waiter of batch) {
            queue.add(waiter)
            queue.first()
            queue.take(1, () => true)
          }
          best = Math.min(best, performance.now() - start)
        }
        return best
      }
      perCall(1_000) // warms the compiler
      const small = perCall(1_000)
      const large = perCall(100_000)
      // A hundred times the queue: a linear one would cost 100 times as much, O(log n) about 1.7 times. Memory misses add to it.
      expect(large / small).toBeLessThan(25)
    })
  })
}
