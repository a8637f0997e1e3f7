/** Everything that is declared: the core's own, and whatever plugins and backends bring. Boards and rules derive from this. */
import type { Controller } from '../src/control/controller.ts'
import type { SloClass } from '../src/core/slo.ts'
import { DEFAULT_CLASSES } from '../src/core/slo.ts'
import type { Declares } from '../src/core/plugin.ts'
import type { KnobSpec } from '../src/knobs/knob-spec.ts'
import type { SignalSpec } from '../src/signals/signal-spec.ts'
import { LANE_SIGNALS } from '../src/signals/lane-signals.ts'
import type { InstrumentSpec } from '../src/telemetry/instrument-spec.ts'
import { CORE_INSTRUMENTS } from '../src/telemetry/catalogue.ts'
import { SELF_INSTRUMENTS } from '../src/telemetry/self-instruments.ts'
import { UPLIFT_INSTRUMENTS } from '../src/telemetry/uplift-instruments.ts'
import { CORE_KNOBS } from '../src/governor.ts'
import { HTTP_INSTRUMENTS } from '../src/http/edge.ts'

export interface Declared {
  readonly instruments: readonly InstrumentSpec[]
  readonly knobs: readonly KnobSpec[]
  readonly controllers: readonly Controller[]
  readonly signals: readonly SignalSpec[]
  readonly classes: readonly SloClass[]
}

/** The core's own declarations. */
export const CORE_DECLARES: readonly Declares[] = [
  { instruments: CORE_INSTRUMENTS, knobs: CORE_KNOBS, signals: LANE_SIGNALS },
  { instruments: SELF_INSTRUMENTS },
  { instruments: UPLIFT_INSTRUMENTS },
  { instruments: HTTP_INSTRUMENTS },
]

/** Merges declarations; one name declared by several (two backends of a kind) counts once. Sorted: the order of plugins changes nothing. */
export function declaredBy(sources: readonly Declares[], classes: readonly SloClass[] = DEFAULT_CLASSES): Declared {
  const instruments = new Map<string, InstrumentSpec>()
  const knobs = new Map<string, KnobSpec>()
  const signals = new Map<string, SignalSpec>()
  const controllers = new Map<string, Controller>()
  for (const source of [...CORE_DECLARES, ...sources]) {
    // Metrics of a standard repeat ours under other names, for dashboards that people have already.
    for (const spec of Object.values(source.instruments ?? {})) if (!spec.name.startsWith('gen_ai.')) instruments.set(spec.name, spec)
    for (const spec of Object.values(source.knobs ?? {})) knobs.set(spec.name, spec)
    for (const spec of Object.values(source.signals ?? {})) signals.set(spec.name, spec)
    for (const controller of Object.values(source.controllers ?? {})) controllers.set(controller.name, controller)
  }
  return { instruments: sorted(instruments), knobs: sorted(knobs), controllers: sorted(controllers), signals: sorted(signals), classes }
}

function sorted<T>(byName: ReadonlyMap<string, T>): T[] {
  return [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value)
}
