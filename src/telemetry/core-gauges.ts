/** Gauges that are true by derivation: whatever knobs, signals, loops and lanes exist, they show. */
import type { BackendHealth } from '../core/backend.ts'
import type { Governor } from '../governor-contract.ts'
import type { CoreHandles } from './call-telemetry.ts'
import { perCollection } from './per-collection.ts'

/** Returns what takes the callbacks away again. */
export function collectCoreGauges(handles: CoreHandles, governor: Governor, health: () => ReadonlyMap<string, BackendHealth>): () => void {
  const states = perCollection(() => governor.backendStates())
  const views = perCollection(() => governor.loopViews())
  const undo = [
    handles.inFlight.collect((report) => {
      for (const state of states()) report(state.inFlight, { backend: state.name })
    }),
    handles.waiting.collect((report) => {
      for (const state of states()) report(state.waiting, { backend: state.name })
    }),
    handles.limit.collect((report) => {
      for (const state of states()) report(state.limit, { backend: state.name })
    }),
    handles.backendUp.collect((report) => {
      for (const backend of governor.backends()) report((health().get(backend.name)?.healthy ?? true) ? 1 : 0, { backend: backend.name })
    }),
    handles.knobValue.collect((report) => {
      for (const { spec, instances } of knobs()) for (const instance of instances) report(instance.value, { knob: spec.name, scope: instance.key })
    }),
    handles.knobMin.collect((report) => {
      for (const { spec } of knobs()) report(spec.min, { knob: spec.name })
    }),
    handles.knobMax.collect((report) => {
      for (const { spec } of knobs()) report(spec.max, { knob: spec.name })
    }),
    handles.knobLayer.collect((report) => {
      for (const { spec, instances } of knobs()) {
        // Only the layer that rules: five series a knob would be a third of the page.
        for (const instance of instances) report(1, { knob: spec.name, scope: instance.key, layer: instance.layer })
      }
    }),
    handles.signalValue.collect((report) => {
      for (const signal of governor.signals.all()) {
        for (const window of signal.instances()) {
          const reading = window.read()
          if (reading.status === 'fresh' && reading.value !== undefined) report(reading.value, { signal: signal.spec.name, scope: window.key })
        }
      }
    }),
    handles.signalAge.collect((report) => {
      for (const signal of governor.signals.all()) {
        for (const window of signal.instances()) {
          const { ageMs } = window.read({ aggregate: 'last' })
          if (Number.isFinite(ageMs)) report(ageMs / 1_000, { signal: signal.spec.name, scope: window.key })
        }
      }
    }),
    handles.loopMode.collect((report) => {
      for (const view of views()) report(1, { controller: view.controller, scope: view.key, mode: view.mode })
    }),
    handles.loopPredicted.collect((report) => {
      for (const view of views()) if (view.predicted !== undefined) report(view.predicted, { controller: view.controller, scope: view.key })
    }),
    handles.loopDryRun.collect((report) => report(governor.loop.dryRun ? 1 : 0, {})),
  ]
  function* knobs() {
    for (const knob of governor.knobs.all()) yield { spec: knob.spec, instances: knob.instances() }
  }
  return () => undo.forEach((fn) => fn())
}
