/** `flyball quantize IN OUT --type q8_0|q4_0`: a smaller model, and what it cost. */
import { readFile } from 'node:fs/promises'
import { Option, type Command } from 'commander'
import { nativeTools } from '../../../plugins/builtin.ts'

interface Flags {
  type: 'q8_0' | 'q4_0'
  calibrate?: string
  evaluate?: string
  json?: boolean
}

export function configure(command: Command): void {
  command
    .argument('<in>', 'a GGUF file with F32, F16 or BF16 weights')
    .argument('<out>', 'the file to write')
    .addOption(new Option('--type <type>', 'bits a weight').choices(['q8_0', 'q4_0']).makeOptionMandatory())
    .option('--calibrate <file>', 'text to run the model on first, so that scales suit what it meets')
    .option('--evaluate <file>', 'text for perplexity and accuracy before and after; default: the calibration text')
    .option('--json', 'one JSON document')
    .action(quantize)
}

async function quantize(input: string, output: string, { type, calibrate, evaluate, json }: Flags): Promise<void> {
  const { runQuantize } = await nativeTools()
  const report = await runQuantize({
    input, output, type,
    ...(calibrate === undefined ? {} : { calibrate: await readFile(calibrate, 'utf8') }),
    ...(evaluate === undefined ? {} : { evaluate: await readFile(evaluate, 'utf8') }),
  })
  if (json) return console.log(JSON.stringify(report))
  const share = (part: number, of: number): string => `${((part / of) * 100).toFixed(1)}%`
  console.log(`${report.bytes.before} to ${report.bytes.after} bytes (${share(report.bytes.after, report.bytes.before)}); ${Object.entries(report.tensors).map(([name, count]) => `${count} ${name}`).join(', ')}`)
  console.log(`error ${share(report.relativeError, 1)} of the weights' size; ${report.saturated} of ${report.quantised} weights cut to the largest code`)
  if (report.before !== undefined && report.after !== undefined) {
    console.log(`perplexity ${report.before.perplexity.toFixed(4)} to ${report.after.perplexity.toFixed(4)}, accuracy ${share(report.before.accuracy, 1)} to ${share(report.after.accuracy, 1)} over ${report.after.tokens} tokens`)
  }
}
