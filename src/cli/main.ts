/** The command line: finds the verb, runs it, says in one line what went wrong. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command, CommanderError } from 'commander'
import { firstLine } from '../config/load-config.ts'
import { packageRoot } from './package-root.ts'
import { VERBS } from './verbs.ts'

/** Resolves with the exit code. `complain` takes what is wrong, in whole lines. */
export async function main(args: readonly string[], complain: (text: string) => void = (text) => void process.stderr.write(text)): Promise<number> {
  const program = new Command('flyball').description('A governor for inference servers.').version(await version()).exitOverride().configureOutput({ writeErr: (text) => complain(text.replace(/^error: /, 'flyball: ')) })
  const wanted = args.find((arg) => !arg.startsWith('-') && arg !== 'help')
  try {
    for (const verb of VERBS) {
      const command = program.command(verb.name).description(verb.summary).exitOverride()
      if (verb.name === wanted) (await verb.load()).configure(command)
    }
    if (args.length === 0) {
      program.outputHelp()
      return 0
    }
    await program.parseAsync(args as string[], { from: 'user' })
    return Number(process.exitCode ?? 0)
  } catch (thrown) {
    // Commander has said it already.
    if (thrown instanceof CommanderError) return thrown.exitCode
    const { code, path } = thrown as NodeJS.ErrnoException
    complain(`flyball: ${code === 'ENOENT' && path !== undefined ? `${path}: there is no such file` : firstLine(thrown)}\n`)
    if (process.env['FLYBALL_DEBUG']) console.error(thrown)
    return 1
  }
}

async function version(): Promise<string> {
  const found = JSON.parse(await readFile(join(packageRoot(), 'package.json'), 'utf8')) as { version: string }
  return found.version
}
