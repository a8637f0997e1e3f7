/**
 * What every lane policy must leave intact, whatever it decides: nothing lost, nothing run twice, nothing left behind, and an
 * idle backend with a waiting call is given it in the end. A third party runs it as
 * `lanePolicyConformance('mine', { plugins: () => [mine()] })` inside a vitest file.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DEFAULT_CLASSES, createGovernor, replyOf, type Backend, type BatchingKind, type Call, type Plugin, type Settlement } from '../../src/index.ts'
import { virtualClock } from '../support/virtual-clock.ts'

export interface LanePolicyConformance {
  readonly plugins: () => readonly Plugin[]
  readonly knobs?: Readonly<Record<string, number>>
}

const arrival = fc.record({
  afterMs: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 30 }) }, { weight: 1, arbitrary: fc.integer({ min: 0, max: 3_000 }) }),
  class: fc.constantFrom(...DEFAULT_CLASSES.map((slo) => slo.name)),
  tenant: fc.constantFrom('a', 'b', 'c'),
  key: fc.constantFrom('k', 'l', null),
  work: fc.integer({ min: 1, max: 60 }),
  ms: fc.integer({ min: 1, max: 800 }),
  abortAfterMs: fc.option(fc.integer({ min: 0, max: 900 }), { nil: undefined, freq: 6 }),
  deadlineMs: fc.option(fc.integer({ min: 1, max: 2_000 }), { nil: undefined, freq: 6 }),
  status: fc.constantFrom(200, 200, 200, 200, 429, 500, 503),
  retryAfter: fc.option(fc.constantFrom('0', '1', '2', 'soon', '-5', '99999999999'), { nil: undefined, freq: 3 }),
  fails: fc.boolean(),
})

export function lanePolicyConformance(name: string, options: LanePolicyConformance): void {
  describe(`${name} as a policy of a lane`, () => {
    for (const batching of ['none', 'merge', 'internal'] as const) {
      it(`${batching}: every call settles once, at most one run each, every slot comes back, nobody is forgotten`, async () => {
        await fc.assert(
          fc.asyncProperty(fc.array(arrival, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 1_000 }), async (arrivals, slots, seed) => {
            const clock = virtualClock({ seed })
            const runs = new Map<string, number>()
            const running = { calls: 0, batches: 0 }
            const backend = conformanceBackend(batching, slots, (calls) => {
              for (const call of calls) runs.set(call.id, (runs.get(call.id) ?? 0) + 1)
              running.batches++
              running.calls += calls.length
              expect(running.batches).toBeLessThanOrEqual(slots)
              expect(calls.length).toBeLessThanOrEqual(batching === 'merge' ? 8 : 1)
              expect(calls.reduce((sum, call) => sum + call.work, 0)).toBeLessThanOrEqual(batching === 'merge' ? 100 : 60)
              const keys = new Set(calls.map((call) => (call.input as { key: string | null }).key))
              expect(keys.size).toBe(1)
              if (keys.has(null)) expect(calls.length).toBe(1)
              let left = calls.length
              return calls.map(async (call) => {
                const { ms, status, fails, retryAfter } = call.input as { ms: number; status: number; fails: boolean; retryAfter: string | undefined }
                await clock.sleep(ms, call.signal).finally(() => {
                  running.calls--
                  if (--left === 0) running.batches--
                })
                if (fails && status !== 200) throw new Error('broken')
                return replyOf([{ tokens: 3, deltas: [{ type: 'usage', usage: { inputTokens: 10, outputTokens: 3 } }] }], { status, rawHeaders: retryAfter === undefined ? [] : ['retry-after', retryAfter] })
              })
            })
            const governor = createGovernor({ clock, env: {}, backends: [backend], plugins: options.plugins(), ...(options.knobs ? { knobs: options.knobs } : {}) })
            await governor.start()
            const settlements: { call: Call; all: Settlement[] }[] = []
            for (const one of arrivals) {
              await clock.advance(one.afterMs)
              const abort = new AbortController()
              const call = governor.call({ operation: 'f', model: 'm', input: one, work: one.work, class: one.class, tenant: one.tenant, maxOutputTokens: Math.min(20, one.work), signal: abort.signal, ...(one.deadlineMs === undefined ? {} : { deadlineMs: clock.monoMs() + one.deadlineMs }) })
              const entry = { call, all: [] as Settlement[] }
              settlements.push(entry)
              call.onSettle((settlement) => entry.all.push(settlement))
              governor.send(call).then(async (reply) => { for await (const _ of reply.body); }).catch(() => {})
              if (one.abortAfterMs !== undefined) clock.after(one.abortAfterMs, () => abort.abort())
            }
            const lane = governor.lane('b')
            await clock.advance(1_000)
            // A day is as long as any provider may tell us to wait.
            for (let i = 0; i < 400 && (lane.waiting > 0 || lane.inFlight > 0); i++) await clock.advance(i < 100 ? 1_000 : 600_000)
            expect([lane.waiting, lane.waitingWork, lane.inFlight, lane.inFlightWork, lane.busySlots, running.calls, running.batches]).toEqual([0, 0, 0, 0, 0, 0, 0])
            for (const { call, all } of settlements) {
              expect(all, call.id).toHaveLength(1)
            }
            for (const count of runs.values()) expect(count).toBe(1)
            await governor.close()
          }),
          { numRuns: 60 },
        )
      }, 60_000)
    }
  })
}

function conformanceBackend(batching: BatchingKind, slots: number, run: (calls: readonly Call[]) => ReturnType<Backend['run']>): Backend {
  return {
    name: 'b',
    provider: 'test',
    models: '*',
    limits: { slots, maxBatch: batching === 'merge' ? 8 : 1, batching, ...(batching === 'merge' ? { maxBatchWork: 100 } : {}) },
    batch: { key: (call) => (call.input as { key: string | null }).key },
    run,
    async close() {},
  }
}
