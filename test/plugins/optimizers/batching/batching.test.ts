import { describe, expect, it } from 'vitest'
import { createGovernor, replyOf, type Backend, type Call, type Governor, type SloClass } from '../../../../src/index.ts'
import { batching } from '../../../../plugins/optimizers/batching/index.ts'
import { holdMs } from '../../../../plugins/optimizers/batching/hold-rule.ts'
import { exponential } from '../../../../src/sim/seeded-random.ts'
import { virtualClock } from '../../../support/virtual-clock.ts'

const slo = (e2eMs: number): SloClass => ({ name: 'only', priority: 0, e2eMs, quantile: 0.95 })

interface Plant {
  slots: number
  maxBatch: number
  maxBatchWork?: number
  t: (work: number) => number
}

function rig(plant: Plant, options: { e2eMs?: number; knobs?: Record<string, number>; loops?: 'on' | 'off'; seed?: number } = {}) {
  const clock = virtualClock({ seed: options.seed ?? 1 })
  const runs: { calls: readonly Call[]; work: number; atMs: number; othersBusy: number }[] = []
  const state = { busy: 0, slow: 1, idleWhileWaitingMs: 0 }
  const backend: Backend = {
    name: 'b',
    provider: 'test',
    models: '*',
    limits: { slots: plant.slots, maxBatch: plant.maxBatch, batching: 'merge', ...(plant.maxBatchWork === undefined ? {} : { maxBatchWork: plant.maxBatchWork }) },
    batch: { key: () => '' },
    run(calls) {
      const work = calls.reduce((sum, call) => sum + call.work, 0)
      runs.push({ calls, work, atMs: clock.monoMs(), othersBusy: state.busy })
      state.busy++
      const done = clock.sleep(plant.t(work) * state.slow).then(() => void state.busy--)
      return calls.map(async () => {
        await done
        return replyOf([{ tokens: 0, deltas: [{ type: 'value', value: 1 }] }])
      })
    },
    async close() {},
  }
  const governor = createGovernor({ clock, env: {}, backends: [backend], plugins: [batching()], classes: [slo(options.e2eMs ?? 300)], loops: options.loops ?? 'on', ...(options.knobs ? { knobs: options.knobs } : {}) })
  return { clock, governor, runs, state }
}

async function offer(clock: ReturnType<typeof virtualClock>, governor: Governor, seconds: number, perS: number, work: () => number = () => 1): Promise<{ offered: number; met: number }> {
  const tally = { offered: 0, met: 0 }
  const until = clock.monoMs() + seconds * 1_000
  const next = (): void => {
    clock.after(exponential(clock.random, 1_000 / perS), () => {
      if (clock.monoMs() > until) return
      next()
      tally.offered++
      const call = governor.call({ operation: 'f', model: 'm', input: {}, work: work() })
      call.onSettle(({ outcome, timings }) => { if (outcome === 'ok' && (timings.endMs ?? 0) - timings.receivedMs <= (call.slo.e2eMs ?? 0)) tally.met++ })
      governor.send(call).then(async (reply) => { for await (const _ of reply.body); }).catch(() => {})
    })
  }
  next()
  await clock.advance(seconds * 1_000)
  return tally
}

const affine = (work: number): number => 20 + 2 * work

describe('batching in virtual time', { timeout: 60_000 }, () => {
  it('reaches what the best static size does, from a start far below and far above', async () => {
    // 2 slots at batch 32: 64 / 84 ms = 760 a second; at 4: 285.
    const run = async (start: number, loops: 'on' | 'off'): Promise<number> => {
      const { clock, governor } = rig({ slots: 2, maxBatch: 64, t: affine }, { e2eMs: 200, loops, knobs: { 'batching.max_batch': start } })
      await governor.start()
      await offer(clock, governor, 25, 450)
      const { offered, met } = await offer(clock, governor, 8, 450)
      await governor.close()
      return met / offered
    }
    const statics = await Promise.all([4, 16, 64].map((size) => run(size, 'off')))
    const best = Math.max(...statics)
    expect(Math.min(...statics)).toBeLessThan(0.5)
    for (const start of [2, 64]) expect(await run(start, 'on')).toBeGreaterThan(0.95 * best)
  }, 60_000)

  it('never forms a batch that memory does not hold, nor leaves an idle backend without the call that waits', async () => {
    const { clock, governor, runs, state } = rig({ slots: 2, maxBatch: 64, maxBatchWork: 100, t: (work) => 20 + work }, { knobs: { 'batching.max_delay_ms': 50 } })
    await governor.start()
    const lane = governor.lane('b')
    let dark = 0
    const watch = (): void => void clock.after(0.5, () => {
      if (state.busy === 0 && lane.waiting > 0) dark++
      watch()
    })
    watch()
    const random = clock.random
    const { offered } = await offer(clock, governor, 30, 45, () => 1 + Math.floor(random() * 60))
    await clock.advance(5_000)
    expect(runs.reduce((sum, run) => sum + run.calls.length, 0)).toBe(offered)
    expect(Math.max(...runs.map((run) => run.work))).toBeLessThanOrEqual(100)
    expect(Math.max(...runs.map((run) => run.work))).toBeGreaterThan(60)
    expect(dark).toBe(0)
    await governor.close()
  })

  it('comes back to 95% goodput after the backend was eight times slower', async () => {
    const { clock, governor, state } = rig({ slots: 2, maxBatch: 64, t: affine }, { e2eMs: 200 })
    await governor.start()
    await offer(clock, governor, 30, 300)
    state.slow = 8
    await offer(clock, governor, 20, 40)
    state.slow = 1
    await offer(clock, governor, 30, 300)
    const { offered, met } = await offer(clock, governor, 30, 300)
    expect(met / offered).toBeGreaterThan(0.95)
    await governor.close()
  })

  it('holds a batch only while another slot is busy', async () => {
    const { clock, governor, runs } = rig({ slots: 3, maxBatch: 16, t: affine }, { e2eMs: 500, loops: 'off', knobs: { 'batching.max_delay_ms': 20 } })
    await governor.start()
    await offer(clock, governor, 40, 200)
    const held = runs.filter((run) => run.calls[0]?.timings.heldMs !== undefined && (run.calls[0].timings.heldMs ?? 0) < run.atMs)
    expect(held.length).toBeGreaterThan(10)
    for (const run of held) expect(run.atMs - (run.calls[0]?.timings.heldMs ?? 0)).toBeLessThanOrEqual(20 + 1e-6)
    // The first call of an idle backend went at once.
    for (const run of runs.filter((one) => one.othersBusy === 0)) {
      const newest = Math.max(...run.calls.map((call) => call.timings.enqueuedMs ?? 0))
      expect(run.atMs - newest).toBeLessThanOrEqual(20 + 1e-6)
    }
    await governor.close()
  })
})

describe('hold rule', () => {
  const base = { waiting: 2, maxCalls: 16, arrivalsPerMs: 0.5, savingMs: 20, maxDelayMs: 8, slackMs: 100 }
  it('holds while joiners save more than those waiting lose', () => {
    expect(holdMs(base)).toBe(8)
    expect(holdMs({ ...base, slackMs: 3 })).toBe(3)
    expect(holdMs({ ...base, waiting: 10 })).toBe(0)
    expect(holdMs({ ...base, waiting: 16, maxCalls: 16, arrivalsPerMs: 100 })).toBe(0)
    expect(holdMs({ ...base, savingMs: 0 })).toBe(0)
    expect(holdMs({ ...base, slackMs: -5 })).toBe(0)
    expect(holdMs({ ...base, arrivalsPerMs: 0 })).toBe(0)
  })
})
