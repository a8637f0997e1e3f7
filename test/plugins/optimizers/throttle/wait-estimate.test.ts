import { describe, expect, it } from 'vitest'
import type { Call, DispatchedBatch, LaneView, Waiter } from '../../../../src/index.ts'
import { WaitEstimate } from '../../../../plugins/optimizers/throttle/wait-estimate.ts'
import { virtualClock } from '../../../support/virtual-clock.ts'

/** One slot that runs batches of ten, in 400 ms each. */
function batched() {
  const clock = virtualClock()
  const lane = { limits: { slots: 1, maxBatch: 64, batching: 'merge' }, clock, batchCalls: 10, busySlots: 0, waiting: 0, waitingWork: 0, aheadWork: () => undefined, runMs: () => undefined }
  const estimate = new WaitEstimate(lane as unknown as LaneView, clock)
  const call = (priority: number): Call => ({ priority }) as Call
  const begin = (): DispatchedBatch => {
    const batch: DispatchedBatch = { id: '', calls: [], work: 10, dispatchedMs: clock.monoMs() }
    estimate.runBegan(batch)
    lane.busySlots = 1
    return batch
  }
  const wait = (count: number, priority = 0): void => {
    for (let i = 0; i < count; i++) estimate.enqueued({ call: call(priority), work: 1 } as Waiter)
    lane.waiting += count
    lane.waitingWork += count
  }
  return { clock, lane, estimate, call, begin, wait }
}

describe('expected wait where calls run in batches', () => {
  it('is what is left of the run under way, and a run for each full batch ahead', async () => {
    const { clock, lane, estimate, call, begin, wait } = batched()
    expect(estimate.waitMs(call(0))).toBe(0)
    const first = begin()
    await clock.advance(400)
    estimate.runEnded(first, 400)
    lane.busySlots = 0
    expect(estimate.waitMs(call(0))).toBe(0)
    begin()
    expect(estimate.waitMs(call(0))).toBe(400)
    await clock.advance(300)
    expect(estimate.waitMs(call(0))).toBe(100)
    wait(9)
    expect(estimate.waitMs(call(0))).toBe(100)
    wait(1)
    expect(estimate.waitMs(call(0))).toBe(500)
    // A run that takes longer than usual ends any moment.
    await clock.advance(300)
    expect(estimate.waitMs(call(0))).toBe(400)
  })

  it('lets the next run begin before the last one’s calls have settled', async () => {
    const { clock, estimate, call, begin } = batched()
    const first = begin()
    await clock.advance(400)
    begin()
    estimate.runEnded(first, 400)
    expect(estimate.serviceMs(1)).toBe(400)
    expect(estimate.waitMs(call(0))).toBe(400)
  })

  it('counts what waits and is more urgent, not what is less', () => {
    const { estimate, call, begin, wait } = batched()
    estimate.runEnded(begin(), 400)
    begin()
    wait(25, 10)
    expect(estimate.waitMs(call(0))).toBe(400)
    expect(estimate.waitMs(call(10))).toBe(1_200)
  })
})
