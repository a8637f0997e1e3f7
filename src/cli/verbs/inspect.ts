/** `flyball inspect FILE`: what is in a GGUF file; exit code 1 and one line for a bad one. */
import type { Command } from 'commander'
import { nativeTools } from '../../../plugins/builtin.ts'

export function configure(command: Command): void {
  command.argument('<file>', 'a GGUF file').action(inspect)
}

async function inspect(file: string): Promise<void> {
  const { runInspect } = await nativeTools()
  console.log(JSON.stringify(runInspect(file), null, 2))
}
