/** The governor as the page shows it: `meta` changes rarely, `state` each second. No prompt text, no credentials. */
import type { InstanceView } from '../../control/loop.ts'
import type { Governor } from '../../governor-contract.ts'
import type { KnobInstance } from '../../knobs/knob.ts'
import { LANE_SIGNALS } from '../../signals/lane-signals.ts'
import { numberNamed, OBSERVED_NUMBER, TARGET_NUMBER } from '../../telemetry/self-gauges.ts'
import type { SeriesTable } from './series-table.ts'

/** Batch sizes of so long are averaged. */
const BATCH_WINDOW_MS = 5_000
/** A longer queue is told apart by class from its first so many calls. */
const MAX_COUNTED_WAITERS = 5_000

export const loopId = ({ controller, key }: { controller: string; key: string }): string => `${controller}{${key}}`
export const knobId = ({ spec, key }: KnobInstance): string => `${spec.name}{${key}}`

/** Which of its numbers each loop watches. A loop that has named one is never shown by another, in another unit. */
export class Watched {
  readonly #governor: Governor
  readonly #names = new Map<string, { name: string; named: boolean }>()

  constructor(governor: Governor) {
    this.#governor = governor
  }

  /** What the loop sees of the quantity it watches; undefined before it has named one, null while there is nothing to see. */
  observed(view: InstanceView): { name: string; value: number | null } | undefined {
    const id = loopId(view)
    const known = this.#names.get(id)
    const number = observedNumber(this.#governor, view)
    if (number && (number.named || (view.why.reason !== 'learning' && !known?.named))) {
      this.#names.set(id, { name: number.name, named: number.named })
      return { name: number.name, value: number.value }
    }
    return known && { name: known.name, value: null }
  }
}

function observedNumber(governor: Governor, view: InstanceView): { name: string; value: number; named: boolean } | undefined {
  const controller = governor.loop.controllers.find(({ name }) => name === view.controller)
  const reading = controller && view.readings[controller.primary]
  if (!reading || reading.status !== 'fresh') return undefined
  const number = numberNamed(view, OBSERVED_NUMBER)
  if (number) return { name: number[0], value: number[1], named: true }
  return reading.value === undefined ? undefined : { name: controller.reads[controller.primary]?.signal ?? controller.primary, value: reading.value, named: false }
}

const targetNumber = (view: InstanceView): number | undefined => numberNamed(view, TARGET_NUMBER)?.[1]

/** Knob instances that a loop turns. */
function knobsOf(governor: Governor, view: InstanceView): string[] {
  const turns = governor.loop.controllers.find(({ name }) => name === view.controller)?.turns ?? []
  return turns.map((knob) => knobId(governor.knobs.get(knob).for(view.scope)))
}

/** Writes what the lanes, knobs, loops and memories are at right now. */
export function writeGauges(governor: Governor, views: readonly InstanceView[], watched: Watched, series: SeriesTable): void {
  for (const backend of governor.backends()) {
    const lane = governor.lane(backend.name)
    series.set(`lane|inFlight|${backend.name}`, lane.inFlight)
    series.set(`lane|limit|${backend.name}`, lane.limit)
    series.set(`lane|waiting|${backend.name}`, lane.waiting)
    const byClass = new Map<string, number>(governor.classes.map(({ name }) => [name, 0]))
    let counted = 0
    for (const { call } of lane.waiters()) {
      if (++counted > MAX_COUNTED_WAITERS) break
      byClass.set(call.class, (byClass.get(call.class) ?? 0) + 1)
    }
    for (const [name, waiting] of byClass) series.set(`queue|${name}|${backend.name}`, waiting)
    if (backend.limits.batching === 'merge') {
      const batch = governor.signals.get(LANE_SIGNALS.batchSize.name).for({ backend: backend.name })
      series.set(`batch|mean|${backend.name}`, batch.read({ aggregate: 'mean', windowMs: BATCH_WINDOW_MS }).value)
      series.set(`batch|max|${backend.name}`, batch.read({ aggregate: 'max', windowMs: BATCH_WINDOW_MS }).value)
    }
  }
  for (const knob of governor.knobs.all()) {
    if (governor.knobs.ownerOf(knob.spec.name) === undefined) continue
    for (const instance of knob.instances()) series.set(`knob|${knobId(instance)}`, instance.value)
  }
  for (const view of views) {
    const id = loopId(view)
    series.set(`loop|observed|${id}`, watched.observed(view)?.value)
    series.set(`loop|target|${id}`, targetNumber(view))
    series.set(`loop|predicted|${id}`, view.predicted)
  }
  for (const signal of governor.signals.all()) {
    if (!signal.spec.name.endsWith('.kv_used')) continue
    for (const window of signal.instances()) {
      const { status, value } = window.read({ aggregate: 'last' })
      series.set(`kv|${window.scope.backend ?? window.key}`, status === 'stale' ? null : value)
    }
  }
}

/** What is declared. Ask again when `metaVersion` changes. */
export function metaOf(governor: Governor): unknown {
  return {
    classes: governor.classes,
    controllers: governor.loop.controllers.map(({ name, doc, turns }) => ({ name, doc, turns })),
    knobs: [...governor.knobs.all()].map(({ spec }) => ({
      name: spec.name,
      unit: spec.unit,
      doc: spec.doc,
      default: spec.default,
      min: spec.min,
      max: spec.max,
      integer: spec.integer === true,
      scope: spec.scope,
      owner: governor.knobs.ownerOf(spec.name) ?? null,
    })),
  }
}

export function metaVersion(governor: Governor): string {
  let knobs = 0
  for (const _ of governor.knobs.all()) knobs++
  return `${governor.loop.controllers.length}/${knobs}`
}

/** What is so right now. */
export function stateOf(governor: Governor, views: readonly InstanceView[], watched: Watched): Record<string, unknown> {
  const pins = new Map(governor.knobs.pins().map((pin) => [`${pin.knob}{${pin.key}}`, pin]))
  const limits = new Map(governor.backends().map(({ name, limits: { slots, batching } }) => [name, { slots, batching }]))
  const knobs = [...governor.knobs.all()].flatMap((knob) => [...knob.instances()])
  return {
    ready: governor.ready,
    draining: governor.draining,
    dryRun: governor.loop.dryRun,
    staticArm: knobs.some(({ layer }) => layer === 'experiment'),
    backends: governor.backendStates().map((backend) => ({ ...backend, ...limits.get(backend.name), health: backend.health ?? null, models: backend.models === '*' ? '*' : backend.models.length })),
    loops: views.map((view) => ({
      id: loopId(view),
      controller: view.controller,
      key: view.key,
      mode: view.mode,
      modeForMs: Math.round(governor.clock.monoMs() - view.modeSinceMs),
      reason: view.why.reason,
      numbers: view.why.numbers,
      observed: watched.observed(view) ?? null,
      target: targetNumber(view) ?? null,
      decisions: view.decisions,
      knobs: knobsOf(governor, view),
    })),
    knobs: knobs.map((instance) => {
      const id = knobId(instance)
      const pin = pins.get(id)
      return { id, name: instance.spec.name, key: instance.key, value: instance.value, layer: instance.layer, ...(pin === undefined ? {} : { pin: pin.value, pinEnds: pin.expiresWallMs ?? null }) }
    }),
  }
}
