/**
 * `npm run bench -- observability [--json FILE] [--scrapes N]`: what it costs to be watched. A scrape at 1, 10 and 50
 * models (each a backend of its own, every plugin on): bytes, time, and how long the event loop stands still.
 */
import { cpus } from 'node:os'
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { consoleCost } from './console.ts'
import { scrapeCost, type ScrapeCost } from './scrape.ts'

export const doc = 'scrape time, bytes and event-loop stall at 1, 10 and 50 models; CPU of 20 viewers of the console'

const MODELS = [1, 10, 50] as const

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { json: { type: 'string' }, scrapes: { type: 'string', default: '40' }, seconds: { type: 'string', default: '6' } } })
  const scrapes = Number(values.scrapes)
  const seconds = Number(values.seconds)
  if (!(scrapes >= 1) || !(seconds > 0)) throw new Error('--scrapes and --seconds: expected positive numbers')
  const table: ScrapeCost[] = []
  for (const models of MODELS) table.push(await scrapeCost(models, scrapes))
  const viewers = await consoleCost(20, 500, seconds)
  for (const row of table) process.stdout.write(`${String(row.models).padStart(3)} models  ${(row.bytes / 1_024).toFixed(0).padStart(5)} KiB  ${String(row.samples).padStart(6)} samples  scrape ${row.scrapeMs.toFixed(1)} ms  stall ${row.stallMs.toFixed(1)} ms CPU (${row.wallStallMs.toFixed(1)} ms wall)  CPU ${row.cpuMs.toFixed(1)} ms\n`)
  process.stdout.write(viewers === undefined ? 'console: there is none yet, not measured\n' : `console: 20 viewers cost ${(viewers.share * 100).toFixed(2)}% of a core at ${viewers.requestsPerS.toFixed(0)} requests/s (${viewers.events} events sent)\n`)
  const ratios = { scrapeStallMs10: table.find(({ models }) => models === 10)?.stallMs, consoleCpu20: viewers?.share }
  const document = { machine: { cpu: cpus()[0]?.model ?? '', cores: cpus().length, node: process.version }, scrapes, table, ...(viewers ? { console: viewers } : {}), ratios }
  if (values.json) writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`)
}
