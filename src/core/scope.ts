/** What a knob, signal or controller instance is about. */
export type ScopeKey = 'backend' | 'model' | 'class'
export type Scope = { readonly [K in ScopeKey]?: string }

/** Instances past a declaration's cap share this one. */
export const OVERFLOW = '_other'

/** A stable key of the parts of `scope` that `keys` names: `backend=native,class=faq`. Missing parts are left out. */
export function scopeKey(scope: Scope, keys: readonly ScopeKey[]): string {
  let key = ''
  for (const name of keys) {
    const value = scope[name]
    if (value !== undefined) key += `${key === '' ? '' : ','}${name}=${value}`
  }
  return key
}

/** `scope` reduced to what `keys` names. */
export function narrowScope(scope: Scope, keys: readonly ScopeKey[]): Scope {
  const narrow: { [K in ScopeKey]?: string } = {}
  for (const name of keys) {
    const value = scope[name]
    if (value !== undefined) narrow[name] = value
  }
  return narrow
}

export function overflowScope(keys: readonly ScopeKey[]): Scope {
  return Object.fromEntries(keys.map((key) => [key, OVERFLOW]))
}

/** One instance per scope, made on first use, at most `max` of them; later scopes share the overflow instance. */
export class Scoped<T> {
  readonly #keys: readonly ScopeKey[]
  readonly #max: number
  readonly #make: (scope: Scope, key: string) => T
  readonly #instances = new Map<string, T>()

  constructor(keys: readonly ScopeKey[], max: number, make: (scope: Scope, key: string) => T) {
    this.#keys = keys
    this.#max = max
    this.#make = make
  }

  for(scope: Scope): T {
    let key = scopeKey(scope, this.#keys)
    let found = this.#instances.get(key)
    if (found !== undefined) return found
    let narrow = narrowScope(scope, this.#keys)
    if (this.#instances.size >= this.#max) {
      narrow = overflowScope(this.#keys)
      key = scopeKey(narrow, this.#keys)
      found = this.#instances.get(key)
      if (found !== undefined) return found
    }
    const made = this.#make(narrow, key)
    this.#instances.set(key, made)
    return made
  }

  get(key: string): T | undefined {
    return this.#instances.get(key)
  }

  entries(): IterableIterator<[string, T]> {
    return this.#instances.entries()
  }

  values(): IterableIterator<T> {
    return this.#instances.values()
  }

  get size(): number {
    return this.#instances.size
  }
}
