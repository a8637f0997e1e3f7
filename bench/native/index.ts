/**
 * The native engine against llama.cpp on the same file, threads and batches, interleaved in one process, beside the
 * machine's own limits.
 *
 *   npm run bench -- native --model FILE | --random 1.2b-Q8_0 [--json OUT] [--threads N] [--rounds 3] [--steps 16] [--skip wrapper,long,…] [--clock wall|cpu] [--batches 1,8,32]
 *
 * Each figure is the best of the rounds (the machine may be shared); all samples are in the JSON. Each share of a limit is
 * the median over the rounds of a sample against the limit measured right before it: what a virtual machine may read from
 * memory can change by half from one second to the next. Memory is read as much at a time as a step reads, so that caches
 * help neither more. `--clock cpu` counts
 * CPU time per thread instead of wall time: for a machine too busy for anything else, best with `--threads 1`, since a
 * thread that spins at a barrier spends CPU time too.
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { cpus, freemem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { CpuEngine } from '../../plugins/backends/native/engine.ts'
import { loadAddon } from '../../plugins/backends/native/engine-addon.ts'
import { GREEDY } from '../../plugins/backends/native/engine-contract.ts'
import { SHAPES, writeRandomModel, type RandomType } from '../random-model.ts'
import { benchCache, LlamaCpp } from './llama-cpp.ts'
import { measureWrapper } from './node-llama-cpp.ts'
import { longRun, measureCpuTime, ours, promptOf, theirs, type Subject } from './workloads.ts'

export const doc = 'Native engine against llama.cpp: prefill, decode, mixed load, memory.'

const LONG = 8192
const LONG_WINDOW = 1024
const BATCHES = [1, 4, 8, 16, 32]
const SECTIONS = ['theirs', 'decode', 'mixed', 'busy', 'turns', 'long', 'memory', 'f32', 'wrapper'] as const
const forever = new AbortController().signal

interface Row {
  readonly what: string
  readonly unit: string
  readonly flyball?: number
  readonly llamaCpp?: number
  readonly nodeLlamaCpp?: number
  /** Of the limit that binds it. */
  readonly share?: number
  readonly note?: string
  readonly samples?: Record<string, number[]>
}

type Compared = Omit<Row, 'what'> & { readonly flyball: number; readonly share: number }

/** What the machine can do in a second: bytes read from memory, 8-bit operations. */
interface Limits {
  bytes: number
  operations: number
}
interface Demand {
  readonly of: keyof Limits
  readonly amount: number
}
const shareOf = ({ of, amount }: Demand, perSecond: number, limits: Limits): number => (limits[of] === 0 ? NaN : (perSecond * amount) / limits[of])

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { model: { type: 'string' }, json: { type: 'string' }, threads: { type: 'string' }, rounds: { type: 'string' }, steps: { type: 'string' }, skip: { type: 'string' }, isa: { type: 'string' }, clock: { type: 'string' }, batches: { type: 'string' }, random: { type: 'string' } },
  })
  const addon = loadAddon()
  if (addon === undefined) throw new Error('the native engine has not been built here')
  const skip = new Set((values.skip ?? '').split(',').filter(Boolean))
  for (const name of skip) if (!SECTIONS.includes(name as never)) throw new Error(`--skip: expected ${SECTIONS.join(', ')}; got ${name}`)
  const rounds = Number(values.rounds ?? 3)
  const steps = Number(values.steps ?? 16)
  const model = values.model ?? randomModel(values.random)
  const batches = values.batches === undefined ? BATCHES : values.batches.split(',').map(Number)
  if (batches.some((batch) => !Number.isInteger(batch) || batch < 1 || batch > 32)) throw new Error('--batches: expected numbers from 1 to 32')

  const engine = await CpuEngine.open(model, { maxSequences: 64, ...(values.threads === undefined ? {} : { threads: Number(values.threads) }), ...(values.isa === undefined ? {} : { isa: values.isa }) })
  const { threads } = engine
  if (values.clock === 'cpu') measureCpuTime(threads)
  else if (values.clock !== undefined && values.clock !== 'wall') throw new Error(`--clock: expected wall or cpu; got ${values.clock}`)
  const vocabulary = engine.info.config.vocabularySize
  const kernels = addon.kernels()[0] as string
  const llama = skip.has('theirs') ? undefined : new LlamaCpp(model, { threads, sequences: 33, contextPerSequence: 832 })
  const mine = ours(engine)
  const rival = llama === undefined ? undefined : theirs(llama, vocabulary)
  const rows: Row[] = []
  const best: Limits = { bytes: 0, operations: 0 }

  const show = (row: Row): void => {
    rows.push(row)
    const cell = (value: number | undefined): string => (value === undefined ? '—' : value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2)).padStart(12)
    const ratio = row.flyball !== undefined && row.llamaCpp !== undefined ? `${(row.unit === 'ms' ? row.llamaCpp / row.flyball : row.flyball / row.llamaCpp).toFixed(2)}×` : ''
    process.stdout.write(`${row.what.padEnd(38)}${cell(row.flyball)}${cell(row.llamaCpp)}${cell(row.nodeLlamaCpp)}  ${row.unit.padEnd(9)}${ratio.padStart(7)}  ${row.note ?? ''}\n`)
  }
  const weights = multiplied(engine)
  const probe = (): Limits => {
    const [bytes = 0, operations = 0] = addon.probes.limits(values.isa ?? kernels, threads, Math.ceil(weights.bytes / 2 ** 20), 10_000_000)
    best.bytes = Math.max(best.bytes, bytes)
    best.operations = Math.max(best.operations, operations)
    return { bytes, operations }
  }
  // the limits are taken in wall time
  const told = (share: number, { of }: Demand): string => (values.clock === 'cpu' || !Number.isFinite(share) ? '' : `${percent(share)} of the ${of === 'bytes' ? 'DRAM' : '8-bit'} limit`)
  /** `demand`: what a token (of a rate) or a run (of a time) reads or multiplies. */
  const compare = async (unit: 'tokens/s' | 'ms', demand: Demand, measure: (subject: Subject) => Promise<number>, times = rounds): Promise<Compared> => {
    const samples: Record<string, number[]> = {}
    const shares: number[] = []
    for (let round = 0; round < times; round++) {
      if (rival !== undefined) (samples[rival.name] ??= []).push(await measure(rival))
      const limit = probe()
      const sample = await measure(mine)
      ;(samples[mine.name] ??= []).push(sample)
      shares.push(shareOf(demand, unit === 'ms' ? 1000 / sample : sample, limit))
    }
    const pick = ({ name }: Subject): number => (unit === 'ms' ? Math.min : Math.max)(...(samples[name] as number[]))
    const share = median(shares)
    return { unit, flyball: pick(mine), ...(rival === undefined ? {} : { llamaCpp: pick(rival) }), share, note: told(share, demand), samples }
  }

  process.stdout.write(`${engine.info.name} against ${llama === undefined ? 'nobody' : `llama.cpp v0.5.0 (${llama.cpuLibrary})`}: ${model}, ${cpus()[0]?.model ?? ''}\n`)
  process.stdout.write(`${''.padEnd(38)}${'flyball'.padStart(12)}${'llama.cpp'.padStart(12)}${'its JS API'.padStart(12)}\n`)
  const wrapper = skip.has('wrapper') || llama === undefined ? undefined : await measureWrapper(model, threads, vocabulary, [1, 8], steps, Math.min(rounds, 2))

  const agreement = llama === undefined ? undefined : await compareLogprobs(engine, llama)
  if (agreement !== undefined) process.stdout.write(`agreement: log probabilities of ${agreement.tokens} tokens differ by ${agreement.mean.toFixed(4)} on average, ${agreement.worst.toFixed(4)} at worst\n`)
  /** Of `rows` tokens at once, `past` others before each: what one of them reads (memory is the limit of few) or multiplies (of many). */
  const demand = (rows: number, past = 0): Demand => (rows <= 8 ? { of: 'bytes', amount: weights.bytes / rows + past * keyValueBytes(engine) } : { of: 'operations', amount: weights.values * 2 })
  /** A prompt of which only the last token meets the output matrix. */
  const promptDemand = (tokens: number): Demand => ({ of: 'operations', amount: tokens * weights.prompt * 2 })

  const prefill = await compare('tokens/s', promptDemand(1), (subject) => subject.prefill(512))
  show({ what: 'prefill, 512 tokens', ...prefill, ...(wrapper === undefined ? {} : { nodeLlamaCpp: wrapper.prefill }) })
  const decode: Record<number, Compared> = {}
  for (const batch of skip.has('decode') ? [] : batches) {
    const figure = (decode[batch] = await compare('tokens/s', demand(batch), (subject) => subject.decode(batch, steps)))
    show({ what: `decode, ${batch} ${batch === 1 ? 'sequence' : 'sequences'}`, ...figure, ...(wrapper?.decode[batch] === undefined ? {} : { nodeLlamaCpp: wrapper.decode[batch] as number }) })
  }
  if (!skip.has('mixed')) show({ what: 'first token, 512 beside 8 decoding', ...(await compare('ms', promptDemand(512 + 8), (subject) => subject.ttftMixed(512, 8))) })
  let busyJs = NaN
  if (!skip.has('busy')) {
    const calm = await compare('tokens/s', demand(1), (subject) => subject.decodeBeside(0, 1500))
    const busy = await compare('tokens/s', demand(1), (subject) => subject.decodeBeside(5, 1500))
    busyJs = busy.flyball / calm.flyball
    show({ what: 'decode, 1, JS thread busy', ...busy, note: `${busy.note}; ${percent(busyJs)} of undisturbed${calm.llamaCpp === undefined || busy.llamaCpp === undefined ? '' : ` (llama.cpp: ${percent(busy.llamaCpp / calm.llamaCpp)})`}` })
  }
  if (!skip.has('turns')) for (const reuse of [false, true]) {
    // turns of 192 tokens: all of the text each time, or what is new
    const tokens = reuse ? 4 * 192 : (1 + 2 + 3 + 4) * 192
    show({ what: `first tokens of 4 turns, ${reuse ? 'prefix reuse' : 'no reuse'}`, ...(await compare('ms', promptDemand(tokens), (subject) => subject.conversation(4, 192, reuse))) })
  }
  if (!skip.has('long') && engine.info.contextLength >= LONG + 64) {
    const roomy = llama === undefined ? undefined : new LlamaCpp(model, { threads, sequences: 1, contextPerSequence: LONG + 64 })
    const other = roomy === undefined ? undefined : await theirs(roomy, vocabulary).long(LONG, 32)
    roomy?.close()
    const before = probe()
    const full = await mine.long(LONG, 32)
    const between = probe()
    const windowed = await longRun(engine, { promptTokens: promptOf(LONG, 77, vocabulary), maxTokens: 33, sampling: GREEDY, stopTokens: [], stopStrings: [], attentionWindow: LONG_WINDOW }, 32)
    const after = probe()
    const single = (what: string, flyball: number, limit: Limits, needs: Demand, llamaCpp?: number): void =>
      show({ what, unit: 'tokens/s', flyball, ...(llamaCpp === undefined ? {} : { llamaCpp }), note: told(shareOf(needs, flyball, limit), needs) })
    // of the prompt only the matrix products are counted, not what attention adds
    single(`prefill, ${LONG} tokens`, full.prefill, before, promptDemand(1), other?.prefill)
    single(`decode after ${LONG}`, full.decode, between, demand(1, LONG), other?.decode)
    // llama.cpp has no way to ask for a window: its figures are those of full attention
    single(`prefill, ${LONG} tokens, window ${LONG_WINDOW}`, windowed.prefill, between, promptDemand(1), other?.prefill)
    single(`decode after ${LONG}, window ${LONG_WINDOW}`, windowed.decode, after, demand(1, LONG_WINDOW), other?.decode)
  }
  let memoryRatio = NaN
  if (!skip.has('memory') && process.platform === 'linux') {
    const script = fileURLToPath(new URL(`./peak-memory${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, [script, model])
    const memory = JSON.parse(stdout) as { startBytes: number; openBytes: number; peakBytes: number; weightBytes: number; kvBytes: number; filled: number; ratio: number }
    memoryRatio = memory.ratio
    const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0)
    const beside = `beside them ${mib(memory.startBytes)} before the model is opened, ${mib(memory.openBytes - memory.startBytes - memory.weightBytes)} for opening it`
    show({ what: 'peak resident memory', unit: 'MiB', flyball: memory.peakBytes / 2 ** 20, note: `${percent(memory.ratio)} of weights (${mib(memory.weightBytes)}) + key-value budget (${mib(memory.kvBytes)}, ${percent(memory.filled)} of it in use); ${beside}` })
  }
  let int8VsF32 = NaN
  const plainBytes = engine.info.parameters * 4
  if (!skip.has('f32') && freemem() > plainBytes * 1.3) {
    const plain = await CpuEngine.open(model, { maxSequences: 4, threads, expandWeights: true, kvBudgetBytes: 2 ** 28 })
    const samples: [number, number][] = []
    for (let round = 0; round < rounds; round++) samples.push([await mine.decode(1, steps), await ours(plain).decode(1, Math.min(steps, 8))])
    const best = (at: 0 | 1): number => Math.max(...samples.map((pair) => pair[at]))
    int8VsF32 = best(0) / best(1)
    show({ what: 'decode, 1, the same weights as F32', unit: 'tokens/s', flyball: best(1), note: `the file's own: ${int8VsF32.toFixed(2)}×` })
    await plain.close()
  }
  const ratio = (figure: { flyball: number; llamaCpp?: number } | undefined): number => (figure?.llamaCpp === undefined ? NaN : figure.flyball / figure.llamaCpp)
  const ratios = {
    prefill: ratio(prefill), decode1: ratio(decode[1]), decode8: ratio(decode[8]), decode32: ratio(decode[32]),
    decode1OfDram: decode[1]?.share ?? NaN, busyJs, int8VsF32, memory: memoryRatio,
  }
  process.stdout.write(`limits: at most ${(best.bytes / 1e9).toFixed(1)} GB/s read, ${(best.operations / 1e9).toFixed(0)} G 8-bit operations/s\nratios: ${JSON.stringify(ratios, (_, value: unknown) => (typeof value === 'number' ? Math.round(value * 100) / 100 : value))}\n`)
  if (values.json !== undefined) {
    const machine = { cpu: cpus()[0]?.model, threads, kernels: engine.info.name, node: process.version, llamaCpp: llama?.cpuLibrary }
    writeFileSync(values.json, `${JSON.stringify({ benchmark: 'native', model, machine, clock: values.clock ?? 'wall', rounds, steps, limits: best, ratios, agreement, rows }, null, 2)}\n`)
  }
  llama?.close()
  await engine.close()
}

/** A file of random weights, SHAPE-TYPE, made on first use. */
function randomModel(name: string | undefined): string {
  const [shape, type] = (name ?? '').split('-') as [keyof typeof SHAPES, RandomType]
  if (!(shape in SHAPES) || !['F32', 'Q8_0', 'Q4_0'].includes(type)) throw new Error(`--model FILE, or --random with ${Object.keys(SHAPES).join(', ')} and -F32, -Q8_0 or -Q4_0, as in 1.2b-Q8_0`)
  mkdirSync(benchCache(), { recursive: true })
  const file = join(benchCache(), `random-${name}.gguf`)
  if (!existsSync(file)) writeRandomModel(file, SHAPES[shape], type)
  return file
}

/** What one token multiplies: every matrix but the embedding, unless it is the output too; of a prompt only the last token meets the output. */
function multiplied(engine: CpuEngine): { values: number; bytes: number; prompt: number } {
  const { config, parameters } = engine.info
  const embedding = config.tiedOutput ? 0 : config.vocabularySize * config.embeddingLength
  const values = parameters - embedding
  return { values, bytes: engine.weightBytes * (values / parameters), prompt: values - config.vocabularySize * config.embeddingLength }
}

/** The same random tokens through both: a benchmark of wrong numbers would be worth nothing. */
async function compareLogprobs(engine: CpuEngine, llama: LlamaCpp): Promise<{ tokens: number; mean: number; worst: number }> {
  const tokens = promptOf(96, 99, engine.info.config.vocabularySize)
  llama.clear()
  llama.decode(tokens.map((token, position) => ({ token, position, sequence: 0, logits: true })))
  const scores = await engine.score(tokens, {}, forever)
  const differences = Array.from(scores, (score, index) => {
    const logits = llama.logits(index)
    const largest = logits.reduce((most, value) => Math.max(most, value), -Infinity)
    const sum = logits.reduce((total, value) => total + Math.exp(value - largest), 0)
    return Math.abs((logits[tokens[index + 1] as number] as number) - largest - Math.log(sum) - score)
  })
  return { tokens: differences.length, mean: differences.reduce((sum, value) => sum + value, 0) / differences.length, worst: Math.max(...differences) }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return ((sorted[(sorted.length - 1) >> 1] as number) + (sorted[sorted.length >> 1] as number)) / 2
}

/** Keys and values of one position. */
function keyValueBytes(engine: CpuEngine): number {
  const { blockCount, headCountKv, headDim } = engine.info.config
  return 2 * blockCount * headCountKv * headDim * 2
}

const percent = (value: number): string => `${(value * 100).toFixed(0)}%`
