/** `flyball build-native`: exit code 0 when built, 2 where there is no compiler (the TypeScript engine serves then). */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import type { Command } from 'commander'
import { NATIVE_BUILD_SCRIPT } from '../../../plugins/builtin.ts'
import { packageRoot } from '../package-root.ts'

export function configure(command: Command): void {
  command.option('--jobs <number>', 'compilers at once').action(buildNative)
}

async function buildNative({ jobs }: { jobs?: string }): Promise<void> {
  const args = [join(packageRoot(), NATIVE_BUILD_SCRIPT), ...(jobs === undefined ? [] : ['--jobs', jobs])]
  const child = spawn(process.execPath, args, { stdio: 'inherit' })
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
}
