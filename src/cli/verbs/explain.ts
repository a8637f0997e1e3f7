/** `flyball explain FILE`: the story of a time range, from a decision log. */
import type { Command } from 'commander'
import { readDecisions } from '../../control/decision-file.ts'
import { explain } from '../../control/explain.ts'

interface Options {
  from?: string
  to?: string
  controller?: string
}

export function configure(command: Command): void {
  command
    .argument('<file>', 'decisions as JSONL: from `serve`, or `simulate --decisions`')
    .option('--from <time>', 'ISO time; or seconds after the first decision, such as +30')
    .option('--to <time>', 'as --from')
    .option('--controller <name>', 'only this one')
    .action(tell)
}

async function tell(file: string, options: Options): Promise<void> {
  const records = await readDecisions(file)
  const startMs = records[0]?.wallMs ?? 0
  const fromMs = moment('--from', options.from, startMs)
  const toMs = moment('--to', options.to, startMs)
  console.log(explain(records, { ...(fromMs === undefined ? {} : { fromMs }), ...(toMs === undefined ? {} : { toMs }), ...(options.controller === undefined ? {} : { controller: options.controller }) }))
}

function moment(option: string, text: string | undefined, startMs: number): number | undefined {
  if (text === undefined) return undefined
  const ms = /^\+[\d.]+$/.test(text) ? startMs + Number(text.slice(1)) * 1_000 : Date.parse(text)
  if (Number.isNaN(ms)) throw new TypeError(`${option}: expected an ISO time, or +seconds, got ${JSON.stringify(text)}`)
  return ms
}
