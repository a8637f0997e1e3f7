/** A controller is a pure function from what was read to what should be turned. It passes `test/conformance/controller.ts`. */
import type { Scope, ScopeKey } from '../core/scope.ts'
import type { SloClass } from '../core/slo.ts'
import type { KnobSpec } from '../knobs/knob-spec.ts'
import type { Aggregate, Reading } from '../signals/signal-spec.ts'

/** Why a controller did what it did: a closed set, so that stories, panels and alerts can rely on it. */
export const REASONS = [
  'learning',
  'steady',
  'slo_headroom',
  'slo_exceeded',
  'upstream_rejects',
  'demand_above_limit',
  'app_limited',
  'work_conserving',
  'curve_changed',
  'stale_budget_exceeded',
  'stale_budget_spare',
  'not_worth_it',
  'utilisation_high',
  'utilisation_low',
  'memory_envelope',
  'probe',
  'revert',
  'signals_stale',
  'signals_back',
  'operator',
  'custom',
] as const
export type Reason = (typeof REASONS)[number]

export interface Why {
  readonly reason: Reason
  /** The numbers behind it, by short names with units: `p95Ms`, `targetMs`. */
  readonly numbers: Readonly<Record<string, number>>
}

export interface SignalRead {
  readonly signal: string
  readonly aggregate?: Aggregate
  /** `'slo'`: the quantile that the class's SLO names. */
  readonly quantile?: number | 'slo'
  readonly windowMs?: number
  /** Also hand over the raw samples since the last decision. */
  readonly points?: boolean
}

export interface KnobView {
  /** The controller's own layer. */
  readonly value: number
  /** What is in force, which a pin, experiment or fallback may cover. */
  readonly effective: number
  readonly covered: boolean
  readonly spec: KnobSpec
}

export interface ControllerInput {
  readonly nowMs: number
  readonly scope: Scope
  /** The most urgent class with targets, or the scope's own class. */
  readonly slo: SloClass | undefined
  readonly readings: Readonly<Record<string, Reading>>
  /** By knob name. */
  readonly knobs: Readonly<Record<string, KnobView>>
  /** Constants of what is governed: `slots`, `maxBatch`, `maxBatchWork`. */
  readonly facts: Readonly<Record<string, number>>
  /** Only one loop explores at a time, so that effects stay attributable. */
  readonly mayProbe: boolean
}

export interface Wish {
  readonly knob: string
  readonly to: number
}

export interface Decision<S> {
  readonly state: S
  readonly moves: readonly Wish[]
  readonly why: Why
  /** What it expects of the watched quantity after the move; drawn beside what happened. */
  readonly predicted?: number
  /** This move is an exploration: takes the probe token until a decision without it. */
  readonly probe?: boolean
}

export interface Controller<S = unknown> {
  /** `throttle`, `batching`: unique in a governor. */
  readonly name: string
  readonly doc: string
  /** One instance of its state per distinct value of these. */
  readonly scope: readonly ScopeKey[]
  readonly reads: Readonly<Record<string, SignalRead>>
  /** Which of `reads` says that there is something to decide on; its instances are the controller's. */
  readonly primary: string
  /** Names of the knobs that it alone turns. */
  readonly turns: readonly string[]
  /** A window closes on count and time, never on the clock alone. */
  readonly every: { readonly minSamples: number; readonly minMs: number }
  /** `saved`: a state from an earlier process, to be ignored when it does not fit. */
  init(saved?: unknown): S
  /** Must not mutate `state`, which must survive `structuredClone`. */
  decide(state: S, input: ControllerInput): Decision<S>
}

/** What a fact-gathering host knows of a scope; controllers get it as `facts`. */
export type FactSource = (scope: Scope) => Readonly<Record<string, number>>

export type ControllerSpecs = Readonly<Record<string, Controller>>
