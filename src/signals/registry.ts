/** All signals of a governor. */
import type { Clock } from '../core/clock.ts'
import { Scoped, type Scope } from '../core/scope.ts'
import type { SignalSpec } from './signal-spec.ts'
import { SignalWindow } from './signal-window.ts'

export interface Signal {
  readonly spec: SignalSpec
  /** The instance for a scope, made on first use. Feed it with `push`, read it with `read`. */
  for(scope: Scope): SignalWindow
  instances(): Iterable<SignalWindow>
}

export class SignalRegistry {
  readonly #clock: Clock
  readonly #signals = new Map<string, Signal>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  declare(spec: SignalSpec): Signal {
    if (this.#signals.has(spec.name)) throw new TypeError(`signal ${spec.name} is declared twice`)
    const now = (): number => this.#clock.monoMs()
    const windows = new Scoped(spec.scope, spec.maxInstances, (scope, key) => new SignalWindow(spec, scope, key, now))
    const declared: Signal = { spec, for: (scope) => windows.for(scope), instances: () => windows.values() }
    this.#signals.set(spec.name, declared)
    return declared
  }

  get(name: string): Signal {
    const found = this.#signals.get(name)
    if (!found) throw new TypeError(`there is no signal ${name}`)
    return found
  }

  has(name: string): boolean {
    return this.#signals.has(name)
  }

  all(): Iterable<Signal> {
    return this.#signals.values()
  }
}
