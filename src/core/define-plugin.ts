/** Turns a plugin's definition into the factory that users call. */
import type { ZodType, input } from 'zod'
import { describeIssues } from './validation.ts'
import type { Declares, Host, Plugin, PluginDefinition, PluginFactory } from './plugin.ts'

/** Options are checked when the factory is called: a mistake is found where it was made. Throws a TypeError. */
export function definePlugin<Z extends ZodType, const D extends Declares>(
  definition: Omit<PluginDefinition<Z['_zod']['output'], D>, 'options'> & { readonly options: Z },
): PluginFactory<input<Z>> {
  const factory = (options?: input<Z>): Plugin => {
    const parsed = definition.options.safeParse(options ?? {}, { reportInput: true })
    if (!parsed.success) throw new TypeError(`plugin ${definition.name}: ${describeIssues(parsed.error)}`)
    return {
      name: definition.name,
      phase: definition.phase,
      declares: definition.declares ?? {},
      create: (host) => definition.create(host as unknown as Host<D>, parsed.data as Z['_zod']['output']),
    }
  }
  return Object.assign(factory, { definition: definition as unknown as PluginDefinition<unknown, Declares> })
}
