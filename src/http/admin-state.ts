/** What `/admin/state` says: everything declared, and its value now. No prompt text, no credentials. */
import type { Governor } from '../governor-contract.ts'
import type { KnobInstance } from '../knobs/knob.ts'
import type { Knob } from '../knobs/registry.ts'
import { prometheusName } from '../telemetry/instrument-spec.ts'
import { knobEnvName } from '../knobs/knob-spec.ts'

export function adminState(governor: Governor): Record<string, unknown> {
  return {
    now: new Date(governor.clock.wallMs()).toISOString(),
    ready: governor.ready,
    draining: governor.draining,
    loops: { dryRun: governor.loop.dryRun, decisions: governor.decisions.total },
    classes: governor.classes,
    backends: governor.backendStates(),
    knobs: knobStates(governor),
    signals: [...governor.signals.all()].map(({ spec, instances }) => ({
      name: spec.name,
      unit: spec.unit,
      doc: spec.doc,
      instances: [...instances()].map((window) => {
        const { status, value, samples, ageMs } = window.read()
        return { key: window.key, status, ...(value === undefined ? {} : { value }), samples, ...(Number.isFinite(ageMs) ? { ageMs: Math.round(ageMs) } : {}) }
      }),
    })),
    controllers: controllerStates(governor),
    instruments: governor.instruments.all().map((spec) => ({ name: spec.name, prometheus: prometheusName(spec), kind: spec.kind, unit: spec.unit, doc: spec.doc, labels: Object.keys(spec.labels) })),
    uplift: governor.uplift() ?? null,
    plugins: governor.pluginStates(),
    commands: governor.commands(),
  }
}

/** Every controller, whether it has begun or still waits for its first sample. */
function controllerStates(governor: Governor): unknown[] {
  const views = governor.loopViews()
  return governor.loop.controllers.map((controller) => ({
    name: controller.name,
    turns: controller.turns,
    instances: views
      .filter((view) => view.controller === controller.name)
      .map(({ key, mode, why, decisions, predicted, readings }) => ({ key, mode, why, decisions, ...(predicted === undefined ? {} : { predicted }), readings })),
  }))
}

export function knobStates(governor: Governor): unknown[] {
  return [...governor.knobs.all()].map((knob) => knobState(governor, knob))
}

export function knobState(governor: Governor, knob: Knob): Record<string, unknown> {
  const { spec } = knob
  const pins = governor.knobs.pins().filter((pin) => pin.knob === spec.name)
  const owner = governor.knobs.ownerOf(spec.name)
  return {
    name: spec.name,
    unit: spec.unit,
    doc: spec.doc,
    default: spec.default,
    min: spec.min,
    max: spec.max,
    scope: spec.scope,
    tunable: spec.tunable,
    env: knobEnvName(spec.name),
    ...(owner === undefined ? {} : { controller: owner }),
    instances: [...knob.instances()].map((instance) => {
      const pin = pins.find(({ key }) => key === instance.key)
      return { ...instanceState(instance), ...(pin === undefined ? {} : { pin: { value: pin.value, ...(pin.expiresWallMs === undefined ? {} : { expiresAt: new Date(pin.expiresWallMs).toISOString() }) } }) }
    }),
  }
}

const instanceState = ({ key, value, layer }: KnobInstance): Record<string, unknown> => ({ key, value, layer })
