/** `flyball tokenize --model F TEXT`: the tokens of a text, as JSON. */
import type { Command } from 'commander'
import { nativeTools } from '../../../plugins/builtin.ts'
import { standardInput } from '../standard-input.ts'

export function configure(command: Command): void {
  command
    .requiredOption('-m, --model <file>', 'a GGUF file')
    .argument('[text]', 'default: standard input')
    .option('--no-special', 'no BOS or EOS, and control tokens are plain text')
    .action(tokenize)
}

async function tokenize(text: string | undefined, flags: { model: string; special: boolean }): Promise<void> {
  const { runTokenize } = await nativeTools()
  console.log(JSON.stringify(runTokenize({ model: flags.model, text: text ?? (await standardInput()), special: flags.special })))
}
