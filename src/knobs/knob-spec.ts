/** A knob is declared once. Names, checks, gauges, the admin API, panels and docs derive from this record. */
import type { ScopeKey } from '../core/scope.ts'

export interface KnobSpec {
  /** `plugin.knob` in lower snake case: `throttle.limit`. */
  readonly name: string
  readonly default: number
  readonly min: number
  readonly max: number
  /** UCUM-like: `ms`, `s`, `{call}`, `{token}`, `1`. */
  readonly unit: string
  readonly doc: string
  /** Which of backend, model and class it has its own value for. Empty: one value. */
  readonly scope: readonly ScopeKey[]
  /** Most instances kept; scopes past it share `_other`. */
  readonly maxInstances: number
  /** Only whole numbers. */
  readonly integer?: boolean
  /** A controller may turn it. */
  readonly tunable: boolean
  /** Largest factor of one upward move (> 1). */
  readonly maxUp: number
  /** Smallest factor of one downward move (0-1). */
  readonly maxDown: number
  /** A move may always be at least this large, so that a knob can leave 0 or 1. In the knob's unit. */
  readonly minStep: number
  /** Least time between two controller moves, ms. A cut in `safeDirection` does not wait. */
  readonly cooldownMs: number
  /** Where the fallback may move it when its controller is blind. */
  readonly safeDirection: 'up' | 'down' | 'none'
}

type Defaulted = 'scope' | 'maxInstances' | 'tunable' | 'maxUp' | 'maxDown' | 'minStep' | 'cooldownMs' | 'safeDirection'

export type KnobSpecs = Readonly<Record<string, KnobSpec>>

const NAME = /^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$/

/** Completes and checks a declaration. Throws a TypeError that says what is wrong with it. */
export function knob(spec: Omit<KnobSpec, Defaulted> & Partial<Pick<KnobSpec, Defaulted>>): KnobSpec {
  const full: KnobSpec = {
    scope: [],
    maxInstances: 64,
    tunable: true,
    maxUp: 2,
    maxDown: 0.5,
    minStep: spec.integer ? 1 : 0,
    cooldownMs: 0,
    safeDirection: 'none',
    ...spec,
  }
  const complain = (what: string): never => {
    throw new TypeError(`knob ${full.name}: ${what}`)
  }
  if (!NAME.test(full.name)) complain('expected a name like "plugin.knob" in lower snake case')
  for (const value of [full.default, full.min, full.max]) if (!Number.isFinite(value)) complain('default, min and max must be finite')
  if (full.min > full.max) complain(`min ${full.min} is above max ${full.max}`)
  if (full.default < full.min || full.default > full.max) complain(`default ${full.default} is outside ${full.min}..${full.max}`)
  if (full.maxUp <= 1) complain(`maxUp must be above 1, got ${full.maxUp}`)
  if (full.maxDown < 0 || full.maxDown >= 1) complain(`maxDown must be in 0..1, got ${full.maxDown}`)
  if (full.maxInstances < 1) complain('maxInstances must be at least 1')
  return full
}

/** The environment variable that sets it: `throttle.limit` → `FLYBALL_THROTTLE_LIMIT`. */
export function knobEnvName(name: string): string {
  return `FLYBALL_${name.replaceAll('.', '_').toUpperCase()}`
}
