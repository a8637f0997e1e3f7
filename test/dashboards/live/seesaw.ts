/** A plugin as somebody else would write it, whose loop can be told to swing, to fail, or to do harm. */
import { z } from 'zod'
import { definePlugin, instrument, knob, label, signal, type Controller } from '../../../src/index.ts'

export const SEESAW_KNOB = knob({ name: 'seesaw.pause_ms', default: 4, min: 0, max: 4_096, unit: 'ms', doc: 'Pause in each call of the engine.', scope: ['backend'], maxUp: 512, maxDown: 0, minStep: 64, safeDirection: 'down' })
export const SEESAW_SIGNAL = signal({ name: 'seesaw.calls', unit: '{call}', doc: 'Calls seen.', scope: ['backend'], aggregate: 'sum' })
const KV_SIGNAL = signal({ name: 'seesaw.kv_used', unit: '1', doc: 'Share of KV memory in use.', scope: ['backend'], aggregate: 'last' })
const paused = instrument({ name: 'seesaw.paused_seconds', kind: 'histogram', unit: 's', doc: 'Pauses taken.', labels: { backend: label('Backend.', 8) }, buckets: [0.001, 0.01, 0.1, 1] })

export interface SeesawControl {
  mode: 'calm' | 'still' | 'swing' | 'fail'
  /** The next decision goes to this value; then undefined again. */
  goTo: number | undefined
  kvUsed: number
  sensorBroken: boolean
}

export const seesawControl: SeesawControl = { mode: 'calm', goTo: undefined, kvUsed: 0.4, sensorBroken: false }

const controller: Controller<{ n: number }> = {
  name: 'seesaw',
  doc: 'Turns its knob as a test says.',
  scope: ['backend'],
  reads: { calls: { signal: SEESAW_SIGNAL.name } },
  primary: 'calls',
  turns: [SEESAW_KNOB.name],
  every: { minSamples: 1, minMs: 250 },
  init: () => ({ n: 0 }),
  decide(state, input) {
    if (seesawControl.mode === 'fail') throw new Error('told to fail')
    const current = input.knobs[SEESAW_KNOB.name]?.value ?? 0
    const numbers = { observedMs: current, targetMs: 4 }
    const next = { n: state.n + 1 }
    if (seesawControl.goTo !== undefined) {
      const to = seesawControl.goTo
      seesawControl.goTo = undefined
      return { state: next, moves: [{ knob: SEESAW_KNOB.name, to }], why: { reason: 'probe', numbers }, predicted: to }
    }
    if (seesawControl.mode === 'swing') return { state: next, moves: [{ knob: SEESAW_KNOB.name, to: state.n % 2 ? 0 : 40 }], why: { reason: 'custom', numbers }, predicted: 20 }
    // Down past its bound, and back up, now and then: a wish cut short, and moves both ways, too few to be hunting.
    const wish = seesawControl.mode === 'still' ? current : state.n % 24 === 0 ? -5 : state.n % 24 === 1 ? 4 : current
    return { state: next, moves: wish === current ? [] : [{ knob: SEESAW_KNOB.name, to: wish }], why: { reason: 'steady', numbers }, predicted: current }
  },
}

export const seesaw = definePlugin({
  name: 'seesaw',
  phase: 'observe',
  doc: 'A loop for tests.',
  options: z.strictObject({}),
  declares: { knobs: { pause: SEESAW_KNOB }, signals: { calls: SEESAW_SIGNAL, kv: KV_SIGNAL }, instruments: { paused }, controllers: { controller: controller as Controller } },
  create(host) {
    const calls = host.signals.calls.for({ backend: 'engine' })
    const kv = host.signals.kv.for({ backend: 'engine' })
    const pause = host.knobs.pause.for({ backend: 'engine' })
    return {
      handler: async (call, next) => {
        if (call.model !== 'engine') return next(call)
        if (seesawControl.sensorBroken) calls.fail()
        else calls.push(1)
        kv.push(seesawControl.kvUsed)
        host.instruments.paused.record(pause.value / 1_000, { backend: 'engine' })
        return next(call)
      },
    }
  },
})
