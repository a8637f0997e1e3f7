import { describe, expect, it } from 'vitest'
import { FlyballError } from '../../src/core/errors.ts'
import { Lane } from '../../src/core/lane.ts'
import type { LanePolicy } from '../../src/core/lane-policy.ts'
import { testCall } from '../support/calls.ts'
import { manualClock, settle } from '../support/manual-clock.ts'
import { scriptedBackend } from '../support/scripted-backend.ts'

function laneWith(policies: LanePolicy[], options: Parameters<typeof scriptedBackend>[0] = {}) {
  const clock = manualClock()
  const backend = scriptedBackend(options)
  const lane = new Lane({ backend, clock, policies: [], maxQueue: () => 100 })
  lane.attach(policies)
  const submit = (init: Parameters<typeof testCall>[1] = {}) => {
    const call = testCall(clock, init)
    const reply = lane.submit(call)
    reply.catch(() => {})
    return { call, reply }
  }
  return { clock, backend, lane, submit }
}

describe('lane', () => {
  it('batches calls made in the same turn, and never makes an idle backend wait', async () => {
    const { backend, submit } = laneWith([{ name: 'b', group: () => ({ maxCalls: 8, maxWork: 100, holdMs: 1_000 }) }], { batching: 'merge', maxBatch: 8 })
    for (let i = 0; i < 3; i++) submit()
    await settle()
    expect(backend.runs.map((run) => run.batch.length)).toEqual([3, 3, 3])
  })

  it('holds a batch open while another slot is busy, until it is full or its time is up', async () => {
    const { clock, backend, submit } = laneWith([{ name: 'b', group: () => ({ maxCalls: 3, maxWork: 100, holdMs: 50 }) }], { batching: 'merge', maxBatch: 3, slots: 2 })
    submit()
    await settle()
    submit()
    await clock.advance(20)
    expect(backend.runs).toHaveLength(1)
    const late = submit()
    await clock.advance(29)
    expect(backend.runs).toHaveLength(1)
    await clock.advance(2)
    expect(backend.runs.map((run) => run.batch.length)).toEqual([1, 2, 2])
    expect(late.call.timings.dispatchedMs).toBe(1_050)
  })

  it('dispatches a held batch at once when it fills', async () => {
    const { clock, backend, submit } = laneWith([{ name: 'b', group: () => ({ maxCalls: 2, maxWork: 100, holdMs: 500 }) }], { batching: 'merge', maxBatch: 2, slots: 2 })
    submit()
    await settle()
    submit()
    await clock.advance(10)
    submit()
    await settle()
    expect(backend.runs).toHaveLength(3)
  })

  it('lets a gate hold the head back, and no longer than it says', async () => {
    let openAtMs = 0
    const { clock, backend, submit } = laneWith([{ name: 'g', gate: () => Math.max(0, openAtMs - clock.monoMs()) }])
    openAtMs = clock.monoMs() + 40
    submit()
    await clock.advance(39)
    expect(backend.runs).toHaveLength(0)
    await clock.advance(1)
    expect(backend.runs).toHaveLength(1)
  })

  it('takes the least of the limits, and does not let it starve a batch', async () => {
    const limits: LanePolicy[] = [{ name: 'a', limit: () => 5 }, { name: 'b', limit: () => 2 }]
    const plain = laneWith(limits, { slots: 10 })
    for (let i = 0; i < 6; i++) plain.submit()
    await settle()
    expect(plain.lane.inFlight).toBe(2)
    const merging = laneWith([...limits, { name: 'g', group: () => ({ maxCalls: 4, maxWork: 100, holdMs: 0 }) }], { batching: 'merge', maxBatch: 4 })
    for (let i = 0; i < 6; i++) merging.submit()
    await settle()
    expect(merging.backend.runs.map((run) => run.batch.length)).toEqual([4, 4, 4, 4])
  })

  it('turns calls away: full queue, refusing policy, passed deadline, too large for memory, draining', async () => {
    const { clock, lane, submit } = laneWith([{ name: 'p', admit: (call) => (call.tenant === 'bad' ? new FlyballError('rate_limited', { retryAfterMs: 7 }) : undefined) }], { maxBatchWork: 10 })
    await expect(submit({ tenant: 'bad' }).reply).rejects.toMatchObject({ code: 'rate_limited', retryAfterMs: 7 })
    await expect(submit({ deadlineMs: clock.monoMs() }).reply).rejects.toMatchObject({ code: 'deadline_exceeded' })
    await expect(submit({ work: 11 }).reply).rejects.toMatchObject({ code: 'request_too_large' })
    for (let i = 0; i < 101; i++) submit()
    await settle()
    const refused = Array.from({ length: 2 }, () => submit())
    await expect(refused[1]?.reply).rejects.toMatchObject({ code: 'queue_full' })
    void lane.drain()
    await expect(submit().reply).rejects.toMatchObject({ code: 'draining' })
  })

  it('expires a waiter at its deadline, not before', async () => {
    const { clock, submit } = laneWith([])
    submit()
    const waiter = submit({ deadlineMs: clock.monoMs() + 30 })
    await clock.advance(29)
    expect(waiter.call.settlement).toBeUndefined()
    await clock.advance(1)
    expect(waiter.call.settlement).toMatchObject({ outcome: 'expired', reason: 'deadline_exceeded' })
  })

  it('aborts a batch only when its last member has left', async () => {
    const { backend, submit } = laneWith([], { batching: 'merge', maxBatch: 2, honourAbort: false })
    const aborts = [new AbortController(), new AbortController()]
    for (const abort of aborts) submit({ signal: abort.signal })
    await settle()
    aborts[0]?.abort()
    expect(backend.runs[0]?.batchSignal.aborted).toBe(false)
    aborts[1]?.abort()
    expect(backend.runs[0]?.batchSignal.aborted).toBe(true)
  })

  it('keeps the slot of an abandoned call until its backend has let go', async () => {
    const { backend, lane, submit } = laneWith([], { honourAbort: false })
    const abort = new AbortController()
    const { call, reply } = submit({ signal: abort.signal })
    await settle()
    abort.abort()
    await expect(reply).rejects.toMatchObject({ code: 'cancelled' })
    expect(call.settlement?.outcome).toBe('cancelled')
    expect(lane.inFlight).toBe(1)
    backend.runs[0]?.answer()
    await settle()
    expect(lane.inFlight).toBe(0)
    expect(backend.runs[0]?.cancelled).toBe(true)
  })

  it('refuses two orders and two groupers', () => {
    const queue = (): never => {
      throw new Error('not called')
    }
    const { lane } = laneWith([])
    lane.attach([{ name: 'a', group: () => ({ maxCalls: 1, maxWork: 1, holdMs: 0 }) }])
    expect(() => lane.attach([{ name: 'b', group: () => ({ maxCalls: 1, maxWork: 1, holdMs: 0 }) }])).toThrow(/both group/)
    expect(() => lane.attach([{ name: 'c', queue }])).toThrow()
  })

  it('says how long the queue takes to drain from what it completed', async () => {
    const { clock, backend, lane, submit } = laneWith([])
    expect(lane.drainMs()).toBe(0)
    for (let i = 0; i < 50; i++) {
      const { reply } = submit()
      await settle()
      await clock.advance(100)
      backend.runs[i]?.answer({ complete: true, chunks: [] })
      for await (const _ of (await reply).body);
    }
    expect(lane.completionsPerS).toBeCloseTo(10, 0)
    for (let i = 0; i < 5; i++) submit()
    await settle()
    expect(lane.drainMs()).toBeGreaterThan(400)
    expect(lane.drainMs()).toBeLessThan(600)
  })
})
