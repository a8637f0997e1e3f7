/**
 * Ten situations, each a governor of its own on a clock that is told when to move, driven through the real loop, and
 * served as a `/metrics` page of its own: one Prometheus instance label per situation.
 */
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { z } from 'zod'
import { createGovernor, definePlugin, functionBackend, knob, signal, type Controller, type ControllerInput, type Decision, type Governor } from '../../../src/index.ts'
import { manualClock, type ManualClock } from '../../support/manual-clock.ts'

export const SIZE_KNOB = knob({ name: 'pack.size', default: 8, min: 1, max: 64, integer: true, unit: '{call}', doc: 'Calls per pack.', scope: ['backend'], maxUp: 2, maxDown: 0.25, safeDirection: 'down' })
export const WATCHED = signal({ name: 'pack.run_ms', unit: 'ms', doc: 'Run time of a pack.', scope: ['backend'], aggregate: 'last', staleAfterMs: 5_000 })

export type Script = (input: ControllerInput, value: number) => Omit<Decision<{ n: number }>, 'state'>

const STEADY: Script = (_, value) => ({ moves: [], why: { reason: 'steady', numbers: { observedMs: value, targetMs: 100 } } })

export interface Situation {
  readonly name: string
  readonly governor: Governor
  readonly clock: ManualClock
  readonly exporter: PrometheusExporter
}

interface Rig extends Situation {
  script: Script
  /** Samples of the watched signal, one a second, for so long. */
  see(value: number, seconds: number): Promise<void>
  /** Calls that settle within their target, or not; `perS` a second. */
  serve(good: boolean, seconds: number, perS?: number): Promise<void>
}

function rig(name: string, options: { dry?: boolean } = {}): Rig {
  const clock = manualClock()
  const exporter = new PrometheusExporter({ preventServerStart: true, withoutScopeInfo: true, withoutTargetInfo: true })
  const provider = new MeterProvider({ readers: [exporter] })
  const state: { script: Script } = { script: STEADY }
  const controller: Controller<{ n: number }> = {
    name: 'pack',
    doc: 'Sizes packs.',
    scope: ['backend'],
    reads: { run: { signal: WATCHED.name } },
    primary: 'run',
    turns: [SIZE_KNOB.name],
    every: { minSamples: 1, minMs: 1_000 },
    init: () => ({ n: 0 }),
    decide: (before, input) => ({ state: { n: before.n + 1 }, ...state.script(input, input.readings['run']?.value ?? Number.NaN) }),
  }
  const plugin = definePlugin({ name: 'pack', phase: 'observe', doc: 'For tests.', options: z.strictObject({}), declares: { knobs: { size: SIZE_KNOB }, signals: { run: WATCHED }, controllers: { controller: controller as Controller } }, create: () => ({}) })
  const governor = createGovernor({ backends: [functionBackend('x', async () => 0)], plugins: [plugin()], clock, meter: provider.getMeter('flyball'), env: {}, ...(options.dry ? { loops: 'dry' as const } : {}), classes: [{ name: 'interactive', priority: 0, e2eMs: 150, quantile: 0.95 }] })
  governor.knobs.get(SIZE_KNOB.name).for({ backend: 'x' })
  governor.loop.start()
  const watched = governor.signals.get(WATCHED.name).for({ backend: 'x' })
  const attainment = governor.signals.get('lane.slo_met').for({ backend: 'x' })
  const offered = governor.signals.get('lane.offered').for({ backend: 'x' })
  return {
    name,
    governor,
    clock,
    exporter,
    get script() {
      return state.script
    },
    set script(script) {
      state.script = script
    },
    async see(value, seconds) {
      for (let i = 0; i < seconds; i++) {
        watched.push(value)
        await clock.advance(1_000)
      }
    },
    async serve(good, seconds, perS = 20) {
      for (let i = 0; i < seconds; i++) {
        for (let j = 0; j < perS; j++) {
          offered.push(1)
          attainment.push(good ? 1 : 0)
        }
        watched.push(good ? 80 : 180)
        await clock.advance(1_000)
      }
    },
  }
}

/** One move to `to`, for `reason`, with the numbers behind it; afterwards steady. */
function moveOnce(to: number, reason: 'slo_headroom' | 'slo_exceeded' | 'upstream_rejects' | 'probe', predicted?: number): Script {
  let done = false
  return (input, value) => {
    if (done) return STEADY(input, value)
    done = true
    return { moves: [{ knob: SIZE_KNOB.name, to }], why: { reason, numbers: { observedMs: value, targetMs: 100 } }, ...(predicted === undefined ? {} : { predicted }) }
  }
}

const BUILD: Readonly<Record<string, () => Promise<Situation>>> = {
  async steady() {
    const one = rig('steady')
    await one.see(90, 5)
    return one
  },
  async grown() {
    const one = rig('grown')
    one.script = moveOnce(12, 'slo_headroom', 95)
    await one.see(60, 3)
    return one
  },
  async cut() {
    const one = rig('cut')
    one.script = moveOnce(4, 'slo_exceeded', 90)
    await one.see(170, 3)
    return one
  },
  async clamped() {
    const one = rig('clamped')
    one.script = moveOnce(60, 'slo_headroom', 99)
    await one.see(40, 3)
    return one
  },
  async hold() {
    const one = rig('hold')
    await one.see(90, 3)
    one.governor.signals.get(WATCHED.name).for({ backend: 'x' }).fail()
    await one.clock.advance(10_000)
    return one
  },
  async fallback() {
    const one = rig('fallback')
    one.script = moveOnce(16, 'slo_headroom', 95)
    await one.see(60, 3)
    one.governor.signals.get(WATCHED.name).for({ backend: 'x' }).fail()
    await one.clock.advance(75_000)
    return one
  },
  async pinned() {
    const one = rig('pinned')
    await one.see(90, 3)
    one.governor.knobs.pin(SIZE_KNOB.name, { backend: 'x' }, 20)
    await one.see(90, 2)
    return one
  },
  async dry() {
    const one = rig('dry', { dry: true })
    one.script = moveOnce(12, 'slo_headroom')
    await one.see(60, 3)
    return one
  },
  async helped() {
    const one = rig('helped')
    await one.serve(false, 20)
    one.script = moveOnce(4, 'slo_exceeded', 90)
    await one.serve(true, 20)
    return one
  },
  async reverted() {
    const one = rig('reverted')
    await one.serve(true, 20)
    one.script = moveOnce(16, 'probe', 95)
    await one.serve(false, 20)
    return one
  },
}

export const SITUATIONS = Object.keys(BUILD)

export async function buildSituations(): Promise<Situation[]> {
  const built: Situation[] = []
  for (const build of Object.values(BUILD)) built.push(await build())
  return built
}
