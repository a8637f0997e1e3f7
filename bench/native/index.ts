/**
 * The native engine against llama.cpp on the same file, threads and batches, interleaved in one process, beside the
 * machine's own limits.
 *
 *   npm run bench -- native --model FILE [--json OUT] [--threads N] [--rounds 3] [--steps 16] [--skip wrapper,long,…] [--clock wall|cpu] [--batches 1,8,32]
 *
 * Each figure is the best of the rounds (the machine may be shared); all samples are in the JSON. `--clock cpu` counts
 * CPU time per thread instead of wall time: for a machine too busy for anything else, best with `--threads 1`, since a
 * thread that spins at a barrier spends CPU time too.
 */
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, freemem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { CpuEngine } from '../../plugins/backends/native/engine.ts'
import { loadAddon } from '../../plugins/backends/native/engine-addon.ts'
import { GREEDY } from '../../plugins/backends/native/engine-contract.ts'
import { LlamaCpp } from './llama-cpp.ts'
import { measureWrapper } from './node-llama-cpp.ts'
import { longRun, measureCpuTime, ours, promptOf, theirs, type Subject } from './workloads.ts'

export const doc = 'Native engine against llama.cpp: prefill, decode, mixed load, memory.'

const LONG = 8192
const BATCHES = [1, 4, 8, 16, 32]
const SECTIONS = ['theirs', 'decode', 'mixed', 'busy', 'turns', 'long', 'memory', 'f32', 'wrapper'] as const
const forever = new AbortController().signal

interface Row {
  readonly what: string
  readonly unit: string
  readonly flyball?: number
  readonly llamaCpp?: number
  readonly nodeLlamaCpp?: number
  readonly note?: string
  readonly samples?: Record<string, number[]>
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { model: { type: 'string' }, json: { type: 'string' }, threads: { type: 'string' }, rounds: { type: 'string' }, steps: { type: 'string' }, skip: { type: 'string' }, isa: { type: 'string' }, clock: { type: 'string' }, batches: { type: 'string' } },
  })
  const addon = loadAddon()
  if (values.model === undefined) throw new Error('--model FILE is required (tools/gen-gguf.py in the shared data makes some)')
  if (addon === undefined) throw new Error('the native engine has not been built here')
  const skip = new Set((values.skip ?? '').split(',').filter(Boolean))
  for (const name of skip) if (!SECTIONS.includes(name as never)) throw new Error(`--skip: expected ${SECTIONS.join(', ')}; got ${name}`)
  const rounds = Number(values.rounds ?? 3)
  const steps = Number(values.steps ?? 16)
  const model = values.model
  const batches = values.batches === undefined ? BATCHES : values.batches.split(',').map(Number)
  if (batches.some((batch) => !Number.isInteger(batch) || batch < 1 || batch > 32)) throw new Error('--batches: expected numbers from 1 to 32')

  const engine = await CpuEngine.open(model, { maxSequences: 64, ...(values.threads === undefined ? {} : { threads: Number(values.threads) }), ...(values.isa === undefined ? {} : { isa: values.isa }) })
  const { threads } = engine
  if (values.clock === 'cpu') measureCpuTime(threads)
  else if (values.clock !== undefined && values.clock !== 'wall') throw new Error(`--clock: expected wall or cpu; got ${values.clock}`)
  const vocabulary = engine.info.config.vocabularySize
  const kernels = addon.kernels()[0] as string
  const llama = skip.has('theirs') ? undefined : new LlamaCpp(model, { threads, sequences: 33, contextPerSequence: 832 })
  const subjects: Subject[] = llama === undefined ? [ours(engine)] : [theirs(llama, vocabulary), ours(engine)]
  const rows: Row[] = []
  const limits = { readBytesPerSecond: 0, int8PerSecond: 0 }

  const show = (row: Row): void => {
    rows.push(row)
    const cell = (value: number | undefined): string => (value === undefined ? '—' : value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2)).padStart(12)
    const ratio = row.flyball !== undefined && row.llamaCpp !== undefined ? `${(row.unit === 'ms' ? row.llamaCpp / row.flyball : row.flyball / row.llamaCpp).toFixed(2)}×` : ''
    process.stdout.write(`${row.what.padEnd(38)}${cell(row.flyball)}${cell(row.llamaCpp)}${cell(row.nodeLlamaCpp)}  ${row.unit.padEnd(9)}${ratio.padStart(7)}  ${row.note ?? ''}\n`)
  }
  /** Before every round, so that the limits see the same weather as the engines. */
  const probe = (): void => {
    const [read = 0, int8 = 0] = addon.probes.limits(values.isa ?? kernels, threads, 512, 10_000_000)
    limits.readBytesPerSecond = Math.max(limits.readBytesPerSecond, read)
    limits.int8PerSecond = Math.max(limits.int8PerSecond, int8)
  }
  const compare = async (unit: string, measure: (subject: Subject) => Promise<number>, times = rounds): Promise<{ flyball: number; llamaCpp?: number; samples: Record<string, number[]> }> => {
    const samples: Record<string, number[]> = {}
    for (let round = 0; round < times; round++) {
      probe()
      for (const subject of subjects) (samples[subject.name] ??= []).push(await measure(subject))
    }
    const best = (name: string): number => (unit === 'ms' ? Math.min : Math.max)(...(samples[name] as number[]))
    return { flyball: best('flyball'), ...(llama === undefined ? {} : { llamaCpp: best('llama.cpp (C)') }), samples }
  }
  // the limits are taken in wall time
  const share = (value: number, of: string): string => (Number.isFinite(value) && values.clock !== 'cpu' ? `${percent(value)} ${of}` : '')

  process.stdout.write(`${engine.info.name} against ${llama === undefined ? 'nobody' : `llama.cpp v0.5.0 (${llama.cpuLibrary})`}: ${model}, ${cpus()[0]?.model ?? ''}\n`)
  process.stdout.write(`${''.padEnd(38)}${'flyball'.padStart(12)}${'llama.cpp'.padStart(12)}${'its JS API'.padStart(12)}\n`)
  const wrapper = skip.has('wrapper') || llama === undefined ? undefined : await measureWrapper(model, threads, vocabulary, [1, 8], steps, Math.min(rounds, 2))

  const agreement = llama === undefined ? undefined : await compareLogprobs(engine, llama)
  if (agreement !== undefined) process.stdout.write(`agreement: log probabilities of ${agreement.tokens} tokens differ by ${agreement.mean.toFixed(4)} on average, ${agreement.worst.toFixed(4)} at worst\n`)
  const weights = multiplied(engine)
  const prefill = await compare('tokens/s', (subject) => subject.prefill(512))
  show({ what: 'prefill, 512 tokens', unit: 'tokens/s', ...prefill, ...(wrapper === undefined ? {} : { nodeLlamaCpp: wrapper.prefill }), note: share((prefill.flyball * weights.prompt * 2) / limits.int8PerSecond, 'of the 8-bit limit') })
  const decode: Record<number, Awaited<ReturnType<typeof compare>>> = {}
  for (const batch of skip.has('decode') ? [] : batches) {
    const figure = (decode[batch] = await compare('tokens/s', (subject) => subject.decode(batch, steps)))
    const stepsPerSecond = figure.flyball / batch
    const note = batch <= 8 ? share((stepsPerSecond * weights.bytes) / limits.readBytesPerSecond, 'of the DRAM limit') : share((figure.flyball * weights.values * 2) / limits.int8PerSecond, 'of the 8-bit limit')
    show({ what: `decode, ${batch} ${batch === 1 ? 'sequence' : 'sequences'}`, unit: 'tokens/s', ...figure, ...(wrapper?.decode[batch] === undefined ? {} : { nodeLlamaCpp: wrapper.decode[batch] as number }), note })
  }
  if (!skip.has('mixed')) show({ what: 'first token, 512 beside 8 decoding', unit: 'ms', ...(await compare('ms', (subject) => subject.ttftMixed(512, 8))) })
  let busyJs = NaN
  if (!skip.has('busy')) {
    const calm = await compare('tokens/s', (subject) => subject.decodeBeside(0, 1500))
    const busy = await compare('tokens/s', (subject) => subject.decodeBeside(5, 1500))
    busyJs = busy.flyball / calm.flyball
    show({ what: 'decode, 1, JS thread busy', unit: 'tokens/s', ...busy, note: `${percent(busyJs)} of undisturbed${calm.llamaCpp === undefined || busy.llamaCpp === undefined ? '' : ` (llama.cpp: ${percent(busy.llamaCpp / calm.llamaCpp)})`}` })
  }
  if (!skip.has('turns')) for (const reuse of [false, true]) {
    show({ what: `first tokens of 4 turns, ${reuse ? 'prefix reuse' : 'no reuse'}`, unit: 'ms', ...(await compare('ms', (subject) => subject.conversation(4, 192, reuse))) })
  }
  if (!skip.has('long') && engine.info.contextLength >= LONG + 64) {
    const rival = llama === undefined ? undefined : new LlamaCpp(model, { threads, sequences: 1, contextPerSequence: LONG + 64 })
    const [mine, other] = [await ours(engine).long(LONG, 32), await (rival === undefined ? undefined : theirs(rival, vocabulary).long(LONG, 32))]
    rival?.close()
    const windowed = await longRun(engine, { promptTokens: promptOf(LONG, 77, vocabulary), maxTokens: 33, sampling: GREEDY, stopTokens: [], stopStrings: [], attentionWindow: 1024 }, 32)
    show({ what: `prefill, ${LONG} tokens`, unit: 'tokens/s', flyball: mine.prefill, ...(other === undefined ? {} : { llamaCpp: other.prefill }) })
    show({ what: `decode after ${LONG}`, unit: 'tokens/s', flyball: mine.decode, ...(other === undefined ? {} : { llamaCpp: other.decode }) })
    show({ what: `prefill, ${LONG} tokens, window 1024`, unit: 'tokens/s', flyball: windowed.prefill })
    show({ what: `decode after ${LONG}, window 1024`, unit: 'tokens/s', flyball: windowed.decode })
  }
  let memoryRatio = NaN
  if (!skip.has('memory') && process.platform === 'linux') {
    const script = fileURLToPath(new URL(`./peak-memory${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, [script, model])
    const memory = JSON.parse(stdout) as { peakBytes: number; weightBytes: number; kvBytes: number; ratio: number }
    memoryRatio = memory.ratio
    show({ what: 'peak resident memory', unit: 'MiB', flyball: memory.peakBytes / 2 ** 20, note: `${percent(memory.ratio)} of weights (${(memory.weightBytes / 2 ** 20).toFixed(0)}) + key-value budget (${memory.kvBytes / 2 ** 20})` })
  }
  let int8VsF32 = NaN
  const plainBytes = engine.info.parameters * 4
  if (!skip.has('f32') && freemem() > plainBytes * 1.3) {
    const plain = await CpuEngine.open(model, { maxSequences: 4, threads, expandWeights: true, kvBudgetBytes: 2 ** 28 })
    const samples: [number, number][] = []
    for (let round = 0; round < rounds; round++) samples.push([await ours(engine).decode(1, steps), await ours(plain).decode(1, Math.min(steps, 8))])
    const best = (at: 0 | 1): number => Math.max(...samples.map((pair) => pair[at]))
    int8VsF32 = best(0) / best(1)
    show({ what: 'decode, 1, the same weights as F32', unit: 'tokens/s', flyball: best(1), note: `the file's own: ${int8VsF32.toFixed(2)}×` })
    await plain.close()
  }
  const ratio = (figure: { flyball: number; llamaCpp?: number } | undefined): number => (figure?.llamaCpp === undefined ? NaN : figure.flyball / figure.llamaCpp)
  const ratios = {
    prefill: ratio(prefill), decode1: ratio(decode[1]), decode8: ratio(decode[8]), decode32: ratio(decode[32]),
    decode1OfDram: decode[1] === undefined ? NaN : (decode[1].flyball * weights.bytes) / limits.readBytesPerSecond, busyJs, int8VsF32, memory: memoryRatio,
  }
  process.stdout.write(`limits: ${(limits.readBytesPerSecond / 1e9).toFixed(1)} GB/s read, ${(limits.int8PerSecond / 1e9).toFixed(0)} G 8-bit operations/s\nratios: ${JSON.stringify(ratios, (_, value: unknown) => (typeof value === 'number' ? Math.round(value * 100) / 100 : value))}\n`)
  if (values.json !== undefined) {
    const machine = { cpu: cpus()[0]?.model, threads, kernels: engine.info.name, node: process.version, llamaCpp: llama?.cpuLibrary }
    writeFileSync(values.json, `${JSON.stringify({ benchmark: 'native', model, machine, clock: values.clock ?? 'wall', rounds, steps, limits, ratios, agreement, rows }, null, 2)}\n`)
  }
  llama?.close()
  await engine.close()
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

const percent = (value: number): string => `${(value * 100).toFixed(0)}%`
