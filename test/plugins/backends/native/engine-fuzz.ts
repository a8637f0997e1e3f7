/**
 * Mutates model files and call sequences and feeds them to the native engine. A file may be refused with a clear error,
 * or run; the process must never die of a signal, and nothing but our own errors may come out.
 *
 *   npm run fuzz -- [--seconds 60] [--seed N]
 *
 * A parent starts child processes, so that a crash is seen; it prints the seed that repeats it and exits 1.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { CpuEngine } from '../../../../plugins/backends/native/engine.ts'
import { GREEDY } from '../../../../plugins/backends/native/engine-contract.ts'
import { readGguf } from '../../../../plugins/backends/native/gguf.ts'
import { ModelError } from '../../../../plugins/backends/native/model-error.ts'
import { FlyballError } from '../../../../src/index.ts'
import { ggufBytes, uint32 } from '../../../support/gguf-writer.ts'
import { tinyModel, uniforms } from '../../../support/tiny-model.ts'

const CASES_PER_CHILD = 150
const CHILD_TIMEOUT_MS = 120_000

const { values } = parseArgs({ options: { seconds: { type: 'string' }, seed: { type: 'string' }, child: { type: 'string' } } })

if (!CpuEngine.available()) {
  process.stderr.write('fuzz: the native engine has not been built here\n')
  process.exit(2)
}
if (values.child !== undefined) await child(Number(values.child))
else parent(Number(values.seconds ?? 60), values.seed === undefined ? Math.floor(Math.random() * 2 ** 30) : Number(values.seed))

function parent(seconds: number, firstSeed: number): void {
  const until = performance.now() + seconds * 1000
  let children = 0
  const seen = new Map<string, number>()
  for (let seed = firstSeed; children === 0 || performance.now() < until; seed += CASES_PER_CHILD, children++) {
    const run = spawnSync(process.execPath, [fileURLToPath(import.meta.url), '--child', String(seed)], { encoding: 'utf8', timeout: CHILD_TIMEOUT_MS })
    if (run.status !== 0) {
      process.stderr.write(`${run.stdout}${run.stderr}\nfuzz: a child ended with ${run.status ?? run.signal}; repeat with --child ${seed}\n`)
      process.exit(1)
    }
    for (const [outcome, count] of Object.entries(JSON.parse(run.stdout) as Record<string, number>)) seen.set(outcome, (seen.get(outcome) ?? 0) + count)
  }
  process.stdout.write(`fuzz: ${children * CASES_PER_CHILD} cases from seed ${firstSeed}, no crash: ${[...seen].map(([outcome, count]) => `${outcome} ${count}`).join(', ')}\n`)
}

async function child(firstSeed: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'))
  const outcomes: Record<string, number> = {}
  try {
    for (let seed = firstSeed; seed < firstSeed + CASES_PER_CHILD; seed++) {
      const outcome = await one(join(folder, 'model.gguf'), seed).catch((error: unknown) => {
        if (error instanceof ModelError || error instanceof FlyballError) return error.code
        process.stderr.write(`seed ${seed}: an error that is not ours\n`)
        throw error
      })
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  process.stdout.write(JSON.stringify(outcomes))
}

async function one(path: string, seed: number): Promise<string> {
  const next = uniforms(seed * 2654435761)
  for (let warm = 0; warm < 5; warm++) next()
  const below = (most: number): number => Math.floor(next() * most)
  const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T
  const { metadata, tensors } = tinyModel({ seed, type: pick(['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0']), architecture: pick(['llama', 'qwen2']), contextLength: 64 + below(200), tied: next() < 0.3, headCountKv: pick([1, 2, 4]) })
  const keys = Object.keys(metadata).filter((key) => /length|count|base|epsilon|window|dimension/.test(key))
  if (next() < 0.2) metadata[pick(keys)] = uint32(pick([0, 1, 2, 3, 7, 64, 255, 65536, 2 ** 31, 2 ** 32 - 1]))
  if (next() < 0.1) metadata['llama.attention.sliding_window'] = uint32(1 + below(100))
  if (next() < 0.1) tensors.splice(below(tensors.length), 1)
  const bytes = ggufBytes(metadata, tensors)
  const dataStart = readableDataStart(path, bytes)
  const how = below(6)
  if (how === 0) for (let i = 0; i < 1 + below(8); i++) bytes[below(dataStart)] = below(256)
  if (how === 1) for (let i = 0; i < 1 + below(400); i++) bytes[dataStart + below(bytes.length - dataStart)] = pick([0, 255, 127, 128, below(256)])
  if (how === 2) bytes.fill(255, dataStart + below(bytes.length - dataStart))
  const cut = how === 3 ? bytes.subarray(0, below(bytes.length)) : bytes
  writeFileSync(path, cut)
  // the file may shrink between reading its header and its weights
  const gguf = readGguf(path)
  if (how === 4) writeFileSync(path, bytes.subarray(0, below(bytes.length)))
  const engine = await CpuEngine.open(path, { gguf, threads: 1 + below(3), maxSequences: 1 + below(6), tokensPerStep: 1 + below(80), kvBudgetBytes: 2 ** (12 + below(10)), kvPrecision: pick(['f32', 'bf16', 'half']) })
  try {
    await calls(engine, below, next, pick)
  } finally {
    if (next() < 0.5) await engine.close()
    else void engine.close()
  }
  return how === 5 ? 'ran' : 'ran anyway'
}

async function calls(engine: CpuEngine, below: (most: number) => number, next: () => number, pick: <T>(from: readonly T[]) => T): Promise<void> {
  const pending: Promise<unknown>[] = []
  const aborts: AbortController[] = []
  const ours = (error: unknown): void => {
    if (!(error instanceof FlyballError)) throw error
  }
  for (let i = 0; i < 1 + below(12); i++) {
    const abort = new AbortController()
    aborts.push(abort)
    const promptTokens = Array.from({ length: below(80) }, () => (next() < 0.002 ? pick([-1, 320, 1.5, NaN]) : below(320)))
    const kind = below(10)
    pending.push((async () => {
      if (kind === 0) await engine.embed(promptTokens, pick(['mean', 'last']), abort.signal)
      else if (kind === 1) await engine.score(promptTokens, {}, abort.signal)
      else {
        let count = 0
        const leaveAt = next() < 0.2 ? below(10) : Infinity
        const request = {
          promptTokens, maxTokens: 1 + below(60), stopTokens: [below(320)], stopStrings: next() < 0.3 ? ['a', 'he', '\u{1F600}'] : [], cacheSpace: pick(['a', 'b']), priority: below(3),
          sampling: { ...GREEDY, temperature: pick([0, 0.7, 1, 50]), topK: pick([0, 1, 40, 2 ** 40]), topP: pick([0, 0.5, 1]), minP: pick([0, 0.1, 1]), repetitionPenalty: pick([1, 0.5, 2]), seed: below(2 ** 30) },
          ...(next() < 0.3 ? { logprobs: below(21) } : {}), ...(next() < 0.3 ? { attentionWindow: 1 + below(100), attentionSinks: below(50) } : {}),
        }
        for await (const step of engine.generate(request, abort.signal)) {
          for (const token of step.tokens) if (!(token >= 0 && token < 320)) throw new Error(`token ${token}`)
          if (++count > leaveAt) break
        }
      }
    })().catch(ours))
    if (next() < 0.2) await new Promise((resolve) => setTimeout(resolve, below(4)))
    if (next() < 0.3) pick(aborts).abort()
    if (next() < 0.2) engine.setLimits({ maxSequences: 1 + below(8), tokensPerStep: 1 + below(64) })
    if (next() < 0.1) engine.dropCache()
    engine.stats()
  }
  if (next() < 0.1) void engine.close()
  await Promise.all(pending)
}

function readableDataStart(path: string, bytes: Uint8Array): number {
  writeFileSync(path, bytes)
  return readGguf(path).dataOffset
}
