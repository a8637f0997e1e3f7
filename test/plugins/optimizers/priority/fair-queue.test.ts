import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fifoQueue, type Clock, type Waiter } from '../../../../src/index.ts'
import { fairQueue } from '../../../../plugins/optimizers/priority/fair-queue.ts'
import { TenantLedger } from '../../../../plugins/optimizers/priority/tenant-ledger.ts'
import { testWaiter, waitQueueConformance } from '../../../conformance/wait-queue.ts'
import { virtualClock } from '../../../support/virtual-clock.ts'

const make = (clock: Clock, floor = 0.05, weights: Record<string, number> = {}) =>
  fairQueue({ clock, ledger: new TenantLedger({ weights, maxTenants: 100 }), floor: () => floor, agingMs: () => 30_000 })

waitQueueConformance('fair queue', (clock) => make(clock))
waitQueueConformance('first come, first served', () => fifoQueue())

const one = (queue: ReturnType<typeof make>): Waiter => queue.take(1, () => true)[0] as Waiter

describe('fair queue', () => {
  it('serves the urgent class first, whatever the order of arrival', () => {
    const clock = virtualClock()
    const queue = make(clock)
    const batch = testWaiter(clock, { class: 1 })
    const interactive = testWaiter(clock, { class: 0 })
    queue.add(batch)
    queue.add(interactive)
    expect([one(queue), one(queue)]).toEqual([interactive, batch])
  })

  it('serves the earliest start target within a tenant', async () => {
    const clock = virtualClock()
    const queue = make(clock)
    const early = testWaiter(clock)
    await clock.advance(10)
    const later = testWaiter(clock)
    const deadline = testWaiter(clock, { deadlineMs: 100 })
    for (const waiter of [later, deadline, early]) queue.add(waiter)
    expect([one(queue), one(queue), one(queue)]).toEqual([deadline, early, later])
  })

  it('keeps a floor for the class behind, and no more while it is not due', () => {
    const clock = virtualClock()
    const queue = make(clock, 0.1)
    const served = { interactive: 0, batch: 0 }
    for (let i = 0; i < 400; i++) queue.add(testWaiter(clock, { class: 1, work: 2 }))
    for (let i = 0; i < 2_000; i++) {
      queue.add(testWaiter(clock, { class: 0, work: 2 }))
      queue.add(testWaiter(clock, { class: 0, work: 2 }))
      served[one(queue).call.class as 'interactive' | 'batch']++
    }
    expect(served.batch / 2_000).toBeGreaterThan(0.095)
    expect(served.batch / 2_000).toBeLessThan(0.105)
  })

  it('raises the floor with age, to a quarter at most', async () => {
    const clock = virtualClock()
    const queue = make(clock, 0.05)
    for (let i = 0; i < 2_000; i++) queue.add(testWaiter(clock, { class: 1 }))
    await clock.advance(3_600_000)
    let batch = 0
    for (let i = 0; i < 2_000; i++) {
      queue.add(testWaiter(clock, { class: 0 }))
      queue.add(testWaiter(clock, { class: 0 }))
      if (one(queue).call.class === 'batch') batch++
    }
    expect(batch / 2_000).toBeGreaterThan(0.23)
    expect(batch / 2_000).toBeLessThanOrEqual(0.26)
  })

  it('shares by tenant, not by how much one asks for; by weight where given', () => {
    const clock = virtualClock()
    const queue = make(clock, 0.05, { gold: 3 })
    for (let i = 0; i < 5_000; i++) queue.add(testWaiter(clock, { tenant: 'flood', work: 10 }))
    for (let i = 0; i < 1_000; i++) queue.add(testWaiter(clock, { tenant: 'modest', work: 5 }))
    for (let i = 0; i < 1_000; i++) queue.add(testWaiter(clock, { tenant: 'gold', work: 5 }))
    const work: Record<string, number> = { flood: 0, modest: 0, gold: 0 }
    for (let i = 0; i < 600; i++) {
      const waiter = one(queue)
      work[waiter.call.tenant] = (work[waiter.call.tenant] ?? 0) + waiter.work
    }
    expect((work['flood'] as number) / (work['modest'] as number)).toBeCloseTo(1, 1)
    expect((work['gold'] as number) / (work['modest'] as number)).toBeCloseTo(3, 1)
  })

  it('lifts a newcomer: idling saves up nothing, and nobody pays for having been alone', () => {
    const clock = virtualClock()
    const queue = make(clock)
    for (let i = 0; i < 1_000; i++) queue.add(testWaiter(clock, { tenant: 'old' }))
    for (let i = 0; i < 500; i++) one(queue)
    for (let i = 0; i < 500; i++) queue.add(testWaiter(clock, { tenant: 'new' }))
    const first = Array.from({ length: 100 }, () => one(queue).call.tenant)
    expect(first.filter((tenant) => tenant === 'new').length).toBeGreaterThanOrEqual(49)
    expect(first.filter((tenant) => tenant === 'new').length).toBeLessThanOrEqual(51)
  })

  it('bounds the gap between two tenants that both wait (VTC)', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ tenant: fc.constantFrom('a', 'b', 'c'), work: fc.integer({ min: 1, max: 100 }) }), { minLength: 60, maxLength: 200 }), (arrivals) => {
        const clock = virtualClock()
        const queue = make(clock)
        const left: Record<string, number> = { a: 0, b: 0, c: 0 }
        const had: Record<string, number> = { a: 0, b: 0, c: 0 }
        for (const arrival of arrivals) {
          queue.add(testWaiter(clock, arrival))
          left[arrival.tenant] = (left[arrival.tenant] ?? 0) + 1
        }
        const all = ['a', 'b', 'c'].filter((tenant) => (left[tenant] as number) > 0)
        // As long as all of them wait, nobody is ahead by more than the largest call.
        while (all.every((tenant) => (left[tenant] as number) > 0)) {
          const { call, work } = one(queue)
          left[call.tenant] = (left[call.tenant] as number) - 1
          had[call.tenant] = (had[call.tenant] as number) + work
          const counts = all.map((tenant) => had[tenant] as number)
          expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(100)
        }
      }),
    )
  })

  it('puts calls that can no longer start in time behind those that can, but does not forget them', async () => {
    const clock = virtualClock()
    const queue = make(clock)
    const late = testWaiter(clock)
    queue.add(late)
    await clock.advance(600)
    const order: Waiter[] = []
    for (let i = 0; i < 20; i++) {
      queue.add(testWaiter(clock))
      queue.add(testWaiter(clock))
      order.push(one(queue))
    }
    const place = order.indexOf(late)
    expect(place).toBeGreaterThan(0)
    expect(place).toBeLessThan(10)
  })

  it('forgets idle tenants past its cap, and never those that wait', () => {
    const clock = virtualClock()
    const ledger = new TenantLedger({ weights: {}, maxTenants: 50 })
    const queue = fairQueue({ clock, ledger, floor: () => 0.05, agingMs: () => 30_000 })
    const waiting = testWaiter(clock, { tenant: 'stays' })
    queue.add(waiting)
    for (let i = 0; i < 1_000; i++) {
      const waiter = testWaiter(clock, { tenant: `t${i}` })
      queue.add(waiter)
      queue.remove(waiter)
    }
    expect(ledger.size).toBeLessThanOrEqual(50)
    expect(one(queue)).toBe(waiting)
  })

  it('stays in order when more priorities appear than it keeps apart', () => {
    const clock = virtualClock()
    const queue = make(clock, 0)
    for (let i = 500; i > 0; i--) queue.add(testWaiter(clock, { priority: i }))
    const served = Array.from({ length: 500 }, () => one(queue).call.priority)
    expect(new Set(served).size).toBe(500)
    expect(queue.size).toBe(0)
  })
})
