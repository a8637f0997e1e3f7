import { describe, expect, it } from 'vitest'
import type { Controller } from '../../src/control/controller.ts'
import { DecisionLog } from '../../src/control/decision-log.ts'
import { ControlLoop, HOLD_MS, REVIEW_MS, TICK_MS } from '../../src/control/loop.ts'
import { DEFAULT_CLASSES } from '../../src/core/slo.ts'
import { knob } from '../../src/knobs/knob-spec.ts'
import { KnobRegistry } from '../../src/knobs/registry.ts'
import { SignalRegistry } from '../../src/signals/registry.ts'
import { signal } from '../../src/signals/signal-spec.ts'
import { manualClock } from '../support/manual-clock.ts'

const BACKEND = { backend: 'b' }

function rig(decide?: Controller<number>['decide'], options: { dryRun?: boolean } = {}) {
  const clock = manualClock()
  const knobs = new KnobRegistry({ clock })
  const signals = new SignalRegistry(clock)
  const log = new DecisionLog()
  const scope = ['backend'] as const
  knobs.declare(knob({ name: 't.limit', default: 10, min: 1, max: 100, integer: true, unit: '1', doc: '', scope, safeDirection: 'down' }))
  const load = signals.declare(signal({ name: 't.load', unit: '1', doc: '', scope, staleAfterMs: 2_000 }))
  const met = signals.declare(signal({ name: 't.met', unit: '1', doc: '', scope, capacity: 4_096 }))
  const offered = signals.declare(signal({ name: 't.offered', unit: '1', doc: '', scope, aggregate: 'rate', capacity: 4_096 }))
  const loop = new ControlLoop({ clock, knobs, signals, log, classes: DEFAULT_CLASSES, facts: () => ({}), attainmentSignal: 't.met', offeredSignal: 't.offered', ...options })
  const controller: Controller<number> = {
    name: 't',
    doc: '',
    scope,
    reads: { load: { signal: 't.load', points: true } },
    primary: 'load',
    turns: ['t.limit'],
    every: { minSamples: 3, minMs: 1_000 },
    init: (saved) => (typeof saved === 'number' ? saved : 0),
    decide: decide ?? ((state, input) => ({ state: state + 1, moves: [{ knob: 't.limit', to: input.readings.load?.value ?? 0 }], why: { reason: 'custom', numbers: {} } })),
  }
  loop.add(controller as Controller)
  loop.start()
  return { clock, knobs, log, loop, controller, load: load.for(BACKEND), met: met.for(BACKEND), offered: offered.for(BACKEND), limit: () => knobs.get('t.limit').for(BACKEND).value }
}

describe('control loop', () => {
  it('closes a window on count and time, never on the clock alone', async () => {
    const r = rig()
    r.load.push(12)
    r.load.push(12)
    await r.clock.advance(5_000)
    expect(r.limit()).toBe(10)
    r.load.push(12)
    await r.clock.advance(TICK_MS)
    expect(r.limit()).toBe(12)
    for (let i = 0; i < 10; i++) r.load.push(14)
    await r.clock.advance(TICK_MS)
    expect(r.limit()).toBe(12)
    await r.clock.advance(1_000)
    expect(r.limit()).toBe(14) // (12 × 3 + 14 × 10) / 13, rounded
  })

  it('shows the numbers of its latest conclusion while the next window is open', async () => {
    let asked = 0
    const r = rig((state) => (asked++ === 1 ? { state, moves: [], why: { reason: 'steady', numbers: { targetMs: 5 } }, predicted: 4 } : { state, moves: [], why: { reason: 'learning', numbers: {} } }))
    const shown: unknown[] = []
    for (let window = 0; window < 3; window++) {
      for (let i = 0; i < 3; i++) r.load.push(1)
      await r.clock.advance(1_000 + TICK_MS)
      const view = r.loop.views()[0]
      shown.push([view?.why.reason, view?.concluded?.numbers, view?.predicted])
    }
    expect(asked).toBe(3)
    expect(shown).toEqual([['learning', undefined, undefined], ['steady', { targetMs: 5 }, 4], ['learning', { targetMs: 5 }, 4]])
  })

  it('learns, is active, changes nothing while idle, holds when stale, falls back, and comes back without a jump', async () => {
    const r = rig()
    const mode = (): string | undefined => r.loop.views()[0]?.mode
    await r.clock.advance(TICK_MS)
    expect(mode()).toBe('learn')
    for (let i = 0; i < 3; i++) r.load.push(15)
    await r.clock.advance(1_000)
    expect([mode(), r.limit()]).toEqual(['active', 15])
    await r.clock.advance(600_000)
    expect([mode(), r.limit()]).toEqual(['active', 15])
    r.load.demand()
    await r.clock.advance(3_000)
    expect([mode(), r.limit()]).toEqual(['hold', 15])
    await r.clock.advance(HOLD_MS)
    expect([mode(), r.limit()]).toEqual(['fallback', 10])
    r.load.push(16)
    await r.clock.advance(TICK_MS)
    expect([mode(), r.limit()]).toEqual(['active', 10])
    expect(r.log.recent().map((record) => record.why.reason)).toEqual(['signals_back', 'signals_stale', 'signals_stale', 'custom'])
  })

  it('dry run: logs what it would have done and turns nothing', async () => {
    const r = rig(undefined, { dryRun: true })
    for (let i = 0; i < 3; i++) r.load.push(15)
    await r.clock.advance(1_500)
    expect(r.limit()).toBe(10)
    expect(r.log.recent()[0]).toMatchObject({ dry: true, moves: [{ from: 10, to: 15 }] })
  })

  it('replays: the logged state and input give the same moves', async () => {
    const r = rig((state, input) => ({ state: state + (input.readings.load?.points?.length ?? 0), moves: [{ knob: 't.limit', to: 10 + state }], why: { reason: 'custom', numbers: { state } } }))
    for (let round = 0; round < 6; round++) {
      for (let i = 0; i < 3; i++) r.load.push(1)
      await r.clock.advance(1_000)
    }
    const records = r.log.recent().filter((record) => record.input)
    expect(records.length).toBeGreaterThan(2)
    for (const record of records) {
      const again = r.controller.decide(structuredClone(record.stateBefore) as number, structuredClone(record.input) as NonNullable<typeof record.input>)
      expect(again.moves.map((wish) => wish.to)).toEqual(record.moves.map((move) => move.wish))
      expect(again.why).toEqual(record.why)
    }
  })

  it('takes back a move after which attainment per offered call is worse at comparable load', async () => {
    let moved = false
    const r = rig((state) => {
      if (moved) return { state, moves: [], why: { reason: 'steady', numbers: {} } }
      moved = true
      return { state, moves: [{ knob: 't.limit', to: 20 }], why: { reason: 'slo_headroom', numbers: {} } }
    })
    const serve = async (met: number, seconds: number): Promise<void> => {
      for (let i = 0; i < seconds * 10; i++) {
        r.offered.push(1)
        r.met.push(i % 10 < met * 10 ? 1 : 0)
        r.load.push(1)
        await r.clock.advance(100)
      }
    }
    const early = serve(1, 1)
    await early
    moved = true
    await serve(1, 20)
    moved = false
    await serve(1, 2)
    expect(r.limit()).toBe(20)
    await serve(0.5, REVIEW_MS / 1_000 + 5)
    expect(r.limit()).toBe(10)
    const [revert, move] = r.log.recent(2)
    expect(revert?.why).toMatchObject({ reason: 'revert', numbers: { of: move?.seq } })
    expect(move?.outcome).toMatchObject({ verdict: 'worse', reverted: true })
  })

  it('survives a controller that throws', async () => {
    const r = rig(() => {
      throw new Error('bug')
    })
    for (let i = 0; i < 3; i++) r.load.push(15)
    await r.clock.advance(2_000)
    expect(r.limit()).toBe(10)
  })

  it('gives the probe token to one controller at a time', async () => {
    const may: boolean[] = []
    const r = rig((state, input) => {
      may.push(input.mayProbe)
      return { state, moves: [], why: { reason: 'probe', numbers: {} }, probe: true }
    })
    const other: string[] = []
    r.knobs.declare(knob({ name: 'u.k', default: 1, min: 0, max: 2, unit: '1', doc: '', scope: ['backend'] }))
    r.loop.add({ ...(r.controller as Controller), name: 'u', turns: ['u.k'], decide: (state, input) => { other.push(String(input.mayProbe)); return { state, moves: [], why: { reason: 'steady', numbers: {} } } } })
    for (let i = 0; i < 9; i++) {
      r.load.push(1)
      await r.clock.advance(500)
    }
    expect(new Set(may)).toEqual(new Set([true]))
    expect(new Set(other)).toEqual(new Set(['false']))
  })
})
