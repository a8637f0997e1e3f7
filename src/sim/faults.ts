/** What goes wrong during a run, as a list of moments. */
import { z } from 'zod'
import type { Backend } from '../core/backend.ts'
import type { Call } from '../core/call.ts'
import type { Clock } from '../core/clock.ts'
import { FlyballError } from '../core/errors.ts'
import type { Reply } from '../core/reply.ts'
import type { SignalRegistry } from '../signals/registry.ts'
import { onCallAbort, unaryReply, type Plant } from './plants/plant.ts'
import type { VirtualClock } from './virtual-clock.ts'

const atMs = z.number().min(0)

export const faultSchema = z.discriminatedUnion('kind', [
  /** Service takes this many times as long from now on; 1 ends it. */
  z.strictObject({ kind: z.literal('slowdown'), atMs, factor: z.number().positive() }),
  /** Calls fail at once, those under way as well; `down: false` ends it. */
  z.strictObject({ kind: z.literal('down'), atMs, down: z.boolean() }),
  /** Everything under way is lost, and new calls are served again: a restart behind a load balancer. */
  z.strictObject({ kind: z.literal('reset'), atMs }),
  /** The provider's quota is this share of the configured one. */
  z.strictObject({ kind: z.literal('quota'), atMs, share: z.number().positive() }),
  /** This share of calls is answered 429, whatever the load; 0 ends it. */
  z.strictObject({ kind: z.literal('refuse'), atMs, share: z.number().min(0).max(1) }),
  /** No call is answered: each times out after `afterMs`; null ends it. */
  z.strictObject({ kind: z.literal('timeouts'), atMs, afterMs: z.number().positive().nullable() }),
  /** New plant parameters: capacity that was added, a cliff that moved. */
  z.strictObject({ kind: z.literal('reshape'), atMs, set: z.record(z.string(), z.number()) }),
  /** Answers of this class change this many times as often. */
  z.strictObject({ kind: z.literal('hazard'), atMs, changeClass: z.string(), factor: z.number().min(0) }),
  /** These signals (all of the lane's when none is named) measure nothing; `dropped: false` ends it. */
  z.strictObject({ kind: z.literal('sensors'), atMs, dropped: z.boolean(), signals: z.array(z.string()).optional() }),
  /** The wall clock jumps. */
  z.strictObject({ kind: z.literal('wall-jump'), atMs, byMs: z.number() }),
  /** The process is suspended: monotonic time goes on, nothing runs. */
  z.strictObject({ kind: z.literal('suspend'), atMs, forMs: z.number().min(0) }),
])
export type Fault = z.output<typeof faultSchema>

export interface FaultyPlant {
  readonly backend: Backend
  /** Calls answered 429 or timed out by a fault. */
  readonly refusals: number
  set(fault: { share?: number; timeoutMs?: number | null }): void
}

/** The plant behind a switch that refuses or swallows calls. */
export function faultyPlant(plant: Plant, clock: Clock): FaultyPlant {
  let share = 0
  let timeoutMs: number | null = null
  let refusals = 0
  const refused = (): Reply => unaryReply([{ type: 'error', code: 'rate_limit', message: 'rate limited', status: 429 }], 0, 429)
  const swallow = (call: Call, ms: number): Promise<Reply> =>
    new Promise((_, reject) => {
      const release = onCallAbort(call, () => {
        cancel()
        reject(new FlyballError('cancelled'))
      })
      const cancel = clock.after(ms, () => {
        release()
        reject(new FlyballError('upstream_timeout'))
      })
    })
  const backend: Backend = Object.create(plant, {
    run: {
      value(calls: readonly Call[], signal: AbortSignal) {
        if (timeoutMs === null && share === 0) return plant.run(calls, signal)
        const ms = timeoutMs
        if (ms !== null) {
          refusals += calls.length
          return calls.map((call) => swallow(call, ms))
        }
        const through = calls.filter(() => clock.random() >= share)
        const served = through.length === 0 ? [] : plant.run(through, signal)
        refusals += calls.length - through.length
        return calls.map((call) => served[through.indexOf(call)] ?? Promise.resolve(refused()))
      },
    },
  }) as Backend
  return {
    backend,
    get refusals() {
      return refusals
    },
    set(fault) {
      if (fault.share !== undefined) share = fault.share
      if (fault.timeoutMs !== undefined) timeoutMs = fault.timeoutMs
    },
  }
}

export interface FaultTargets {
  readonly clock: VirtualClock
  readonly plant: Plant
  readonly faulty: FaultyPlant
  readonly signals: SignalRegistry
}

/** Does what the fault says, now. Throws a TypeError for a fault that this plant cannot have. */
export function applyFault(fault: Fault, { clock, plant, faulty, signals }: FaultTargets): void {
  switch (fault.kind) {
    case 'slowdown':
      return plant.setSlowdown(fault.factor)
    case 'down':
      return plant.setDown(fault.down)
    case 'reset':
      plant.setDown(true)
      return plant.setDown(false)
    case 'refuse':
      return faulty.set({ share: fault.share })
    case 'timeouts':
      return faulty.set({ timeoutMs: fault.afterMs })
    case 'reshape':
      return plant.reshape(fault.set)
    case 'quota':
      if (!plant.setQuota) throw new TypeError(`fault quota: plant ${plant.name} has no quota`)
      return plant.setQuota(fault.share)
    case 'hazard':
      if (!plant.setHazardFactor) throw new TypeError(`fault hazard: the answers of plant ${plant.name} do not change`)
      return plant.setHazardFactor(fault.changeClass, fault.factor)
    case 'sensors':
      return dropSensors(signals, fault.dropped, fault.signals)
    case 'wall-jump':
      return clock.jumpWall(fault.byMs)
    case 'suspend':
      return clock.suspend(fault.forMs)
  }
}

const silent = (): void => {}

/** A dropped sensor hears nothing, but knows that it should: demand still counts. */
function dropSensors(signals: SignalRegistry, dropped: boolean, names?: readonly string[]): void {
  for (const signal of signals.all()) {
    if (names ? !names.includes(signal.spec.name) : !signal.spec.name.startsWith('lane.')) continue
    for (const window of signal.instances()) {
      if (dropped) Object.defineProperty(window, 'push', { value: silent, configurable: true })
      else delete (window as { push?: unknown }).push
    }
  }
}
