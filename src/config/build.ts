/** From a checked configuration to what `createGovernor` takes. */
import { createRequire } from 'node:module'
import { isAbsolute, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { loadStates } from '../control/state-file.ts'
import type { Backend } from '../core/backend.ts'
import type { Plugin } from '../core/plugin.ts'
import type { SloClass } from '../core/slo.ts'
import type { GovernorOptions } from '../governor-contract.ts'
import { ConfigError } from './config-error.ts'
import { check, firstLine } from './load-config.ts'
import type { BackendFactory, Registry } from './registry.ts'
import type { Config } from './schema.ts'

export interface BuildContext {
  readonly registry: Registry
  /** The configuration's own path: module paths are relative to it. */
  readonly file: string
}

type AnyPluginFactory = (options?: unknown) => Plugin

interface CheckedBackend {
  readonly name: string
  readonly factory: BackendFactory
  readonly options: unknown
}

/** Backends are made one after another: each may load a model. Those made are closed when a later one fails. */
export async function buildGovernorOptions(config: Config, context: BuildContext): Promise<GovernorOptions> {
  const plugins: Plugin[] = []
  for (const [i, entry] of config.plugins.entries()) plugins.push(await buildPlugin(entry, `plugins[${i}]`, context))
  const checked = checkBackends(config, context)
  const backends: Backend[] = []
  try {
    for (const one of checked) backends.push(await buildBackend(one, context))
  } catch (thrown) {
    await Promise.allSettled(backends.map((backend) => backend.close()))
    throw thrown
  }
  return {
    backends,
    plugins,
    knobs: config.knobs,
    loops: config.loops,
    ...(config.classes ? { classes: config.classes as readonly SloClass[] } : {}),
    ...(config.defaultClass === undefined ? {} : { defaultClass: config.defaultClass }),
    ...(config.tenantKey === undefined ? {} : { tenantKey: config.tenantKey }),
    ...(config.switchback ? { switchback: config.switchback } : {}),
    ...(config.stateFile === undefined ? {} : await savedStates(resolve(context.file, '..', config.stateFile))),
  }
}

/** A file that does not fit is ignored: what it held is learned again. */
async function savedStates(stateFile: string): Promise<Pick<GovernorOptions, 'stateFile' | 'savedStates'>> {
  return { stateFile, savedStates: (await loadStates(stateFile)).states }
}

export function checkBackends(config: Config, { registry, file }: BuildContext): CheckedBackend[] {
  return Object.entries(config.backends).map(([name, { type, ...rest }]) => {
    const factory = Object.hasOwn(registry.backends, type) ? registry.backends[type] : undefined
    if (!factory) throw new ConfigError(`${file}: expected one of ${Object.keys(registry.backends).join(', ')}, got ${JSON.stringify(type)} at backends.${name}.type`)
    const options = check(factory.options, { name, ...rest }, `${file}: backends.${name}`) as Record<string, unknown>
    const files = (factory.paths ?? []).flatMap((option) => (typeof options[option] === 'string' ? [[option, resolve(file, '..', options[option])]] : []))
    return { name, factory, options: { ...options, ...Object.fromEntries(files) } }
  })
}

async function buildBackend({ name, factory, options }: CheckedBackend, { file }: BuildContext): Promise<Backend> {
  try {
    return await factory.create(options as never)
  } catch (thrown) {
    throw new ConfigError(`${file}: ${firstLine(thrown)} at backends.${name}`, thrown)
  }
}

async function buildPlugin(entry: string | Record<string, unknown>, where: string, context: BuildContext): Promise<Plugin> {
  const named: [string, unknown][] = typeof entry === 'string' ? [[entry, undefined]] : Object.entries(entry)
  const [first] = named
  if (!first || named.length > 1) throw new ConfigError(`${context.file}: expected one name, got ${named.length} at ${where}`)
  const [name, options] = first
  const { plugins } = context.registry
  const factory = Object.hasOwn(plugins, name) ? (plugins[name] as unknown as AnyPluginFactory) : await importPlugin(name, where, context)
  try {
    return factory(options ?? undefined)
  } catch (thrown) {
    throw new ConfigError(`${context.file}: ${firstLine(thrown)} at ${where}`, thrown)
  }
}

/** A module by path or package name: its default export, or the only factory that it exports. */
async function importPlugin(name: string, where: string, { file, registry }: BuildContext): Promise<AnyPluginFactory> {
  const isPath = /^\.{1,2}\//.test(name) || isAbsolute(name)
  let module: Record<string, unknown>
  try {
    const path = isPath ? resolve(file, '..', name) : createRequire(resolve(file)).resolve(name)
    module = (await import(pathToFileURL(path).href)) as Record<string, unknown>
  } catch (thrown) {
    const reason = isPath ? firstLine(thrown) : `expected one of ${Object.keys(registry.plugins).join(', ')}, a module path or a package, got ${JSON.stringify(name)}`
    throw new ConfigError(`${file}: ${reason} at ${where}`, thrown)
  }
  const candidates = module['default'] === undefined ? Object.values(module).filter(isFactory) : [module['default']]
  const [factory] = candidates
  if (candidates.length !== 1 || !isFactory(factory)) throw new ConfigError(`${file}: expected a default export made by definePlugin, got none from ${JSON.stringify(name)} at ${where}`)
  return factory
}

function isFactory(value: unknown): value is AnyPluginFactory {
  return typeof value === 'function' && 'definition' in value
}
