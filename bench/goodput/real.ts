/**
 * The same question in real time, smaller: a batched function whose cost curve no tuning has seen, and the native engine.
 * A plant is fitted to one run of each, a ramp without control; what the simulator then says of other policies under other
 * loads is held against what happened. No row was fitted to itself.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { runQuantize } from '../../plugins/backends/native/quantize.ts'
import { batching, native, priority, throttle } from '../../plugins/builtin.ts'
import { fixed } from '../../plugins/rivals/index.ts'
import { batchFunctionBackend } from '../../src/core/function-backend.ts'
import type { Backend, Plugin, SloClass } from '../../src/index.ts'
import type { Fitted } from '../../src/sim/fit.ts'
import { fitBatchServer } from '../../src/sim/fit-batch-server.ts'
import { fitLlmServer } from '../../src/sim/fit-llm-server.ts'
import { simulate } from '../../src/sim/simulate.ts'
import type { TraceRequest } from '../../src/sim/simulated-request.ts'
import { bursts, generate, type GeneratedWorkload, type Mix, type WorkloadPhase } from '../../src/sim/workload/workload.ts'
import { SHAPES, writeRandomModel } from '../random-model.ts'
import { tokensOf } from '../techniques/workload.ts'
import { tableOf, writeFigures } from './readme-figures.ts'
import { drive, wait, type CallOptions, type Driven } from './real-drive.ts'
import { mean, median } from './statistics.ts'

export interface RealRow {
  readonly backend: string
  readonly workload: string
  readonly policy: string
  readonly offered: number
  readonly real: number
  readonly simulated: number
}

interface Served {
  readonly name: string
  readonly open: () => Promise<Backend>
  readonly classes: readonly SloClass[]
  readonly callOf: (request: TraceRequest, index: number) => CallOptions
  readonly policies: Readonly<Record<string, () => Plugin[]>>
  readonly ramp: GeneratedWorkload
  readonly workloads: Readonly<Record<string, GeneratedWorkload>>
  readonly fit: (driven: Driven) => Fitted
}

type Out = (line: string) => void

export async function real({ out, json, readme = false }: { out: Out; json?: string; readme?: boolean }): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flyball-goodput-'))
  try {
    const reports = [await measure(batchedFunction(), out), await measure(await nativeEngine(await modelIn(folder), out), out)]
    const rows = reports.flatMap((report) => report.rows)
    out(`\n${'backend'.padEnd(10)}${'workload'.padEnd(10)}${'policy'.padEnd(28)}  real  simulated  offered`)
    for (const row of rows) out(`${row.backend.padEnd(10)}${row.workload.padEnd(10)}${row.policy.padEnd(28)}  ${row.real.toFixed(3)}  ${row.simulated.toFixed(3)}      ${row.offered}`)
    const differences = rows.map((row) => Math.abs(row.real - row.simulated))
    const ratios = { realVsSimulatedMean: mean(differences), realVsSimulatedWorst: Math.max(...differences) }
    out(`real − simulated: ${ratios.realVsSimulatedMean.toFixed(3)} on average, ${ratios.realVsSimulatedWorst.toFixed(3)} at most`)
    if (readme) await writeFigures('real', `${tableOf(['backend', 'load', 'policy', 'real', 'simulated'], rows.map((row) => [row.backend, row.workload, row.policy, row.real.toFixed(3), row.simulated.toFixed(3)]))}\n\nReal − simulated: ${ratios.realVsSimulatedMean.toFixed(3)} on average, ${ratios.realVsSimulatedWorst.toFixed(3)} at most. ${reports.map((report) => report.note).join('; ')}.`)
    if (json !== undefined) await writeFile(json, `${JSON.stringify({ name: 'goodput-real', ratios, reports }, null, 1)}\n`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function measure(served: Served, out: Out): Promise<{ rows: RealRow[]; fitted: Fitted; note: string }> {
  const run = async (made: GeneratedWorkload, plugins: Plugin[]): Promise<Driven> => drive({ ...served, backend: await served.open(), requests: made.requests, plugins })
  const fitted = served.fit(await run(served.ramp, []))
  out(`${served.name}: plant fitted to ${fitted.quality.points} points of the ramp, median error ${(fitted.quality.medianError * 100).toFixed(1)}%: ${JSON.stringify(fitted.plant)}`)
  const rows: RealRow[] = []
  const busy: number[] = []
  for (const [workload, made] of Object.entries(served.workloads)) {
    for (const [policy, plugins] of Object.entries(served.policies)) {
      const before = performance.eventLoopUtilization()
      const { goodput } = await run(made, plugins())
      busy.push(performance.eventLoopUtilization(before).utilization)
      const simulated = await simulate({ ...made, plant: fitted.plant, classes: served.classes, plugins: plugins(), seed: 1, client: { retries: 0 } })
      rows.push({ backend: served.name, workload, policy, offered: made.requests.length, real: goodput, simulated: simulated.goodput })
    }
  }
  const note = `${served.name}: median error of the fit to its own run ${(fitted.quality.medianError * 100).toFixed(1)}%, event loop (which sends the calls as well) busy at most ${(Math.max(...busy) * 100).toFixed(0)}%`
  out(note)
  return { rows, fitted, note }
}

const phase = (mix: readonly Mix[]) => (name: string, durationS: number, perS: WorkloadPhase['perS']): WorkloadPhase => ({ name, durationS, perS, mix })
/** From nothing to this much. */
const rampTo = (perS: number, durationS: number) => (atS: number): number => (perS * atS) / durationS

/** Sub-linear, with a step at 12 items: none of the plants that controllers were tuned on looks like this. */
const curveMs = (items: number): number => 25 + 9 * items ** 0.85 + (items > 12 ? 30 : 0)
const MAX_BATCH = 64

function batchedFunction(): Served {
  const during = phase([{ share: 1, work: 1 }])
  return {
    name: 'function',
    open: () => Promise.resolve(batchFunctionBackend('function', async (items: readonly unknown[]) => {
      await wait(curveMs(items.length))
      return items.map(() => 1)
    }, { maxBatch: MAX_BATCH })),
    classes: [{ name: 'interactive', priority: 0, startMs: 250, e2eMs: 400, quantile: 0.95 }],
    callOf: () => ({ operation: 'function', model: 'function', cacheKey: null, input: 1, work: 1, stream: false }),
    policies: { flyball: () => [throttle(), priority(), batching()], 'static batch 8, queue 32': () => [fixed({ batch: 8, queue: 32 })], 'static batch 32, queue 32': () => [fixed({ batch: 32, queue: 32 })], 'no control': () => [] },
    ramp: generate([during('ramp', 15, rampTo(250, 15))], 1),
    workloads: { steps: generate([during('steady', 6, 60), during('overload', 6, 240), during('after', 6, 60)], 2) },
    fit: ({ batches }) => fitBatchServer(batches, { name: 'function', slots: 1, maxBatch: MAX_BATCH }),
  }
}

/** A real model when one is named; else one that costs what a model of 33.6M parameters costs and says noise. */
async function modelIn(folder: string): Promise<string> {
  const named = process.env['FLYBALL_BENCH_MODEL']
  if (named !== undefined) return named
  const [wide, narrow] = [join(folder, 'random-f32.gguf'), join(folder, 'random-q8_0.gguf')]
  writeRandomModel(wide, SHAPES['34m'], 'F32')
  await runQuantize({ input: wide, output: narrow, type: 'q8_0' })
  return narrow
}

const SEQUENCES = 64
const PROBE_CALLS = 6 * SEQUENCES

async function nativeEngine(model: string, out: Out): Promise<Served> {
  const mix: Mix[] = [{ share: 1, inputTokens: 100, outputTokens: 40, spread: 0.4, stream: true }]
  const open = (): Promise<Backend> => native({ name: 'native', model, modelName: 'model', maxSequences: SEQUENCES })
  const callOf = ({ inputTokens, outputTokens, atMs }: TraceRequest, index: number): CallOptions => {
    // No two prompts begin alike: the engine would not compute what it has kept.
    const canonical = { kind: 'completion', model: 'model', prompts: [tokensOf(inputTokens, 1 + index + Math.round(atMs))], stream: true, includeUsage: true, sampling: { maxTokens: outputTokens, temperature: 0 } } as const
    return { operation: 'completions', model: 'model', cacheKey: null, input: canonical, work: inputTokens + outputTokens, maxOutputTokens: outputTokens, stream: true, canonical: () => canonical as never }
  }
  // What it can do on this machine now, so that the overload is one, and how fast tokens come when it is full.
  const classes = (itlMs: number): SloClass[] => [{ name: 'interactive', priority: 0, ttftMs: 500, itlMs, quantile: 0.95 }]
  const probe = generate([phase(mix)('all at once', 0.01, PROBE_CALLS * 100)], 1)
  const { spanMs, calls } = await drive({ backend: await open(), requests: probe.requests, plugins: [], classes: classes(1_000), callOf })
  const perS = (calls.length * 1_000) / spanMs
  const fullItlMs = median(calls.map(({ firstMs, endMs, outputTokens }) => (endMs - firstMs) / Math.max(1, outputTokens - 1)))
  const itlMs = Number((0.5 * fullItlMs).toPrecision(2))
  out(`native: about ${perS.toFixed(0)} calls/s, ${fullItlMs.toFixed(1)} ms a token with ${SEQUENCES} at once; the target is ${itlMs} ms a token`)
  const during = phase(mix)
  return {
    name: 'native',
    open,
    classes: classes(itlMs),
    callOf,
    policies: { flyball: () => [throttle(), priority()], 'static limit 8, queue 16': () => [fixed({ limit: 8, queue: 16 })], 'static limit 32, queue 16': () => [fixed({ limit: 32, queue: 16 })], 'no control': () => [] },
    ramp: generate([during('ramp', 12, rampTo(1.3 * perS, 12))], 1),
    workloads: {
      steps: generate([during('steady', 6, 0.5 * perS), during('overload', 6, 2 * perS), during('after', 4, 0.5 * perS)], 2),
      bursts: generate([during('bursts', 10, bursts(2 * perS, 0.5, 1))], 3),
    },
    fit: (driven) => fitLlmServer(driven.calls, { name: 'native', maxSequences: SEQUENCES }),
  }
}
