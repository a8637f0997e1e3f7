/** `flyball perplexity --model F --text FILE`: how well a model predicts a text. */
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { nativeTools } from '../../../plugins/builtin.ts'
import { wholeNumber } from '../numbers.ts'
import { standardInput } from '../standard-input.ts'

interface Flags {
  model: string
  text?: string
  window?: number
  sinks?: number
  json?: boolean
}

export function configure(command: Command): void {
  command
    .requiredOption('-m, --model <file>', 'a GGUF file')
    .option('--text <file>', 'default: standard input')
    .option('--window <number>', 'attend to this many latest positions only', wholeNumber)
    .option('--sinks <number>', 'and to this many first ones', wholeNumber)
    .option('--json', 'one JSON document')
    .action(perplexity)
}

async function perplexity({ model, text: file, window, sinks, json }: Flags): Promise<void> {
  const { measurePerplexity } = await nativeTools()
  const text = file === undefined ? await standardInput() : await readFile(file)
  const result = await measurePerplexity({ model, text, ...(window === undefined ? {} : { window }), ...(sinks === undefined ? {} : { sinks }) })
  console.log(json ? JSON.stringify(result) : `perplexity ${result.perplexity.toFixed(4)} over ${result.tokens} tokens`)
}
