/** `flyball check-config FILE`: everything that `serve` would refuse, said before it serves. */
import type { Command } from 'commander'
import { cliLog } from '../cli-log.ts'
import { governorFor, readConfig } from '../configured.ts'
import { doubts } from '../doubts.ts'

export function configure(command: Command): void {
  command.argument('<file>', 'YAML, JSON or TypeScript').action(checkConfig)
}

/** Backends are made (a model file is read), but nothing is served and no upstream is asked. */
async function checkConfig(file: string): Promise<void> {
  // Without loops nothing is kept: what a running server has learned stays in its file.
  const config = await readConfig(file)
  const governor = await governorFor({ ...config, loops: 'off' }, file, cliLog('silent'))
  const backends = governor.backends().length
  const knobs = [...governor.knobs.all()].length
  for (const line of doubts(governor, config.knobs)) console.error(`flyball: ${line}`)
  await governor.close()
  console.log(`${file}: good (backends: ${backends}, knobs: ${knobs})`)
}
