/**
 * `npm run bench -- observability [--json FILE] [--scrapes N] [--seconds S] [--rounds N]`: what it costs to be watched. A scrape at 1, 10 and 50
 * models (each a backend of its own, every plugin on): bytes, time, and how long the event loop stands still. And the console, watched by nobody, by 20 and by 100.
 */
import { cpus } from 'node:os'
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { consoleCost } from './console.ts'
import { scrapeCost, type ScrapeCost } from './scrape.ts'

export const doc = 'scrape time, bytes and event-loop stall at 1, 10 and 50 models; CPU of 20 viewers of the console'

const MODELS = [1, 10, 50] as const
const REQUESTS_PER_S = 500

const percent = (share: number): string => `${(share * 100).toFixed(2)}%`

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { json: { type: 'string' }, scrapes: { type: 'string', default: '40' }, seconds: { type: 'string', default: '2' }, rounds: { type: 'string', default: '12' } } })
  const scrapes = Number(values.scrapes)
  const seconds = Number(values.seconds)
  const rounds = Number(values.rounds)
  if (!(scrapes >= 1) || !(seconds > 0)) throw new Error('--scrapes and --seconds: expected positive numbers')
  if (!(rounds >= 2)) throw new Error('--rounds: expected at least 2, so that there is an error to tell')
  const table: ScrapeCost[] = []
  for (const models of MODELS) table.push(await scrapeCost(models, scrapes))
  const watched = await consoleCost(REQUESTS_PER_S, seconds, rounds)
  for (const row of table) process.stdout.write(`${String(row.models).padStart(3)} models  ${(row.bytes / 1_024).toFixed(0).padStart(5)} KiB  ${String(row.samples).padStart(6)} samples  scrape ${row.scrapeMs.toFixed(1)} ms  stall ${row.stallMs.toFixed(1)} ms CPU (${row.wallStallMs.toFixed(1)} ms wall)  CPU ${row.cpuMs.toFixed(1)} ms\n`)
  process.stdout.write(`gateway at ${watched.requestsPerS} requests/s: ${percent(watched.base)} of a core without a console\n`)
  for (const { viewers, share, standardError, events } of watched.arms) process.stdout.write(`  console, ${String(viewers).padStart(3)} viewers: ${percent(share)} ± ${percent(standardError)} more (${events} events sent)\n`)
  const ratios = { scrapeStallMs10: table.find(({ models }) => models === 10)?.stallMs, consoleCpu20: watched.arms.find(({ viewers }) => viewers === 20)?.share }
  const document = { machine: { cpu: cpus()[0]?.model ?? '', cores: cpus().length, node: process.version }, scrapes, table, console: watched, ratios }
  if (values.json) writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`)
}
