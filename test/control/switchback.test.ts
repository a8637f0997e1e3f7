import { describe, expect, it } from 'vitest'
import type { LiveCall } from '../../src/core/call.ts'
import { DecisionLog } from '../../src/control/decision-log.ts'
import { ControlLoop } from '../../src/control/loop.ts'
import { pairedInterval, student975 } from '../../src/control/paired-uplift.ts'
import { Switchback } from '../../src/control/switchback.ts'
import { loadStates, saveStates } from '../../src/control/state-file.ts'
import { DEFAULT_CLASSES } from '../../src/core/slo.ts'
import { knob } from '../../src/knobs/knob-spec.ts'
import { KnobRegistry } from '../../src/knobs/registry.ts'
import { SignalRegistry } from '../../src/signals/registry.ts'
import { signal } from '../../src/signals/signal-spec.ts'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { testCall } from '../support/calls.ts'
import { throttle } from '../../plugins/optimizers/throttle/index.ts'
import { createGovernor } from '../../src/governor.ts'
import { manualClock } from '../support/manual-clock.ts'
import { scriptedBackend } from '../support/scripted-backend.ts'

/** A plant whose attainment depends on the knob: `good(knobValue)` of calls meet their SLO. */
async function run(good: (value: number) => number, options: { seconds: number; perSecond?: number; noise?: number }) {
  const clock = manualClock()
  const knobs = new KnobRegistry({ clock })
  const signals = new SignalRegistry(clock)
  knobs.declare(knob({ name: 't.k', default: 1, min: 0, max: 10, unit: '1', doc: '', maxUp: 100 }))
  signals.declare(signal({ name: 't.s', unit: '1', doc: '' })).for({})
  const loop = new ControlLoop({ clock, knobs, signals, log: new DecisionLog(), classes: DEFAULT_CLASSES, facts: () => ({}), attainmentSignal: 't.s', offeredSignal: 't.s' })
  loop.add({ name: 't', doc: '', scope: [], reads: { s: { signal: 't.s' } }, primary: 's', turns: ['t.k'], every: { minSamples: 1, minMs: 1 }, init: () => null, decide: (state) => ({ state, moves: [], why: { reason: 'steady', numbers: {} } }) })
  knobs.move('t.k', {}, 10) // what the loop has found
  const listeners = new Set<(call: LiveCall) => void>()
  const switchback = new Switchback({ clock, knobs, loop, onCallSettled: (fn) => { listeners.add(fn as (call: LiveCall) => void); return () => listeners.delete(fn as (call: LiveCall) => void) } }, { share: 0.2, blockMs: 10_000, washoutMs: 2_000 })
  switchback.start()
  let staticMs = 0
  const { perSecond = 20 } = options
  for (let i = 0; i < options.seconds * perSecond; i++) {
    const value = knobs.get('t.k').for({}).value
    if (value === 1) staticMs += 1_000 / perSecond
    const call = testCall(clock, {})
    if (clock.random() < good(value)) call.settle('ok')
    else call.settle('shed')
    for (const listener of listeners) listener(call)
    await clock.advance(1_000 / perSecond)
  }
  const uplift = switchback.uplift()
  switchback.stop()
  return { uplift, staticShare: staticMs / (options.seconds * 1_000), value: knobs.get('t.k').for({}).value }
}

describe('switchback', () => {
  it('finds an uplift that is there, in a small share of time, and ends static blocks that hurt', async () => {
    const { uplift, staticShare, value } = await run((k) => (k === 10 ? 0.95 : 0.6), { seconds: 1_500 })
    expect(uplift.attainment?.low).toBeGreaterThan(0.1)
    expect(uplift.attainment?.high).toBeLessThan(0.6)
    expect(uplift.goodputPerS?.low).toBeGreaterThan(0)
    expect(uplift.endedEarly).toBeGreaterThan(5)
    expect(staticShare).toBeGreaterThan(0.02)
    expect(staticShare).toBeLessThan(0.3)
    expect(value).toBe(10)
  }, 30_000)

  it('claims nothing where there is nothing', async () => {
    const { uplift } = await run(() => 0.9, { seconds: 1_500 })
    expect(uplift.pairs).toBeGreaterThan(10)
    expect(uplift.attainment?.low).toBeLessThan(0.01)
    expect(uplift.attainment?.high).toBeGreaterThan(-0.01)
  }, 30_000)

  it('says nothing before there is enough', async () => {
    const { uplift } = await run(() => 0.9, { seconds: 30 })
    expect(uplift.attainment).toBeUndefined()
  })
})

describe('paired interval', () => {
  it('is Student’s for independent differences and wider for correlated ones', () => {
    expect(student975(10)).toBeCloseTo(2.228, 2)
    expect(student975(3)).toBeCloseTo(3.182, 1)
    const independent = pairedInterval([1, -1, 1, -1, 1, -1, 1, -1])
    const correlated = pairedInterval([1, 1, 1, 1, -1, -1, -1, -1])
    expect(independent?.mean).toBe(0)
    expect((correlated?.high ?? 0) / (independent?.high ?? 1)).toBeGreaterThan(1.2)
  })
})

describe('state file', () => {
  it('gives back what was saved, and ignores what does not fit', async () => {
    const path = join(await mkdtemp(join(tmpdir(), 'flyball-')), 'states.json')
    expect(await loadStates(path)).toEqual({ states: {} })
    await saveStates(path, { 'throttle{backend=a}': { limit: 3 } })
    expect(await loadStates(path)).toEqual({ states: { 'throttle{backend=a}': { limit: 3 } } })
    for (const [text, why] of [['nonsense', 'is not JSON'], ['{"version":0,"states":{}}', 'has version 0, expected 1'], ['{"version":1,"states":[]}', 'holds no states']]) {
      await writeFile(path, text as string)
      expect(await loadStates(path)).toEqual({ states: {}, ignored: why })
    }
  })
})

describe('a governor with an experiment and a state file', () => {
  it('tells its uplift, and gives the next process what its loops had learned', async () => {
    const stateFile = join(await mkdtemp(join(tmpdir(), 'flyball-')), 'states.json')
    const first = createGovernor({ clock: manualClock(), env: {}, switchback: { share: 0.2 }, stateFile, plugins: [throttle()], backends: [scriptedBackend({ name: 'b' })] })
    await first.start()
    expect(first.uplift()).toMatchObject({ pairs: 0, attainment: undefined })
    first.loop.tick()
    await first.close()
    const { states } = await loadStates(stateFile)
    expect(states).toBeTypeOf('object')
    const second = createGovernor({ clock: manualClock(), env: {}, savedStates: { ...states, 'throttle{backend=b}': 'nonsense' }, plugins: [throttle()], backends: [scriptedBackend({ name: 'b' })] })
    await second.start()
    second.loop.tick()
    await second.close()
    expect(createGovernor({ env: {}, loops: 'off' }).uplift()).toBeUndefined()
  })
})
