/** `flyball warm --config FILE`: for init containers. Exit code 0 once every backend would answer quickly. */
import type { Command } from 'commander'
import { cliLog } from '../cli-log.ts'
import { governorFor, readConfig } from '../configured.ts'

export function configure(command: Command): void {
  command.requiredOption('-c, --config <file>', 'YAML, JSON or TypeScript').action(warm)
}

async function warm({ config: file }: { config: string }): Promise<void> {
  const config = await readConfig(file)
  const governor = await governorFor({ ...config, loops: 'off' }, file, cliLog(config.log))
  try {
    await governor.start()
    const cold = governor.backendStates().filter(({ ready, health }) => !ready || health?.healthy === false)
    if (cold.length > 0) throw new Error(`did not warm up: ${cold.map(({ name, health }) => (health?.detail ? `${name} (${health.detail})` : name)).join(', ')}`)
    console.log(`warm: ${governor.backends().map(({ name }) => name).join(', ')}`)
  } finally {
    await governor.close()
  }
}
