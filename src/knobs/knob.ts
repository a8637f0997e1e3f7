/** One instance of a knob: layers of values, of which the effective one is read on the hot path as a plain property. */
import type { Scope } from '../core/scope.ts'
import type { KnobSpec } from './knob-spec.ts'

/** Weakest last: effective = pin ?? experiment ?? fallback ?? controller ?? start value. */
export const LAYERS = ['pin', 'experiment', 'fallback', 'controller', 'start'] as const
export type Layer = (typeof LAYERS)[number]

export interface KnobInstance {
  readonly spec: KnobSpec
  readonly scope: Scope
  /** `backend=native,class=faq`; empty for an unscoped knob. */
  readonly key: string
  /** The effective value. */
  readonly value: number
  /** Which layer it comes from. */
  readonly layer: Layer
}

export interface Clamped {
  readonly value: number
  /** Which limit cut the wish short. */
  readonly bound?: 'min' | 'max' | 'max_up' | 'max_down'
}

/** Mutable inside the registry only. */
export class KnobCell implements KnobInstance {
  readonly spec: KnobSpec
  readonly scope: Scope
  readonly key: string
  value: number
  layer: Layer = 'start'
  readonly layers: Partial<Record<Layer, number>>
  lastMoveMs = Number.NEGATIVE_INFINITY

  constructor(spec: KnobSpec, scope: Scope, key: string, start: number) {
    this.spec = spec
    this.scope = scope
    this.key = key
    this.value = start
    this.layers = { start }
  }

  set(layer: Layer, value: number | undefined): void {
    if (value === undefined) delete this.layers[layer]
    else this.layers[layer] = value
    for (const name of LAYERS) {
      const held = this.layers[name]
      if (held !== undefined) {
        this.layer = name
        this.value = held
        return
      }
    }
  }

  /** What the controller's layer is at, whatever covers it. */
  get controllerValue(): number {
    return this.layers.controller ?? this.layers.start ?? this.spec.default
  }
}

/** `wish` brought inside the knob's bounds and grid. NaN is refused by the registry before this. */
export function clampToBounds(spec: KnobSpec, wish: number): Clamped {
  const value = spec.integer ? Math.round(wish) : wish
  if (value < spec.min) return { value: spec.min, bound: 'min' }
  if (value > spec.max) return { value: spec.max, bound: 'max' }
  return { value }
}

/** `wish` brought inside what one move from `from` may do. */
export function clampMove(spec: KnobSpec, from: number, wish: number): Clamped {
  const up = Math.max(from * spec.maxUp, from + spec.minStep)
  const down = Math.min(from * spec.maxDown, from - spec.minStep)
  let bound: Clamped['bound']
  let value = wish
  if (value > up) [value, bound] = [spec.integer ? Math.floor(up) : up, 'max_up']
  else if (value < down) [value, bound] = [spec.integer ? Math.ceil(down) : down, 'max_down']
  const inside = clampToBounds(spec, value)
  return inside.bound ?? bound ? { value: inside.value, bound: (inside.bound ?? bound) as NonNullable<Clamped['bound']> } : inside
}
