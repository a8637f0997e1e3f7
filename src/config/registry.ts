/** The names that a configuration may use. Who brings them is the caller's choice: nothing here knows a plugin. */
import type { ZodType } from 'zod'
import type { Backend } from '../core/backend.ts'
import type { PluginFactory } from '../core/plugin.ts'

/** A kind of backend as configurations name it by `type`. */
export interface BackendFactory<O = never> {
  readonly doc: string
  /** Its options, `name` included; unknown keys are refused by it. */
  readonly options: ZodType
  /** Options that name files: in a configuration they are relative to it. */
  readonly paths?: readonly string[]
  /** The option that says where it is, if it is somewhere else. */
  readonly address?: string
  create(options: O): Backend | Promise<Backend>
}

export interface Registry {
  readonly backends: Readonly<Record<string, BackendFactory>>
  readonly plugins: Readonly<Record<string, PluginFactory<never>>>
  /** Options that make a plugin ask others, by its name: who only rehearses leaves them out. */
  readonly asks?: Readonly<Record<string, readonly string[]>>
  /** Environment variables that these read, beside those of their knobs. */
  readonly variables?: readonly string[]
}
