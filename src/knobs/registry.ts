/** All knobs of a governor. Only the registry writes. */
import type { Clock } from '../core/clock.ts'
import { Scoped, type Scope } from '../core/scope.ts'
import { clampMove, clampToBounds, KnobCell, type Clamped, type KnobInstance } from './knob.ts'
import { knobEnvName, type KnobSpec } from './knob-spec.ts'

export interface Knob {
  readonly spec: KnobSpec
  /** The instance for a scope; made on first use, inheriting the start value. */
  for(scope: Scope): KnobInstance
  instances(): Iterable<KnobInstance>
}

export interface Pin {
  readonly knob: string
  readonly key: string
  readonly value: number
  /** Wall-clock ms at which it ends by itself; undefined: never. */
  readonly expiresWallMs: number | undefined
}

export interface MoveResult extends Clamped {
  readonly from: number
  /** False: nothing changed (dead band, cooldown, bounds, or covered by a higher layer without effect). */
  readonly moved: boolean
  readonly refused?: 'cooldown' | 'not_a_number' | 'unchanged'
}

export type KnobListener = (instance: KnobInstance, from: number) => void

class KnobEntry implements Knob {
  readonly spec: KnobSpec
  readonly cells: Scoped<KnobCell>

  constructor(spec: KnobSpec, start: (key: string) => number) {
    this.spec = spec
    this.cells = new Scoped(spec.scope, spec.maxInstances, (scope, key) => new KnobCell(spec, scope, key, start(key)))
    // An unscoped knob exists from the start, so that gauges and the admin API show it.
    if (spec.scope.length === 0) this.cells.for({})
  }

  for(scope: Scope): KnobInstance {
    return this.cells.for(scope)
  }

  instances(): Iterable<KnobInstance> {
    return this.cells.values()
  }
}

export interface KnobRegistryOptions {
  clock: Clock
  /** Start values from config, by knob name or `name{key}`; checked against bounds. */
  values?: Readonly<Record<string, number>>
  /** Environment to read `FLYBALL_<KNOB>` from. */
  env?: Readonly<Record<string, string | undefined>>
}

export class KnobRegistry {
  readonly #clock: Clock
  readonly #values: Readonly<Record<string, number>>
  readonly #env: Readonly<Record<string, string | undefined>>
  readonly #entries = new Map<string, KnobEntry>()
  readonly #owners = new Map<string, string>()
  readonly #listeners = new Set<KnobListener>()
  readonly #pins = new Map<KnobCell, { expiresWallMs: number | undefined; cancel: () => void }>()

  constructor(options: KnobRegistryOptions) {
    this.#clock = options.clock
    this.#values = options.values ?? {}
    this.#env = options.env ?? {}
  }

  /** Throws a TypeError when the name is taken, or a start value does not fit. */
  declare(spec: KnobSpec): Knob {
    if (this.#entries.has(spec.name)) throw new TypeError(`knob ${spec.name} is declared twice`)
    // All of them now: instances are made by calls, which must not be the ones to find out.
    for (const name of Object.keys(this.#values)) if (name.startsWith(`${spec.name}{`)) this.#checkScoped(spec, name)
    const general = this.#startValue(spec, spec.name)
    const entry = new KnobEntry(spec, (key) => (key === '' ? undefined : this.#startValue(spec, `${spec.name}{${key}}`)) ?? general ?? spec.default)
    this.#entries.set(spec.name, entry)
    return entry
  }

  /** A scope is written as the knob's instances are keyed: another text would set nothing. */
  #checkScoped(spec: KnobSpec, name: string): void {
    const key = /\{(.+)\}$/.exec(name)?.[1]
    const ordered = new RegExp(`^${spec.scope.map((part) => `(?:${part}=.+?(?:,|$))?`).join('')}$`)
    if (spec.scope.length === 0) throw new TypeError(`knobs.${name}: the knob has no scopes`)
    if (key === undefined || !ordered.test(key)) throw new TypeError(`knobs.${name}: expected a scope such as {${spec.scope.map((part) => `${part}=…`).join(',')}}`)
    this.#startValue(spec, name)
  }

  #startValue(spec: KnobSpec, name: string): number | undefined {
    const variable = knobEnvName(spec.name)
    const fromEnv = name === spec.name ? this.#env[variable] : undefined
    const value = fromEnv === undefined || fromEnv === '' ? this.#values[name] : Number(fromEnv)
    if (value === undefined) return undefined
    const source = fromEnv === undefined || fromEnv === '' ? `knobs.${name}` : variable
    if (!Number.isFinite(value) || clampToBounds(spec, value).value !== value) {
      throw new TypeError(`${source}: expected ${spec.integer ? 'a whole number' : 'a number'} in ${spec.min}..${spec.max} (${spec.unit}), got ${fromEnv ?? value}`)
    }
    return value
  }

  get(name: string): Knob {
    const entry = this.#entries.get(name)
    if (!entry) throw new TypeError(`there is no knob ${name}`)
    return entry
  }

  has(name: string): boolean {
    return this.#entries.has(name)
  }

  all(): Iterable<Knob> {
    return this.#entries.values()
  }

  /** Start values in the config that no declared knob answers to. */
  unknownValues(): string[] {
    return Object.keys(this.#values).filter((name) => !this.#entries.has(name.replace(/\{.*$/, '')))
  }

  /** Two controllers on one knob are refused. */
  claim(knob: string, controller: string): void {
    const { spec } = this.get(knob)
    if (!spec.tunable) throw new TypeError(`controller ${controller} may not turn ${knob}: it is declared not tunable`)
    const owner = this.#owners.get(knob)
    if (owner !== undefined && owner !== controller) throw new TypeError(`controllers ${owner} and ${controller} both turn ${knob}`)
    this.#owners.set(knob, controller)
  }

  ownerOf(knob: string): string | undefined {
    return this.#owners.get(knob)
  }

  onChange(fn: KnobListener): () => void {
    this.#listeners.add(fn)
    return () => this.#listeners.delete(fn)
  }

  /** A controller's move: slew, cooldown and bounds apply. `dry` computes without writing. */
  move(knob: string, scope: Scope, wish: number, options: { dry?: boolean; ignoreCooldown?: boolean } = {}): MoveResult {
    const cell = this.#cell(knob, scope)
    const from = cell.controllerValue
    if (Number.isNaN(wish)) return { from, value: from, moved: false, refused: 'not_a_number' }
    const clamped = clampMove(cell.spec, from, wish)
    if (clamped.value === from) return { from, ...clamped, moved: false, refused: 'unchanged' }
    const safe = cell.spec.safeDirection === (clamped.value < from ? 'down' : 'up')
    const now = this.#clock.monoMs()
    if (!safe && !options.ignoreCooldown && now - cell.lastMoveMs < cell.spec.cooldownMs) return { from, value: from, moved: false, refused: 'cooldown' }
    if (!options.dry) {
      cell.lastMoveMs = now
      this.#write(cell, 'controller', clamped.value)
    }
    return { from, ...clamped, moved: true }
  }

  /** Fallback moves only in the safe direction; anything else is ignored. Undefined lifts it. */
  setFallback(knob: string, scope: Scope, value: number | undefined): boolean {
    const cell = this.#cell(knob, scope)
    if (value === undefined) {
      this.#write(cell, 'fallback', undefined)
      return true
    }
    const target = clampToBounds(cell.spec, value).value
    const current = cell.controllerValue
    const safe = cell.spec.safeDirection
    if (safe === 'none' || (safe === 'down' ? target > current : target < current)) return false
    this.#write(cell, 'fallback', target)
    return true
  }

  /** The arm of a running experiment. Undefined ends it. */
  setExperiment(knob: string, scope: Scope, value: number | undefined): void {
    const cell = this.#cell(knob, scope)
    this.#write(cell, 'experiment', value === undefined ? undefined : clampToBounds(cell.spec, value).value)
  }

  /** The operator's word: wins over everything until unpinned or expired. Throws a RangeError outside the bounds. */
  pin(knob: string, scope: Scope, value: number, forMs?: number): Pin {
    const cell = this.#cell(knob, scope)
    const { spec } = cell
    if (!Number.isFinite(value) || clampToBounds(spec, value).value !== value) {
      throw new RangeError(`${knob}: expected ${spec.integer ? 'a whole number' : 'a number'} in ${spec.min}..${spec.max}, got ${value}`)
    }
    this.#pins.get(cell)?.cancel()
    const cancel = forMs === undefined ? () => {} : this.#clock.after(forMs, () => this.unpin(knob, scope))
    const expiresWallMs = forMs === undefined ? undefined : this.#clock.wallMs() + forMs
    this.#pins.set(cell, { expiresWallMs, cancel })
    this.#write(cell, 'pin', value)
    return { knob, key: cell.key, value, expiresWallMs }
  }

  unpin(knob: string, scope: Scope): boolean {
    const cell = this.#cell(knob, scope)
    const held = this.#pins.get(cell)
    if (!held) return false
    held.cancel()
    this.#pins.delete(cell)
    this.#write(cell, 'pin', undefined)
    return true
  }

  pins(): Pin[] {
    return [...this.#pins].map(([cell, { expiresWallMs }]) => ({ knob: cell.spec.name, key: cell.key, value: cell.value, expiresWallMs }))
  }

  /** What a controller sees of a knob: its own layer's value, and whether something covers it. */
  controllerView(knob: string, scope: Scope): { value: number; effective: number; covered: boolean; spec: KnobSpec } {
    const cell = this.#cell(knob, scope)
    return { value: cell.controllerValue, effective: cell.value, covered: cell.layer !== 'controller' && cell.layer !== 'start', spec: cell.spec }
  }

  /** What the user set, or the default: the static value that loops started from. */
  startValue(knob: string, scope: Scope): number {
    const cell = this.#cell(knob, scope)
    return cell.layers.start ?? cell.spec.default
  }

  #cell(knob: string, scope: Scope): KnobCell {
    return (this.get(knob) as KnobEntry).cells.for(scope)
  }

  #write(cell: KnobCell, layer: 'pin' | 'experiment' | 'fallback' | 'controller', value: number | undefined): void {
    const from = cell.value
    cell.set(layer, value)
    if (cell.value !== from) for (const listener of this.#listeners) listener(cell, from)
  }
}
