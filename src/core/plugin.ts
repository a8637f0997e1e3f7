/** The plugin contract: what a plugin declares, and what its host gives it. */
import type { ZodType } from 'zod'
import type { ControllerSpecs } from '../control/controller.ts'
import type { Knob } from '../knobs/registry.ts'
import type { KnobSpecs } from '../knobs/knob-spec.ts'
import type { Signal } from '../signals/registry.ts'
import type { SignalSpecs } from '../signals/signal-spec.ts'
import type { InstrumentSpec, InstrumentSpecs } from '../telemetry/instrument-spec.ts'
import type { CounterHandle, GaugeHandle, HistogramHandle } from '../telemetry/instruments.ts'
import type { Backend } from './backend.ts'
import type { Call } from './call.ts'
import type { Clock } from './clock.ts'
import type { LanePolicy, LaneView } from './lane-policy.ts'
import type { Handler } from './onion.ts'
import type { Reply } from './reply.ts'
import type { SloClass } from './slo.ts'

/** Everything declared once; the host registers it before `create` runs. */
export interface Declares {
  readonly knobs?: KnobSpecs
  readonly signals?: SignalSpecs
  readonly instruments?: InstrumentSpecs
  readonly controllers?: ControllerSpecs
}

/**
 * Where in the onion a plugin may stand; construction refuses an order that cannot work (`observe` outside `reuse` outside
 * `route`). `lane` plugins are not in the onion.
 */
export type Phase = 'observe' | 'reuse' | 'route' | 'lane'
export const PHASES: readonly Phase[] = ['observe', 'reuse', 'route', 'lane']

/** The subset of pino's logger that plugins may use. Never prompt text, never credentials. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export interface AttemptOptions {
  /** By name; default: the backend that the call's model routes to. */
  backend?: string
  /** Replaces the parent's signal: for work that may outlive its first caller (single-flight, refresh). */
  signal?: AbortSignal
  /** Default: the call's. */
  priority?: number
  /** Default: the call's. `null`: none. */
  deadlineMs?: number | null
  /** Why there is an attempt, for spans and metrics: `serve`, `retry`, `hedge`, `refresh`, `shadow`, `warm`. */
  purpose?: string
  /** Not on behalf of a caller that waits: does not count towards anybody's latency or SLO. */
  background?: boolean
  slo?: SloClass
  /** Called with the child before it is submitted, so that its priority can be raised while it waits. */
  onChild?: (child: Call) => void
}

type HandleOf<S> = S extends InstrumentSpec<infer L, infer K> ? (K extends 'histogram' ? HistogramHandle<L> : K extends 'gauge' ? GaugeHandle<L> : CounterHandle<L>) : never

/** What a host offers. `D`: the plugin's own declarations, so that its knobs and instruments are typed. */
export interface Host<D extends Declares = Declares> {
  readonly clock: Clock
  readonly log: Logger
  readonly knobs: { readonly [K in keyof NonNullable<D['knobs']>]: Knob }
  readonly signals: { readonly [K in keyof NonNullable<D['signals']>]: Signal }
  readonly instruments: { readonly [K in keyof NonNullable<D['instruments']>]: HandleOf<NonNullable<D['instruments']>[K]> }
  /** Signals of others, by name. Throws a TypeError when there is none. */
  signal(name: string): Signal
  /** Knobs of others, to read. Throws a TypeError when there is none. */
  knob(name: string): Knob
  readonly classes: readonly SloClass[]
  /** `dry` and `off`: no experiments either, so that a dry run is the same as none. */
  readonly loops: 'on' | 'dry' | 'off'
  readonly backends: readonly Backend[]
  /** The backend that this call goes to unless a plugin says otherwise. Throws `model_not_found`. */
  route(call: Call): Backend
  lane(backend: string): LaneView
  /**
   * A call's second way to an answer: a child call with its own signal and settlement goes through the handlers inside this
   * plugin, as `next` would, and then through the backend's lane.
   */
  attempt(call: Call, options?: AttemptOptions): Promise<Reply>
  /** Shown under `plugins.<name>` in `/admin/state`. No prompt text, no credentials. */
  describe(fn: () => unknown): void
  /** Named verbs for the admin API: `cache.purge`. Arguments are validated by the plugin. */
  command(name: string, fn: (args: unknown) => unknown): void
  onClose(fn: () => void | Promise<void>): void
}

/** A plugin's working parts. Both are optional; a plugin that only declares controllers needs neither. */
export interface PluginParts {
  readonly handler?: Handler
  /** Called once per backend. */
  readonly forLane?: (lane: LaneView) => LanePolicy
}

export interface PluginDefinition<O, D extends Declares> {
  readonly name: string
  readonly phase: Phase
  readonly doc: string
  /** Options as a user writes them are checked against it; unknown keys are refused. */
  readonly options: ZodType<O>
  readonly declares?: D
  create(host: Host<D>, options: O): PluginParts
}

/** A plugin with its options checked, ready for `createGovernor({ plugins })`. */
export interface Plugin {
  readonly name: string
  readonly phase: Phase
  readonly declares: Declares
  create(host: Host): PluginParts
}

/** A factory that users call: `throttle({ … })`. Carries its definition for config files and docs. */
export interface PluginFactory<I> {
  (options?: I): Plugin
  readonly definition: PluginDefinition<unknown, Declares>
}
