/** `${NAME}` in a configuration's strings: secrets stay in the environment. */
import { issuePath } from '../core/validation.ts'
import { ConfigError } from './config-error.ts'

/** Throws a `ConfigError` that names the variable and the place when it is not set. `${NAME:-text}` has a default. */
export function expandEnvironment(value: unknown, env: Readonly<Record<string, string | undefined>>, file: string, path: readonly PropertyKey[] = []): unknown {
  if (typeof value === 'string') {
    return value.replace(/\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}/g, (_, variable: string, otherwise: string | undefined) => {
      const found = env[variable] || otherwise
      if (found === undefined) throw new ConfigError(`${file}: the environment variable ${variable} is not set at ${issuePath(path)}`)
      return found
    })
  }
  if (Array.isArray(value)) return value.map((item, i) => expandEnvironment(item, env, file, [...path, i]))
  // What a module made itself (class instances) passes as it is.
  if (typeof value !== 'object' || value === null || ![Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null)) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, expandEnvironment(item, env, file, [...path, key])]))
}
