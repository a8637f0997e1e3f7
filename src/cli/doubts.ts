/** What a configuration or its environment says that changes nothing, so it cannot have been meant: typos, mostly. */
import { builtin } from '../../plugins/builtin.ts'
import type { Governor } from '../governor-contract.ts'
import { knobEnvName } from '../knobs/knob-spec.ts'

type Parts = Pick<Governor, 'knobs' | 'signals' | 'backends' | 'route'>

/** One line each. `knobs`: the start values of the configuration. */
export function doubts(governor: Parts, knobs: Readonly<Record<string, number>>, env: Readonly<Record<string, string | undefined>> = process.env): string[] {
  return [...strayVariables(governor, env), ...unknownBackends(governor, Object.keys(knobs)), ...unreached(governor)]
}

/** Those that begin as the knobs of something configured do. */
function strayVariables({ knobs }: Parts, env: Readonly<Record<string, string | undefined>>): string[] {
  const names = [...knobs.all()].map(({ spec }) => spec.name)
  const known = new Set([...names.map(knobEnvName), ...(builtin.variables ?? [])])
  const beginnings = [...new Set(names.map((name) => `${knobEnvName(name.split('.', 1)[0] as string)}_`))]
  return Object.keys(env)
    .filter((variable) => !known.has(variable) && beginnings.some((beginning) => variable.startsWith(beginning)))
    .map((variable) => `${variable}: there is no such knob`)
}

/** Start values, and signals of plugins that watch a backend by its name. */
function unknownBackends({ knobs, signals, backends }: Parts, startValues: readonly string[]): string[] {
  const known = new Set(backends().map(({ name }) => name))
  const scopes = [
    ...startValues.map((name) => [`knobs.${name}`, /\{(.*)\}$/.exec(name)?.[1] ?? ''] as const),
    ...[...knobs.all()].flatMap((declared) => [...declared.instances()].map(({ key }) => [declared.spec.name, key] as const)),
    ...[...signals.all()].flatMap((declared) => [...declared.instances()].map(({ key }) => [declared.spec.name, key] as const)),
  ]
  const found = new Map<string, string>()
  for (const [where, key] of scopes) {
    const backend = /(?:^|,)backend=([^,]*)/.exec(key)?.[1]
    if (backend !== undefined && !known.has(backend) && !found.has(backend)) found.set(backend, where)
  }
  return [...found].map(([backend, where]) => `${where}: there is no backend ${backend}`)
}

/** The first backend that has a model gets its calls; only a plugin would send any to a second. */
function unreached({ backends, route }: Parts): string[] {
  const all = backends()
  const first = all.find(({ models }) => models === '*')
  return all.flatMap((backend) => {
    if (backend.models === '*') return backend === first ? [] : [`backends.${backend.name}: gets no calls: backends.${first?.name} serves any model and is listed before it`]
    return backend.models.flatMap((model) => (route(model) === backend ? [] : [`backends.${backend.name}: gets no calls for ${model}: backends.${route(model).name} serves it and is listed before it`]))
  })
}
