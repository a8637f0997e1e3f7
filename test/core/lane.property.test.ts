import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { LiveCall } from '../../src/core/call.ts'
import { FlyballError } from '../../src/core/errors.ts'
import { Lane } from '../../src/core/lane.ts'
import type { Reply } from '../../src/core/reply.ts'
import type { Settlement } from '../../src/core/settlement.ts'
import { testCall } from '../support/calls.ts'
import { manualClock, settle } from '../support/manual-clock.ts'
import { scriptedBackend } from '../support/scripted-backend.ts'

type Step =
  | { do: 'submit'; key: number; work: number; stream: boolean; deadlineMs: number | undefined }
  | { do: 'answer' | 'fail' | 'feed' | 'end' | 'break' | 'abort' | 'read' | 'cancel'; on: number; complete: boolean; status: number }
  | { do: 'wait'; ms: number }

const on = fc.nat(30)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('submit' as const), key: fc.nat(2), work: fc.integer({ min: 1, max: 6 }), stream: fc.boolean(), deadlineMs: fc.option(fc.integer({ min: 0, max: 300 }), { nil: undefined }) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constantFrom('answer' as const, 'fail' as const, 'feed' as const, 'end' as const, 'break' as const, 'abort' as const, 'read' as const, 'cancel' as const), on, complete: fc.boolean(), status: fc.constantFrom(200, 200, 429, 500) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 400 }) }) },
)

interface Tracked {
  call: LiveCall
  abort: AbortController
  settlements: Settlement[]
  reply: Reply | undefined
  error: FlyballError | undefined
}

describe('lane, under any interleaving', () => {
  for (const batching of ['none', 'merge', 'internal'] as const) {
    it(`${batching}: settles every call exactly once, runs none twice, and gives every slot back`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 5 }), fc.boolean(), async (steps, slots, limit, honourAbort) => {
          const clock = manualClock()
          const backend = scriptedBackend({ slots, batching, maxBatch: batching === 'merge' ? 4 : 1, maxBatchWork: 10, honourAbort, key: (call) => (call.input as { key: number }).key === 2 ? null : String((call.input as { key: number }).key) })
          const lane = new Lane({ backend, clock, policies: [{ name: 'limit', limit: () => limit }], maxQueue: () => 12, unreadMs: 1_000 })
          const tracked: Tracked[] = []
          const check = (): void => {
            expect(lane.inFlight).toBeGreaterThanOrEqual(0)
            expect(lane.busySlots).toBeGreaterThanOrEqual(0)
            expect(lane.busySlots).toBeLessThanOrEqual(slots)
            // The cross-knob rule lets one full batch through a smaller limit.
            expect(lane.inFlight).toBeLessThanOrEqual(Math.max(limit, batching === 'merge' ? 4 : 1))
            if (batching !== 'merge') expect(lane.inFlight).toBeLessThanOrEqual(slots)
          }
          for (const one of steps) {
            if (one.do === 'submit') {
              const abort = new AbortController()
              const call = testCall(clock, { input: { key: one.key }, work: one.work, stream: one.stream, signal: abort.signal, ...(one.deadlineMs === undefined ? {} : { deadlineMs: clock.monoMs() + one.deadlineMs }) })
              const item: Tracked = { call, abort, settlements: [], reply: undefined, error: undefined }
              call.onSettle((settlement) => item.settlements.push(settlement))
              tracked.push(item)
              lane.submit(call).then((reply) => (item.reply = reply), (error: FlyballError) => (item.error = error))
            } else if (one.do === 'wait') await clock.advance(one.ms)
            else if (one.do === 'abort') {
              const item = tracked[one.on % Math.max(1, tracked.length)]
              const waiting = item && !item.call.settlement && item.call.timings.dispatchedMs === undefined
              item?.abort.abort()
              if (waiting) expect(item.call.settlement?.outcome).toBe('cancelled') // an aborted waiter leaves at once
            } else if (one.do === 'read' || one.do === 'cancel') {
              const item = tracked[one.on % Math.max(1, tracked.length)]
              if (item?.reply && one.do === 'cancel') item.reply.cancel()
              else if (item?.reply) item.reply.body[Symbol.asyncIterator]().next().catch(() => {})
            } else {
              const run = backend.runs[one.on % Math.max(1, backend.runs.length)]
              if (one.do === 'answer') run?.answer({ complete: one.complete, status: one.status })
              if (one.do === 'fail') run?.fail(new Error('boom'))
              if (one.do === 'feed') run?.push({ tokens: 1 })
              if (one.do === 'end') run?.end()
              if (one.do === 'break') run?.breakBody(new Error('torn'))
            }
            await settle()
            check()
          }
          // The backend finishes everything it was given; every reply is read or left to the unread timer.
          for (let round = 0; round < 100 && (lane.inFlight > 0 || lane.waiting > 0 || tracked.some((item) => !item.call.settlement)); round++) {
            for (const run of backend.runs) {
              run.answer()
              run.end()
            }
            await settle()
            for (const item of tracked) item.reply?.body[Symbol.asyncIterator]().next().catch(() => {})
            await clock.advance(300)
          }
          await clock.advance(5_000)
          expect([lane.inFlight, lane.inFlightWork, lane.waiting, lane.waitingWork, lane.busySlots]).toEqual([0, 0, 0, 0, 0])
          for (const item of tracked) {
            expect(item.settlements).toHaveLength(1)
            expect(item.reply !== undefined || item.error !== undefined).toBe(true)
          }
          const ran = backend.runs.map((run) => run.call.id)
          expect(new Set(ran).size).toBe(ran.length)
          for (const run of backend.runs) {
            if (run.batch.length === 1) continue
            expect(batching).toBe('merge')
            expect(new Set(run.batch.map((call) => (call.input as { key: number }).key)).size).toBe(1)
            expect((run.batch[0]?.input as { key: number }).key).not.toBe(2)
            expect(run.batch.length).toBeLessThanOrEqual(4)
            expect(run.batch.reduce((sum, call) => sum + call.work, 0)).toBeLessThanOrEqual(10)
          }
          expect(clock.pendingTimers).toBe(0)
        }),
        { numRuns: 300 },
      )
    }, 60_000)
  }
})
