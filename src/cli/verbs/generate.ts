/** `flyball generate --model F --prompt T`: one completion, no server. */
import type { Command } from 'commander'
import { nativeTools } from '../../../plugins/builtin.ts'
import { someNumber, wholeNumber } from '../numbers.ts'

interface Flags {
  model: string
  prompt: string
  chat?: boolean
  maxTokens: number
  temperature: number
  topK?: number
  topP?: number
  seed?: number
  stop?: string[]
  json?: boolean
}

export function configure(command: Command): void {
  command
    .requiredOption('-m, --model <file>', 'a GGUF file')
    .requiredOption('-p, --prompt <text>', 'text to continue')
    .option('--chat', 'the prompt is a user’s message: use the model’s chat template')
    .option('-n, --max-tokens <number>', 'most tokens to generate', wholeNumber, 128)
    .option('-t, --temperature <number>', '0: always the likeliest token', someNumber, 0)
    .option('--top-k <number>', 'sample among this many', wholeNumber)
    .option('--top-p <number>', 'sample among the likeliest with this much probability', someNumber)
    .option('--seed <number>', 'for the same sample again', wholeNumber)
    .option('--stop <text...>', 'end before any of these')
    .option('--json', 'one JSON document: promptTokens, tokens, text, …')
    .action(generate)
}

async function generate(flags: Flags): Promise<void> {
  const { runGenerate } = await nativeTools()
  const sampling = {
    temperature: flags.temperature,
    ...(flags.topK === undefined ? {} : { topK: flags.topK }),
    ...(flags.topP === undefined ? {} : { topP: flags.topP }),
    ...(flags.seed === undefined ? {} : { seed: flags.seed }),
  }
  const result = await runGenerate({
    model: flags.model,
    prompt: flags.prompt,
    chat: flags.chat ?? false,
    maxTokens: flags.maxTokens,
    sampling,
    ...(flags.stop === undefined ? {} : { stop: flags.stop }),
    ...(flags.json ? {} : { onText: (text: string) => void process.stdout.write(text) }),
  })
  process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : '\n')
}
