/** The command line: finds the verb, runs it, says in one line what went wrong. */
import { readFile } from 'node:fs/promises'
import { Command, CommanderError } from 'commander'
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
    const message = thrown instanceof Error ? thrown.message : String(thrown)
    complain(`flyball: ${message.split('\n')[0]}\n`)
    if (process.env['FLYBALL_DEBUG']) console.error(thrown)
    return 1
  }
}

/** From the package itself, which is two or three folders up, built or not. */
async function version(): Promise<string> {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const found = JSON.parse(await readFile(new URL(up, import.meta.url), 'utf8')) as { name?: string; version?: string }
      if (found.name === 'flyball' && found.version) return found.version
    } catch {
      // Not here: look further up.
    }
  }
  return 'unknown'
}
