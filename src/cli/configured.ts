/** A governor from a configuration file, with our own plugins known by name. The CLI's one door to them. */
import { builtin } from '../../plugins/builtin.ts'
import { buildGovernorOptions } from '../config/build.ts'
import { ConfigError } from '../config/config-error.ts'
import { firstLine, loadConfig } from '../config/load-config.ts'
import type { Config } from '../config/schema.ts'
import type { Logger } from '../core/plugin.ts'
import { createGovernor, type Governor } from '../flyball.ts'
import type { GovernorOptions } from '../governor-contract.ts'

export const readConfig = (file: string, fresh?: string): Promise<Config> => loadConfig(file, fresh === undefined ? {} : { fresh })

/** Throws a `ConfigError`, one clear line. Backends that were made are closed again. */
export async function governorFor(config: Config, file: string, log: Logger, more: Pick<GovernorOptions, 'savedStates'> = {}): Promise<Governor> {
  const options = await buildGovernorOptions(config, { registry: builtin, file })
  try {
    return createGovernor({ ...options, ...more, log })
  } catch (thrown) {
    await Promise.allSettled((options.backends ?? []).map((backend) => backend.close()))
    throw new ConfigError(`${file}: ${firstLine(thrown)}`, thrown)
  }
}
