/** `flyball simulate`: what would last Tuesday have been like with these settings? The real governor, in virtual time. */
import { readFile, writeFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import { Option, type Command } from 'commander'
import { builtin, rivalPolicies } from '../../../plugins/builtin.ts'
import { decisionLine } from '../../control/decision-file.ts'
import type { Plugin } from '../../core/plugin.ts'
import { describeIssues } from '../../core/validation.ts'
import { faultSchema, type Fault } from '../../sim/faults.ts'
import { parseSlo } from '../../sim/parse-slo.ts'
import { readPlant } from '../../sim/plants/parameters.ts'
import { simulate as run, type SimulationResult } from '../../sim/simulate.ts'
import { readTrace, TRACE_FORMATS, type TraceFormat } from '../../sim/traces/read-trace.ts'
import { PHASES } from '../../sim/workload/phases.ts'
import { generate } from '../../sim/workload/workload.ts'
import { someNumber, wholeNumber } from '../numbers.ts'

interface Options {
  trace?: string
  phases?: string
  capacity: number
  plant: string
  policy: string
  slo?: string
  seed: number
  json?: string
  decisions?: string
  faults?: string
  format?: TraceFormat
  datasets?: string
  from: number
  duration?: number
  speed: number
  limit?: number
  perS?: number
  retries: number
  loops: 'on' | 'dry' | 'off'
  knob: readonly string[]
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value]

export function configure(command: Command): void {
  command
    .option('--trace <file>', 'requests: Azure CSV, Mooncake or AIBrix JSONL, ServeGen tar.gz, cache keys (.trace), our spans as JSONL; gzip too')
    .option('--phases <names>', `instead of a trace, generated phases, comma-separated: ${Object.keys(PHASES).join(', ')}`)
    .option('--capacity <perS>', 'what the plant can do per second, for --phases', someNumber, 50)
    .requiredOption('--plant <file>', 'plant parameters as JSON: see `flyball fit`')
    .option('--policy <name>', 'flyball, none, plugin names joined by +, or a rival by its name', 'flyball')
    .option('--slo <classes>', 'such as "interactive:ttft=1000,itl=50;batch:start=5000"')
    .option('--seed <n>', 'for everything that is left to chance', wholeNumber, 1)
    .option('--json <file>', 'write the whole result, decisions included; gzip when it ends in .gz')
    .option('--decisions <file>', 'write the decision log as JSONL, for `flyball explain`')
    .option('--faults <file>', 'JSON list of faults: {"kind": "slowdown", "atMs": 60000, "factor": 3}, …')
    .addOption(new Option('--format <name>', 'when the trace is not recognised').choices([...TRACE_FORMATS]))
    .option('--datasets <file>', 'ServeGen: the archive with lengths')
    .option('--from <s>', 'start so far into the trace', someNumber, 0)
    .option('--duration <s>', 'only so much of it', someNumber)
    .option('--speed <factor>', 'arrivals come so many times as fast', someNumber, 1)
    .option('--limit <n>', 'at most so many requests', wholeNumber)
    .option('--per-s <rate>', 'arrivals of key traces, per second', someNumber)
    .option('--retries <n>', 'how often clients come back when turned away', wholeNumber, 2)
    .addOption(new Option('--loops <mode>', 'dry: decide, log and turn nothing, then say what turning would have given').choices(['on', 'dry', 'off']).default('on'))
    .option('--knob <name=value>', 'start value of a knob; repeatable', collect, [])
    .action(simulate)
}

/** Throws an Error in one clear line: for a bad trace, which line and what was expected there. */
export async function simulate(options: Options): Promise<void> {
  const plant = readPlant(await json(options.plant), options.plant)
  const classes = options.slo === undefined ? undefined : parseSlo(options.slo)
  const made = await arrivals(options)
  const faults = [...made.faults, ...(options.faults === undefined ? [] : await readFaults(options.faults))]
  const runWith = async (loops: Options['loops']): Promise<SimulationResult> =>
    run({
      requests: made.requests,
      phases: made.phases,
      faults,
      plant,
      plugins: await pluginsOf(options.policy),
      seed: options.seed,
      loops,
      client: { retries: options.retries },
      knobs: Object.fromEntries(options.knob.map(knobValue)),
      ...(classes ? { classes } : {}),
    })
  const result = await runWith(options.loops)
  print(options.policy, result)
  // What a dry run would have done is in its log; what that would have given, only another run can tell.
  const turned = options.loops === 'dry' ? await runWith('on') : undefined
  if (turned) console.log(`had the loops turned the knobs: goodput ${percent(turned.goodput)} instead of ${percent(result.goodput)}, smooth ${percent(turned.smoothGoodput)} instead of ${percent(result.smoothGoodput)}${turned.hitRatio + result.hitRatio > 0 ? `, cache hits ${percent(turned.hitRatio)} instead of ${percent(result.hitRatio)}, stale ${percent(turned.staleHitShare)} of them instead of ${percent(result.staleHitShare)}` : ''}`)
  if (options.json !== undefined) {
    const text = `${JSON.stringify({ policy: options.policy, trace: options.trace ?? options.phases, plant, ...result, ...(turned ? { wouldHaveGiven: outcomeOf(turned) } : {}) }, null, 1)}\n`
    await writeFile(options.json, options.json.endsWith('.gz') ? gzipSync(text) : text)
  }
  if (options.decisions !== undefined) await writeFile(options.decisions, result.decisions.map((record) => `${decisionLine(record)}\n`).join(''))
}

async function arrivals(options: Options): Promise<ReturnType<typeof generate>> {
  if ((options.trace === undefined) === (options.phases === undefined)) throw new TypeError('expected either --trace or --phases')
  if (options.phases !== undefined) {
    const phases = options.phases.split(',').flatMap((name) => {
      const make = PHASES[name.trim()]
      if (!make) throw new TypeError(`--phases: expected some of ${Object.keys(PHASES).join(', ')}, got ${JSON.stringify(name)}`)
      return make({ capacityPerS: options.capacity, mix: [{ share: 1, work: 1 }] })
    })
    return generate(phases, options.seed)
  }
  const requests = await readTrace(options.trace as string, {
    seed: options.seed,
    fromS: options.from,
    speed: options.speed,
    ...(options.format === undefined ? {} : { format: options.format }),
    ...(options.datasets === undefined ? {} : { datasets: options.datasets }),
    ...(options.duration === undefined ? {} : { durationS: options.duration }),
    ...(options.limit === undefined ? {} : { limit: options.limit }),
    ...(options.perS === undefined ? {} : { perS: options.perS }),
  })
  return { requests, phases: [{ name: 'trace', fromMs: 0, toMs: (requests.at(-1)?.atMs ?? 0) + 1 }], faults: [] }
}

/** Ours are all of ours that act on a lane or reuse answers; others by name. */
export async function pluginsOf(policy: string): Promise<Plugin[]> {
  const known = builtin.plugins as unknown as Readonly<Record<string, (options?: object) => Plugin>>
  if (policy === 'none') return []
  const names = policy === 'flyball' ? ['cache', 'throttle', 'priority', 'batching'].filter((name) => known[name]) : policy.split('+')
  const rivals = (await rivalPolicies()) as unknown as Readonly<Record<string, (options?: object) => Plugin>>
  const rivalNames = Object.fromEntries(Object.values(rivals).map((factory) => [(factory as unknown as { definition: { name: string } }).definition.name, factory]))
  return names.map((name) => {
    const factory = known[name] ?? rivalNames[name]
    if (!factory) throw new TypeError(`--policy: expected flyball, none, ${[...Object.keys(known), ...Object.keys(rivalNames)].join(', ')}, got ${JSON.stringify(name)}`)
    return factory()
  })
}

function knobValue(text: string): [string, number] {
  const [, name = '', value = ''] = /^([^=]+)=(.+)$/.exec(text) ?? []
  if (name === '' || !Number.isFinite(Number(value))) throw new TypeError(`--knob: expected name=number, got ${JSON.stringify(text)}`)
  return [name, Number(value)]
}

async function json(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'))
  } catch (error) {
    throw new TypeError(`${file}: ${error instanceof SyntaxError ? 'expected JSON' : `cannot be read (${(error as NodeJS.ErrnoException).code})`}`, { cause: error })
  }
}

async function readFaults(file: string): Promise<Fault[]> {
  const parsed = faultSchema.array().safeParse(await json(file), { reportInput: true })
  if (!parsed.success) throw new TypeError(`${file}: ${describeIssues(parsed.error)}`)
  return parsed.data
}

const percent = (share: number): string => `${(share * 100).toFixed(2)}%`
const outcomeOf = ({ goodput, smoothGoodput, goodputFromFirst, hitRatio, staleHitShare, phases }: SimulationResult): object => ({ goodput, smoothGoodput, goodputFromFirst, hitRatio, staleHitShare, phases })

function print(policy: string, result: SimulationResult): void {
  const lines = [
    `${policy}, seed ${result.seed}: ${result.offered} requests in ${(result.spanMs / 1_000).toFixed(0)} s of virtual time`,
    `goodput ${percent(result.goodput)} of offered (${result.goodputPerS.toFixed(2)}/s), smooth ${percent(result.smoothGoodput)}, first attempts' wait included ${percent(result.goodputFromFirst)}`,
    ...Object.entries(result.classes).map(([name, one]) => `  ${name}: ${percent(one.goodput)} of ${one.offered}; TTFT ${quantiles(one.ttftMs)}; ITL ${quantiles(one.itlMs)}; whole ${quantiles(one.e2eMs)} ms (p50/p95/p99)`),
    ...result.phases.filter(() => result.phases.length > 1).map((phase) => `  ${phase.name}: ${percent(phase.goodput)} of ${phase.offered}`),
    `turned away: ${list(result.rejects)}; provider's 429: ${result.provider429s}; wasted service ${percent(result.wastedShare)}; fairness ${result.fairness.toFixed(3)}`,
    ...(result.hitRatio > 0 ? [`cache hits ${percent(result.hitRatio)}, stale ${percent(result.staleHitShare)} of hits`] : []),
    `moves a minute: ${list(result.movesPerMinute, (value) => value.toFixed(2))}`,
  ]
  console.log(lines.join('\n'))
}

const quantiles = ({ p50, p95, p99 }: { p50: number; p95: number; p99: number }): string => (p50 < 0 ? '–' : [p50, p95, p99].map((ms) => Math.round(ms)).join('/'))
const list = (values: Readonly<Record<string, number>>, show: (value: number) => string = String): string => Object.entries(values).map(([name, value]) => `${name} ${show(value)}`).join(', ') || 'none'
