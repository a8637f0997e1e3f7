/**
 * `npm run bench -- techniques [--json FILE] [--rounds N] [--seconds S]`: what each way of raising throughput brings on this
 * machine, through the governor, on the native engine. A ladder: each rung keeps what the rungs before it have. Rungs take turns, round by
 * round; a ratio compares neighbours of the same round. Beside it, three that no ladder of throughput can show.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runQuantize } from '../../plugins/backends/native/quantize.ts'
import { batching, cache, native, priority, throttle } from '../../plugins/builtin.ts'
import { systemClock, type Backend, type Plugin, type SloClass } from '../../src/index.ts'
import { GREEDY } from '../../plugins/backends/native/engine-contract.ts'
import { openEngine } from '../../plugins/backends/native/open-engine.ts'
import { SHAPES, writeRandomModel } from '../random-model.ts'
import { ANSWER_TOKENS, assistant, closedLoop, INSTRUCTION_TOKENS, openLoop, QUESTION_TOKENS, REPEAT_SHARE, tokensOf } from './workload.ts'

export const doc = 'what quantization, batching, paging, prefix reuse, caching, windows, queues and warm-up bring, one by one'

const CLIENTS = 16
/** Memory for keys and values: two whole contexts, if each call reserved one. */
const WHOLE_CONTEXTS = 2

interface Rung {
  readonly name: string
  readonly model: 'f32' | 'q8_0'
  readonly maxSequences: number
  readonly shared: boolean
  readonly plugins: () => Plugin[]
}

const LADDER: readonly Rung[] = [
  { name: 'F32, one at a time', model: 'f32', maxSequences: 1, shared: false, plugins: () => [] },
  { name: '+ INT8 weights and activations', model: 'q8_0', maxSequences: 1, shared: false, plugins: () => [] },
  { name: `+ continuous batching, a whole context reserved for each (${WHOLE_CONTEXTS})`, model: 'q8_0', maxSequences: WHOLE_CONTEXTS, shared: false, plugins: () => [] },
  { name: '+ paged keys and values (the same memory)', model: 'q8_0', maxSequences: CLIENTS, shared: false, plugins: () => [] },
  { name: '+ prefix reuse', model: 'q8_0', maxSequences: CLIENTS, shared: true, plugins: () => [] },
  { name: '+ result cache', model: 'q8_0', maxSequences: CLIENTS, shared: true, plugins: () => [cache()] },
]

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { json: { type: 'string' }, rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '4' } } })
  const rounds = Number(values.rounds)
  const seconds = Number(values.seconds)
  if (!(rounds >= 1 && seconds > 0)) throw new Error('--rounds and --seconds: expected positive numbers')
  const say = (line: string): void => void process.stderr.write(`${line}\n`)
  const folder = mkdtempSync(join(tmpdir(), 'flyball-techniques-'))
  try {
    say('making a model of 33.6 million random parameters …')
    const files = { f32: join(folder, 'random-f32.gguf'), q8_0: join(folder, 'random-q8_0.gguf') }
    writeRandomModel(files.f32, SHAPES['34m'], 'F32')
    await runQuantize({ input: files.f32, output: files.q8_0, type: 'q8_0' })
    const open = (model: keyof typeof files, maxSequences: number): Promise<Backend> => native({ model: files[model], maxSequences, kvBudgetMiB: kvMiB(WHOLE_CONTEXTS) })

    const answers: number[][] = LADDER.map(() => [])
    for (let round = 0; round < rounds; round++) {
      say(`round ${round + 1} of ${rounds}`)
      for (const [i, rung] of LADDER.entries()) {
        const backend = await open(rung.model, rung.maxSequences)
        const driven = await closedLoop({ backend, plugins: rung.plugins(), ask: assistant(round + 1, rung.shared), seconds }, CLIENTS)
        answers[i]?.push(driven.answeredPerS)
      }
    }
    const against = (i: number, j: number): number => median((answers[i] as number[]).map((value, round) => value / (answers[j]?.[round] as number)))
    const ladder = LADDER.map(({ name }, i) => ({ name, answersPerS: median(answers[i] as number[]), step: i === 0 ? 1 : against(i, i - 1), sinceFirst: against(i, 0) }))

    say('window, warm-up, overload …')
    const window = await windowed(files.q8_0)
    const warmUp = await firstAnswers(() => open('q8_0', CLIENTS), rounds)
    const capacityPerS = ladder[4]?.answersPerS as number
    const overload = await overloaded(() => open('q8_0', CLIENTS), capacityPerS, OVERLOAD_S)

    process.stdout.write(`${CLIENTS} clients in a closed loop; ${INSTRUCTION_TOKENS} tokens of instructions, ${QUESTION_TOKENS} of question, at most ${ANSWER_TOKENS} of answer; ${REPEAT_SHARE * 100}% of questions are frequent ones\n\n`)
    process.stdout.write(`| rung | answers/s | × the one before | × the first |\n|---|---|---|---|\n${ladder.map((row) => `| ${row.name} | ${row.answersPerS.toFixed(1)} | ${row.step.toFixed(2)} | ${row.sinceFirst.toFixed(2)} |`).join('\n')}\n\n`)
    process.stdout.write(`attention window of ${WINDOW} over ${LONG_PROMPT} tokens: decode × ${window.toFixed(2)}\n`)
    process.stdout.write(`first answer: ${warmUp.cold.toFixed(2)} × the steady one without warm-up, ${warmUp.warm.toFixed(2)} × with\n`)
    process.stdout.write(`${OVERLOAD} × the capacity, interactive and batch mixed: interactive within its target ${(overload.plain.interactive * 100).toFixed(0)}% without, ${(overload.governed.interactive * 100).toFixed(0)}% with queues by class and throttling; of all ${(overload.plain.all * 100).toFixed(0)}% and ${(overload.governed.all * 100).toFixed(0)}%\n`)
    const ratios = { int8: ladder[1]?.step, batching: ladder[2]?.step, paging: ladder[3]?.step, prefixReuse: ladder[4]?.step, resultCache: ladder[5]?.step, allTogether: ladder[5]?.sinceFirst, window, firstAnswerCold: warmUp.cold, firstAnswerWarm: warmUp.warm }
    const document = { machine: { cpu: cpus()[0]?.model ?? '', cores: cpus().length, node: process.version }, rounds, seconds, ladder, overload, ratios }
    if (values.json) writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** bfloat16 keys and values of so many whole contexts. */
function kvMiB(contexts: number): number {
  const { context, blocks, dim, heads, kvHeads } = SHAPES['34m']
  return (contexts * context * blocks * 2 * (dim / heads) * kvHeads * 2) / 2 ** 20
}

const LONG_PROMPT = 3_584
const WINDOW = 512
const DECODED = 128

/** Decode speed of one sequence behind a long prompt, with a window over that without. */
async function windowed(model: string): Promise<number> {
  const engine = await openEngine(model, { engine: 'cpu', maxSequences: 1, kvBudgetMiB: kvMiB(WHOLE_CONTEXTS) })
  const decodeMs = async (attentionWindow?: number): Promise<number> => {
    let from = 0
    for await (const { tokens } of engine.generate({ promptTokens: tokensOf(LONG_PROMPT, 3), maxTokens: DECODED, sampling: GREEDY, stopTokens: [], stopStrings: [], ...(attentionWindow === undefined ? {} : { attentionWindow }) }, new AbortController().signal)) {
      if (from === 0 && tokens.length > 0) from = systemClock.monoMs()
    }
    return systemClock.monoMs() - from
  }
  try {
    const ratios: number[] = []
    for (let i = 0; i < 3; i++) ratios.push((await decodeMs()) / (await decodeMs(WINDOW)))
    return median(ratios)
  } finally {
    await engine.close()
  }
}

const STEADY_AFTER = 20
/** All answers of one length: they are compared with each other. */
const WARM_TOKENS = 24

/** Time of the first answer over that of later ones, with and without the backend's warm-up. */
async function firstAnswers(open: () => Promise<Backend>, rounds: number): Promise<{ cold: number; warm: number }> {
  const ratio = async (warm: boolean): Promise<number> => {
    const backend = await open()
    const times: number[] = []
    let asked = 0
    await closedLoop({
      backend: warm ? backend : { ...backend, warm: () => Promise.resolve() },
      plugins: [],
      ask: () => {
        times.push(systemClock.monoMs())
        return { prompt: tokensOf(QUESTION_TOKENS, 50_000 + asked++), maxTokens: WARM_TOKENS, tenant: `warm-${asked}` }
      },
      seconds: 1,
    }, 1)
    const durations = times.slice(1).map((at, i) => at - (times[i] as number))
    return (durations[0] as number) / median(durations.slice(Math.min(STEADY_AFTER, durations.length - 1)))
  }
  const cold: number[] = []
  const warm: number[] = []
  for (let i = 0; i < rounds; i++) {
    cold.push(await ratio(false))
    warm.push(await ratio(true))
  }
  return { cold: median(cold), warm: median(warm) }
}

const OVERLOAD = 1.5
/** Long enough for the loops to learn what the machine bears. */
const OVERLOAD_S = 20
const INTERACTIVE_SHARE = 0.4

interface Shares {
  readonly interactive: number
  readonly all: number
}

/** The same arrivals without and with queues by class and the throttle's loop. */
async function overloaded(open: () => Promise<Backend>, capacityPerS: number, seconds: number): Promise<{ plain: Shares; governed: Shares }> {
  const classes: SloClass[] = [
    { name: 'interactive', priority: 0, startMs: 500, quantile: 0.95 },
    { name: 'batch', priority: 10, startMs: 5_000, quantile: 0.95 },
  ]
  const once = async (plugins: Plugin[]): Promise<Shares> => {
    const ask = assistant(99, true)
    let at = 0
    const driven = await openLoop({
      backend: await open(),
      plugins,
      classes,
      ask: () => ({ ...ask(), className: (at++ * 0.618) % 1 < INTERACTIVE_SHARE ? 'interactive' : 'batch' }),
      seconds,
    }, capacityPerS * OVERLOAD, 5)
    return { interactive: driven.attainment('interactive'), all: driven.attainment() }
  }
  return { plain: await once([]), governed: await once([throttle(), priority(), batching()]) }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
