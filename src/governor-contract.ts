/** What a governor takes and what it offers: the contract between the frame and its edges. */
import type { Context, Meter, Tracer } from '@opentelemetry/api'
import type { ControlLoop, InstanceView } from './control/loop.ts'
import type { DecisionLog } from './control/decision-log.ts'
import type { SwitchbackOptions, Uplift } from './control/switchback.ts'
import type { Backend, BackendHealth } from './core/backend.ts'
import type { Call, CallInit, LiveCall } from './core/call.ts'
import type { Clock } from './core/clock.ts'
import type { Lane } from './core/lane.ts'
import type { Logger, Plugin } from './core/plugin.ts'
import type { Reply } from './core/reply.ts'
import type { SloClass } from './core/slo.ts'
import type { KnobRegistry } from './knobs/registry.ts'
import type { SignalRegistry } from './signals/registry.ts'
import type { CallTelemetry } from './telemetry/call-telemetry.ts'
import type { InstrumentSet } from './telemetry/instruments.ts'

export interface GovernorOptions {
  backends?: readonly Backend[]
  /** First listed is outermost. */
  plugins?: readonly Plugin[]
  /** Service classes. Default: interactive (start within 500 ms) and batch (within 5 s). */
  classes?: readonly SloClass[]
  /** Class of a call that names none. Default: the first. */
  defaultClass?: string
  /** Start values of knobs, by name or `name{scope}`. */
  knobs?: Readonly<Record<string, number>>
  /** Where `FLYBALL_<KNOB>` is looked up. Default: `process.env`. */
  env?: Readonly<Record<string, string | undefined>>
  /** `off`: knobs stay where they are. `dry`: decide and log, turn nothing. */
  loops?: 'on' | 'dry' | 'off'
  /** Controller states from an earlier process. */
  savedStates?: Readonly<Record<string, unknown>>
  /** Keep controller states in this file; give what was there as `savedStates` (see `loadStates`). */
  stateFile?: string
  /** Measure what the loops bring: in a small share of time the knobs hold their start values. Off unless given. */
  switchback?: SwitchbackOptions
  /**
   * Secret behind the ids of tenants, at least 16 characters. Default: drawn at start. Name one where the same caller must
   * have the same id after a restart, or on several machines.
   */
  tenantKey?: string
  clock?: Clock
  log?: Logger
  meter?: Meter
  tracer?: Tracer
  /** A body that nobody reads for this long is given up, ms. */
  unreadMs?: number
}

export type CallRequest = Omit<CallInit, 'span' | 'slo' | 'tenant' | 'work' | 'stream'> & {
  /** Class by name. */
  class?: string
  slo?: SloClass
  tenant?: string
  work?: number
  stream?: boolean
  /** Trace context of the caller; default: the active one. */
  traceContext?: Context
}

export interface BackendState {
  readonly name: string
  readonly provider: string
  readonly models: readonly string[] | '*'
  readonly health: BackendHealth | undefined
  readonly ready: boolean
  readonly inFlight: number
  readonly waiting: number
  readonly limit: number
  readonly completionsPerS: number | undefined
}

export interface Governor {
  readonly clock: Clock
  readonly log: Logger
  readonly knobs: KnobRegistry
  readonly signals: SignalRegistry
  readonly decisions: DecisionLog
  readonly loop: ControlLoop
  readonly classes: readonly SloClass[]
  readonly instruments: InstrumentSet
  readonly telemetry: CallTelemetry
  /** Warms the backends and starts the loops; `ready` is true afterwards. Called by `gateway()` users once. */
  start(signal?: AbortSignal): Promise<void>
  readonly ready: boolean
  /** `start` has finished; stays true while draining. */
  readonly started: boolean
  readonly draining: boolean
  /** Makes a call; it is counted and traced from here on, so it must be sent. */
  call(request: CallRequest): LiveCall
  /** Resolves with a reply whose body settles the call; rejects with a `FlyballError` (the call is settled then). */
  send(call: LiveCall): Promise<Reply>
  addBackend(backend: Backend): void
  /** Throws `model_not_found`. */
  route(model: string): Backend
  lane(backend: string): Lane
  backends(): readonly Backend[]
  backendStates(): BackendState[]
  loopViews(): InstanceView[]
  /** What the experiment found so far; undefined without one. */
  uplift(): Uplift | undefined
  /** A model name fit to be a label: configured, or `_other`. */
  modelLabel(model: string): string
  pluginStates(): Record<string, unknown>
  command(name: string, args: unknown): unknown
  commands(): readonly string[]
  /** Settled logical calls, as they settle; for the console and for exporters. */
  onCallSettled(fn: (call: Call) => void): () => void
  /** No new calls; resolves when all have settled. */
  drain(): Promise<void>
  close(): Promise<void>
}
