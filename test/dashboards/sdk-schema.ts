/**
 * A check of JSON against the types that Grafana's own SDK declares, read from its `types.gen.d.ts` files: interfaces,
 * enums, aliases, arrays, records, unions. What it does not know it says, rather than let it pass.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

type Type =
  | { readonly is: 'any' | 'string' | 'number' | 'boolean' | 'null' }
  | { readonly is: 'literal'; readonly value: unknown }
  | { readonly is: 'array'; readonly of: Type }
  | { readonly is: 'record'; readonly of: Type }
  | { readonly is: 'union'; readonly of: readonly Type[] }
  | { readonly is: 'object'; readonly fields: ReadonlyMap<string, { readonly type: Type; readonly optional: boolean }> }
  | { readonly is: 'name'; readonly module: string; readonly name: string }

const sdk = dirname(dirname(createRequire(import.meta.url).resolve('@grafana/grafana-foundation-sdk/cog')))

/** Declarations of one module, by name. */
class Module {
  readonly #tokens: string[]
  readonly #name: string
  readonly #imports: ReadonlySet<string>
  #at = 0
  readonly types = new Map<string, Type>()

  constructor(name: string) {
    this.#name = name
    const text = readFileSync(join(sdk, name, 'types.gen.d.ts'), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
    this.#imports = new Set([...text.matchAll(/^import \* as (\w+)/gm)].map(([, alias]) => alias as string))
    this.#tokens = text.match(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|-?\d+(?:\.\d+)?|[\w$]+|=>|[^\s\w]/g) ?? []
    while (this.#at < this.#tokens.length) this.#declaration()
  }

  #peek = (): string => this.#tokens[this.#at] ?? ''
  #next = (): string => this.#tokens[this.#at++] ?? ''
  #take(token: string): boolean {
    if (this.#peek() !== token) return false
    this.#at++
    return true
  }

  #declaration(): void {
    if (this.#next() !== 'export') return
    if (this.#take('interface')) {
      const name = this.#next()
      this.types.set(name, this.#object())
    } else if (this.#take('type')) {
      const name = this.#next()
      this.#take('=')
      this.types.set(name, this.#union())
    } else if (this.#take('declare') && this.#take('enum')) {
      const name = this.#next()
      this.#take('{')
      const values: Type[] = []
      while (!this.#take('}')) {
        const member = this.#next()
        this.#take('=')
        const value: Type = { is: 'literal', value: JSON.parse(this.#next()) as unknown }
        values.push(value)
        this.types.set(`${name}.${member}`, value)
        this.#take(',')
      }
      this.types.set(name, { is: 'union', of: values })
    }
  }

  #object(): Type {
    this.#take('{')
    const fields = new Map<string, { type: Type; optional: boolean }>()
    while (!this.#take('}')) {
      const key = this.#next().replace(/^["']|["']$/g, '')
      const optional = this.#take('?')
      if (this.#take('(')) {
        // A method of the SDK's own; not data.
        while (this.#next() !== ';');
        continue
      }
      this.#take(':')
      fields.set(key, { type: this.#union(), optional })
      this.#take(';')
    }
    return { is: 'object', fields }
  }

  #union(): Type {
    this.#take('|')
    const of = [this.#postfix()]
    while (this.#take('|')) of.push(this.#postfix())
    return of.length === 1 ? (of[0] as Type) : { is: 'union', of }
  }

  #postfix(): Type {
    let type = this.#primary()
    while (this.#take('[')) {
      this.#take(']')
      type = { is: 'array', of: type }
    }
    return type
  }

  #primary(): Type {
    if (this.#peek() === '{') return this.#object()
    if (this.#take('(')) {
      const inner = this.#union()
      this.#take(')')
      return inner
    }
    const token = this.#next()
    if (/^["']/.test(token)) return { is: 'literal', value: token.slice(1, -1) }
    if (/^-?\d/.test(token)) return { is: 'literal', value: Number(token) }
    if (token === 'true' || token === 'false') return { is: 'literal', value: token === 'true' }
    if (token === 'any' || token === 'unknown') return { is: 'any' }
    if (token === 'string' || token === 'number' || token === 'boolean' || token === 'null') return { is: token }
    if (token === 'Record') {
      this.#take('<')
      this.#union()
      this.#take(',')
      const of = this.#union()
      this.#take('>')
      return { is: 'record', of }
    }
    if (token === 'Array') {
      this.#take('<')
      const of = this.#union()
      this.#take('>')
      return { is: 'array', of }
    }
    const parts = [token]
    while (this.#take('.')) parts.push(this.#next())
    // cog's interfaces are empty on purpose: each data source has its own query.
    if (token === 'cog') return { is: 'any' }
    const foreign = parts.length > 1 && this.#imports.has(token)
    return { is: 'name', module: foreign ? token : this.#name, name: parts.slice(foreign ? 1 : 0).join('.') }
  }
}

const modules = new Map<string, Module>() // capped by the SDK's modules

function moduleOf(name: string): Module {
  let found = modules.get(name)
  if (!found) modules.set(name, (found = new Module(name)))
  return found
}

/** Where `value` does not fit the SDK's type `module.name`: one line each. */
export function misfits(value: unknown, module: string, name: string): string[] {
  return check(value, { is: 'name', module, name }, name)
}

function check(value: unknown, type: Type, path: string): string[] {
  switch (type.is) {
    case 'any':
      return []
    case 'null':
      return value === null ? [] : [`${path}: not null`]
    case 'string':
    case 'number':
    case 'boolean':
      return typeof value === type.is ? [] : [`${path}: expected a ${type.is}, got ${JSON.stringify(value)}`]
    case 'literal':
      return value === type.value ? [] : [`${path}: expected ${JSON.stringify(type.value)}, got ${JSON.stringify(value)}`]
    case 'array':
      return Array.isArray(value) ? value.flatMap((one, i) => check(one, type.of, `${path}[${i}]`)) : [`${path}: expected an array`]
    case 'record':
      return isObject(value) ? Object.entries(value).flatMap(([key, one]) => check(one, type.of, `${path}.${key}`)) : [`${path}: expected an object`]
    case 'union': {
      const each = type.of.map((one) => check(value, one, path))
      return each.some((found) => found.length === 0) ? [] : each.toSorted((a, b) => a.length - b.length)[0] ?? [`${path}: fits nothing`]
    }
    case 'name': {
      const declared = moduleOf(type.module).types.get(type.name)
      return declared ? check(value, declared, path) : [`${path}: the SDK has no ${type.module}.${type.name}`]
    }
    case 'object': {
      if (!isObject(value)) return [`${path}: expected an object, got ${JSON.stringify(value)}`]
      const unknown = Object.keys(value).filter((key) => !type.fields.has(key)).map((key) => `${path}.${key}: not in the schema`)
      const known = [...type.fields].flatMap(([key, field]) => (value[key] === undefined ? (field.optional ? [] : [`${path}.${key}: missing`]) : check(value[key], field.type, `${path}.${key}`)))
      return [...unknown, ...known]
    }
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)
