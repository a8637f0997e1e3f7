/** Reads a configuration file: YAML, JSON, or a module. */
import { readFile } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { ZodType } from 'zod'
import { describeIssues } from '../core/validation.ts'
import { ConfigError } from './config-error.ts'
import { expandEnvironment } from './expand-environment.ts'
import { configSchema, type Config } from './schema.ts'

export interface LoadOptions {
  /** For `${NAME}` in strings and for `FLYBALL_HOST` and `FLYBALL_PORT`. Default: `process.env`. */
  env?: Readonly<Record<string, string | undefined>>
  /** Reads a module again under this tag, for reloads: modules are never forgotten, so each costs memory. */
  fresh?: string
}

/** Throws a `ConfigError`: "FILE: expected X, got Y at path". */
export async function loadConfig(file: string, options: LoadOptions = {}): Promise<Config> {
  return checkConfig(await readRaw(resolve(file), file, options.fresh), file, options.env ?? process.env)
}

export function checkConfig(raw: unknown, file: string, env: Readonly<Record<string, string | undefined>>): Config {
  const config = check(configSchema, expandEnvironment(raw, env, file), file)
  const host = env['FLYBALL_HOST']
  const port = env['FLYBALL_PORT']
  if (host) config.listen.host = host
  if (port) {
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) throw new ConfigError(`FLYBALL_PORT: expected a port, got ${JSON.stringify(port)}`)
    config.listen.port = Number(port)
  }
  return config
}

export function check<T>(schema: ZodType<T>, value: unknown, where: string): T {
  const parsed = schema.safeParse(value, { reportInput: true })
  if (!parsed.success) throw new ConfigError(`${where}: ${describeIssues(parsed.error)}`)
  return parsed.data
}

async function readRaw(path: string, file: string, fresh: string | undefined): Promise<unknown> {
  const kind = extname(path).toLowerCase()
  if (/^\.[cm]?[jt]s$/.test(kind)) return importConfig(path, file, fresh)
  if (!['.json', '.yaml', '.yml'].includes(kind)) throw new ConfigError(`${file}: expected a .yaml, .yml, .json, .ts or .js file`)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException
    throw new ConfigError(`${file}: ${code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code})`}`, thrown)
  }
  return kind === '.json' ? parseJson(text, file) : parseYaml(text, file)
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (thrown) {
    // The parser's own words may quote the text, which may hold secrets.
    const [, line, column] = /\(line (\d+) column (\d+)\)/.exec(String(thrown)) ?? []
    throw new ConfigError(`${file}: not valid JSON${line === undefined ? '' : ` at line ${line}, column ${column}`}`, thrown)
  }
}

async function parseYaml(text: string, file: string): Promise<unknown> {
  const { parse } = await import('yaml')
  try {
    return parse(text) as unknown
  } catch (thrown) {
    // The first line says what and where; those after it draw the source, which may hold secrets.
    throw new ConfigError(`${file}: ${firstLine(thrown).replace(/:$/, '')}`, thrown)
  }
}

async function importConfig(path: string, file: string, fresh: string | undefined): Promise<unknown> {
  let module: { default?: unknown }
  try {
    module = (await import(pathToFileURL(path).href + (fresh === undefined ? '' : `?fresh=${fresh}`))) as { default?: unknown }
  } catch (thrown) {
    throw new ConfigError(`${file}: ${firstLine(thrown)}`, thrown)
  }
  if (module.default === undefined) throw new ConfigError(`${file}: expected a default export`)
  return typeof module.default === 'function' ? await (module.default as () => unknown)() : module.default
}

export const firstLine = (thrown: unknown): string => String(thrown instanceof Error ? thrown.message : thrown).split('\n')[0] as string
