/** `flyball fit FILE`: parameters of a plant that behaves like the backend whose spans these are. */
import { writeFile } from 'node:fs/promises'
import { Option, type Command } from 'commander'
import type { Fitted } from '../../sim/fit.ts'
import { fitBatchServer } from '../../sim/fit-batch-server.ts'
import { fitHostedApi } from '../../sim/fit-hosted-api.ts'
import { fitLlmServer } from '../../sim/fit-llm-server.ts'
import { observedIn, type Observed } from '../../sim/fit-spans.ts'
import { someNumber, wholeNumber } from '../numbers.ts'

interface Options {
  kind: 'batch-server' | 'llm-server' | 'hosted-api'
  backend?: string
  json?: string
  slots?: number
  maxBatch?: number
  requestsPerMinute?: number
  inputTokensPerMinute?: number
  outputTokensPerMinute?: number
}

export function configure(command: Command): void {
  command
    .argument('<file>', 'our spans as JSONL (a collector’s file exporter); gzip too')
    .addOption(new Option('--kind <plant>', 'what kind of backend it was').choices(['batch-server', 'llm-server', 'hosted-api']).makeOptionMandatory())
    .option('--backend <name>', 'only spans of this backend')
    .option('--json <file>', 'write the parameters, for `flyball simulate --plant`')
    .option('--slots <n>', 'runs at once, or sequences at once', wholeNumber)
    .option('--max-batch <n>', 'largest batch', wholeNumber)
    .option('--requests-per-minute <n>', 'hosted-api: quota', someNumber)
    .option('--input-tokens-per-minute <n>', 'hosted-api: quota', someNumber)
    .option('--output-tokens-per-minute <n>', 'hosted-api: quota', someNumber)
    .action(fit)
}

async function fit(file: string, options: Options): Promise<void> {
  const { plant, quality } = fitted(await observedIn(file, options.backend), options)
  const text = `${JSON.stringify(plant, null, 1)}\n`
  if (options.json === undefined) console.log(text.trimEnd())
  else await writeFile(options.json, text)
  console.error(`flyball: fitted to ${quality.points} points, median error ${(quality.medianError * 100).toFixed(1)}%`)
}

function fitted(observed: Observed, options: Options): Fitted {
  switch (options.kind) {
    case 'batch-server':
      return fitBatchServer(observed.batches, { ...(options.slots === undefined ? {} : { slots: options.slots }), ...(options.maxBatch === undefined ? {} : { maxBatch: options.maxBatch }) })
    case 'llm-server':
      return fitLlmServer(observed.calls, options.slots === undefined ? {} : { maxSequences: options.slots })
    case 'hosted-api': {
      const { requestsPerMinute, inputTokensPerMinute, outputTokensPerMinute } = options
      if (requestsPerMinute === undefined || inputTokensPerMinute === undefined || outputTokensPerMinute === undefined) throw new TypeError('hosted-api: expected --requests-per-minute, --input-tokens-per-minute and --output-tokens-per-minute: quotas do not show in latencies')
      return fitHostedApi(observed.calls, { requestsPerMinute, inputTokensPerMinute, outputTokensPerMinute })
    }
  }
}
