/**
 * `npm run bench -- overhead [--json FILE] [--rounds N] [--seconds S]`: what a request costs on its way through. All
 * candidates face the same upstream in one run, in turns; compare ratios, never the absolute times of a busy machine.
 */
import { cpus } from 'node:os'
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { runLoad, quantile, type LoadShape } from './load.ts'
import { startPortkey } from './portkey.ts'
import { startChild, type Child } from './process.ts'
import { scaling } from './scaling.ts'
import { tracing, type Estimate } from './tracing.ts'

export const doc = 'CPU, latency and memory of a request through the gateway, beside direct, a bare proxy and Portkey'

const SHAPES: readonly LoadShape[] = [
  { name: 'unary', stream: false, promptBytes: 200 },
  { name: 'unary-32k', stream: false, promptBytes: 32_768 },
  { name: 'stream', stream: true, promptBytes: 200 },
  { name: 'stream-32k', stream: true, promptBytes: 32_768 },
]
/** For each candidate and shape, whichever comes first. */
const WARM_UP_REQUESTS = 4_000
const WARM_UP_MS = 8_000
/** For each round of the others, and mode and shape. */
const TRACING_SLICES = 3
const TRACING_SLICE_S = 0.3
const HIT: LoadShape = { name: 'hit', stream: false, promptBytes: 200, repeat: true }

export interface Row {
  candidate: string
  shape: string
  cpuUsPerRequest: number
  requestsPerS: number
  p50Ms: number
  p99Ms: number
  ttftP50Ms: number
  lagP99Ms: number
  rssMiB: number
  errors: number
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { json: { type: 'string' }, rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '2' } } })
  const rounds = Number(values.rounds)
  const seconds = Number(values.seconds)
  if (!(rounds >= 1 && seconds > 0)) throw new Error('--rounds and --seconds: expected positive numbers')
  const say = (line: string): void => void process.stderr.write(`${line}\n`)

  const upstream = await startChild('upstream', [])
  const candidates = new Map<string, Child>()
  const rows: Row[] = []
  let traced: Awaited<ReturnType<typeof tracing>>
  try {
    candidates.set('bare', await startChild('candidates/bare', [upstream.url]))
    candidates.set('flyball', await startChild('candidates/flyball', [upstream.url]))
    const portkey = await startPortkey(say)
    if (portkey) candidates.set('portkey', portkey)
    say('warming up …')
    for (const [name, child] of candidates) for (const shape of SHAPES) await warmUp(name, child, shape, upstream.url)
    for (let round = 0; round < rounds; round++) {
      say(`round ${round + 1} of ${rounds}`)
      for (const shape of SHAPES) {
        rows.push(await measureDirect(upstream.url, shape, seconds))
        for (const [name, child] of candidates) rows.push(await measure(name, child, shape, seconds, upstream.url))
      }
      rows.push(await measure('flyball', candidates.get('flyball') as Child, HIT, seconds, upstream.url))
    }
    for (const child of candidates.values()) child.stop()
    say('tracing …')
    traced = await tracing(upstream.url, SHAPES, rounds * TRACING_SLICES, TRACING_SLICE_S)
  } finally {
    for (const child of candidates.values()) child.stop()
    upstream.stop()
  }
  say('queue and cache at size …')
  const sizes = await scaling()
  const table = medians(rows)
  const failed = table.filter((row) => row.errors > 0)
  for (const row of failed) say(`${row.candidate} ${row.shape}: ${row.errors} answers were not 200; its figures are not comparable`)
  const ratios = { ...ratiosOf(rows, rounds), tracingCost: traced.tracingCost.median, tracingCost10: traced.tracingCost10.median, queue100k: sizes.queue100k, cache1M: sizes.cache1M }
  process.stdout.write(`${render(table)}\n\n${Object.entries(ratios).map(([name, value]) => `${name.padEnd(18)} ${value === undefined ? 'not measured' : value.toFixed(2)}`).join('\n')}\n\n${renderTracing(traced)}\n`)
  const document = { machine: { cpu: cpus()[0]?.model ?? '', cores: cpus().length, node: process.version }, rounds, seconds, table, tracing: traced, sizes, ratios }
  // A refusal is cheap: figures with some of them would flatter.
  if (failed.some(({ candidate }) => candidate !== 'portkey')) process.exitCode = 1
  if (values.json) writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`)
}

/** By requests, not by time: a compiler that has seen little is what a busy machine would measure otherwise. */
async function warmUp(name: string, child: Child, shape: LoadShape, upstream: string): Promise<void> {
  const until = performance.now() + WARM_UP_MS
  for (let requests = 0; requests < WARM_UP_REQUESTS && performance.now() < until; ) {
    const row = await measure(name, child, shape, 0.5, upstream)
    requests += row.requestsPerS * 0.5
  }
}

async function measure(candidate: string, child: Child, shape: LoadShape, seconds: number, upstream: string): Promise<Row> {
  await child.account()
  const result = await runLoad(candidate === 'portkey' ? `${child.url}` : child.url, shape, seconds, undefined, candidate === 'portkey' ? { 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `${upstream}/v1`, authorization: 'Bearer none' } : {})
  const account = await child.account()
  return {
    candidate,
    shape: shape.name,
    cpuUsPerRequest: account.cpuUs / Math.max(1, result.requests),
    requestsPerS: result.requests / result.seconds,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
    ttftP50Ms: result.ttftP50Ms,
    lagP99Ms: account.lagP99Ms,
    rssMiB: account.rssBytes / 2 ** 20,
    errors: result.errors,
  }
}

async function measureDirect(url: string, shape: LoadShape, seconds: number): Promise<Row> {
  const result = await runLoad(url, shape, seconds)
  return { candidate: 'direct', shape: shape.name, cpuUsPerRequest: 0, requestsPerS: result.requests / result.seconds, p50Ms: result.p50Ms, p99Ms: result.p99Ms, ttftP50Ms: result.ttftP50Ms, lagP99Ms: Number.NaN, rssMiB: Number.NaN, errors: result.errors }
}

function medians(rows: readonly Row[]): Row[] {
  const groups = new Map<string, Row[]>()
  for (const row of rows) {
    const key = `${row.shape} ${row.candidate}`
    groups.set(key, [...(groups.get(key) ?? []), row])
  }
  return [...groups.values()].map((group) => {
    const first = group[0] as Row
    const median = (pick: (row: Row) => number): number => quantile(group.map(pick), 0.5)
    return { candidate: first.candidate, shape: first.shape, cpuUsPerRequest: median((r) => r.cpuUsPerRequest), requestsPerS: median((r) => r.requestsPerS), p50Ms: median((r) => r.p50Ms), p99Ms: median((r) => r.p99Ms), ttftP50Ms: median((r) => r.ttftP50Ms), lagP99Ms: median((r) => r.lagP99Ms), rssMiB: median((r) => r.rssMiB), errors: group.reduce((sum, r) => sum + r.errors, 0) }
  })
}

/** Round by round, then the median: what drifts with the machine drifts in both. */
function ratiosOf(rows: readonly Row[], rounds: number): Record<string, number | undefined> {
  const ratio = (a: [string, string], b: [string, string], value: (row: Row) => number): number | undefined => {
    const of = ([candidate, shape]: [string, string]): Row[] => rows.filter((row) => row.candidate === candidate && row.shape === shape)
    const [top, bottom] = [of(a), of(b)]
    if (top.length < rounds || bottom.length < rounds) return undefined
    return quantile(top.map((row, i) => value(row) / value(bottom[i] as Row)), 0.5)
  }
  const overShapes = (a: string, b: string, value: (row: Row) => number): number | undefined => {
    // A shape in which either side fails is left out, and the table says so.
    const good = SHAPES.filter(({ name }) => !rows.some((row) => row.errors > 0 && row.shape === name && (row.candidate === a || row.candidate === b)))
    if (good.length === 0) return undefined
    const each = good.map((shape) => ratio([a, shape.name], [b, shape.name], value))
    return each.some((one) => one === undefined) ? undefined : Math.exp(each.reduce<number>((sum, one) => sum + Math.log(one as number), 0) / each.length)
  }
  const cpu = (row: Row): number => row.cpuUsPerRequest
  return {
    cpuVsBare: overShapes('flyball', 'bare', cpu),
    cpuPortkeyVsUs: overShapes('portkey', 'flyball', cpu),
    hitVsBare: ratio(['flyball', 'hit'], ['bare', 'unary'], cpu),
  }
}

function renderTracing({ tracingCost, tracingCost10, cpuUsPerRequest }: Awaited<ReturnType<typeof tracing>>): string {
  const percent = (share: number): string => `${(share * 100).toFixed(1)}%`
  const said = (name: string, { median, low, high, slices }: Estimate): string => `${name}: ${percent(median)} of throughput (95%: ${percent(low)} to ${percent(high)}, ${slices} slices)`
  return [said('every trace', tracingCost), said('every tenth trace', tracingCost10), ...cpuUsPerRequest.map(({ shape, mode, cpuUs }) => `${shape.padEnd(12)} ${mode.padEnd(10)} ${cpuUs.toFixed(0)} µs`)].join('\n')
}

function render(table: readonly Row[]): string {
  const head = ['shape', 'candidate', 'CPU µs/request', 'requests/s', 'p50 ms', 'p99 ms', 'first byte p50 ms', 'loop lag p99 ms', 'RSS MiB', 'errors']
  const lines = table.map((row) => [row.shape, row.candidate, row.cpuUsPerRequest.toFixed(0), row.requestsPerS.toFixed(0), row.p50Ms.toFixed(1), row.p99Ms.toFixed(1), row.ttftP50Ms.toFixed(1), row.lagP99Ms.toFixed(1), row.rssMiB.toFixed(0), String(row.errors)])
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
