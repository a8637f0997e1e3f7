/**
 * The same question in real time, smaller: a batched function backend whose cost curve no tuning has seen, and the native
 * engine. Each is run, its plant is fitted to what was seen, and the simulator is asked what it would have said.
 */
import { writeFile } from 'node:fs/promises'
import { batching, native, priority, throttle } from '../../plugins/builtin.ts'
import { fixed } from '../../plugins/rivals/index.ts'
import { createGovernor, systemClock, type Backend, type Plugin, type SloClass } from '../../src/index.ts'
import { fitBatchServer, fitLlmServer, type Fitted, type StreamPoint } from '../../src/sim/fit.ts'
import { simulate } from '../../src/sim/simulate.ts'
import { generate, type GeneratedWorkload } from '../../src/sim/workload/workload.ts'
import { batchFunctionBackend } from '../../src/core/function-backend.ts'

interface RealRow {
  readonly backend: string
  readonly policy: string
  readonly real: number
  readonly simulated: number
  readonly offered: number
}

interface Observation {
  readonly work: number
  readonly ms: number
  seenMs?: number
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms))

/** Sub-linear, with a step at 12 items: none of the plants that controllers were tuned on looks like this. */
const curveMs = (items: number): number => 25 + 9 * items ** 0.85 + (items > 12 ? 30 : 0)

export async function real({ out, json }: { out: (line: string) => void; json?: string }): Promise<void> {
  const rows: RealRow[] = []
  const classes: SloClass[] = [{ name: 'interactive', priority: 0, startMs: 250, e2eMs: 400, quantile: 0.95 }]
  const made = generate(
    [
      { name: 'steady', durationS: 12, perS: 60, mix: [{ share: 1, work: 1 }] },
      { name: 'overload', durationS: 10, perS: 240, mix: [{ share: 1, work: 1 }] },
      { name: 'after', durationS: 10, perS: 60, mix: [{ share: 1, work: 1 }] },
    ],
    1,
  )
  const policies: Record<string, () => Plugin[]> = {
    flyball: () => [throttle(), priority(), batching()],
    'static batch 8, queue 32': () => [fixed({ batch: 8, queue: 32 })],
    'static batch 32, queue 32': () => [fixed({ batch: 32, queue: 32 })],
    'no control': () => [],
  }
  const seen: Observation[] = []
  const results: { policy: string; goodput: number; offered: number }[] = []
  for (const [policy, make] of Object.entries(policies)) {
    const runs: Observation[] = []
    const backend = batchFunctionBackend('function', async (items: readonly unknown[]) => {
      const from = systemClock.monoMs()
      await wait(curveMs(items.length))
      runs.push({ work: items.length, ms: systemClock.monoMs() - from })
      return items.map(() => 1)
    }, { maxBatch: 64 })
    results.push({ policy, ...(await drive(backend, made, make(), classes, () => ({ input: 1, work: 1, stream: false }), { onRuns: (seenMs) => runs.forEach((run, i) => { if (seenMs[i] !== undefined) run.seenMs = seenMs[i] }) })) })
    seen.push(...runs)
  }
  const fitted: Fitted = fitBatchServer(seen, { name: 'function', slots: 1, maxBatch: 64 })
  out(`batched function: plant fitted to ${fitted.quality.points} batches, median error ${(fitted.quality.medianError * 100).toFixed(1)}%: ${JSON.stringify(fitted.plant)}`)
  for (const { policy, goodput, offered } of results) {
    const simulated = await simulate({ ...made, plant: fitted.plant, classes, plugins: (policies[policy] as () => Plugin[])(), seed: 1, client: { retries: 0 } })
    rows.push({ backend: 'function', policy, real: goodput, simulated: simulated.goodput, offered })
  }
  const model = process.env['FLYBALL_BENCH_MODEL'] ?? '../shared/data/models/stories260K-q8_0.gguf'
  try {
    rows.push(...(await nativeRows(model, out)))
  } catch (error) {
    out(`native engine: skipped (${(error as Error).message.split('\n')[0]})`)
  }
  out(`\n${'backend'.padEnd(12)}${'policy'.padEnd(30)} real    simulated  offered`)
  for (const row of rows) out(`${row.backend.padEnd(12)}${row.policy.padEnd(30)} ${row.real.toFixed(3)}   ${row.simulated.toFixed(3)}      ${row.offered}`)
  if (json !== undefined) await writeFile(json, `${JSON.stringify({ name: 'goodput-real', rows, fitted }, null, 1)}\n`)
}

const TOKENS = 40

export async function nativeRows(model: string, out: (line: string) => void): Promise<RealRow[]> {
  const classes: SloClass[] = [{ name: 'interactive', priority: 0, ttftMs: 1_000, itlMs: 40, quantile: 0.95 }]
  const mix = [{ share: 1, inputTokens: 8, outputTokens: TOKENS, stream: true }]
  const request = (): { input: unknown; work: number; stream: boolean; operation: string; canonical: () => never } => {
    const canonical = { kind: 'completion', model: 'native', prompts: ['Once upon a time'], stream: true, includeUsage: true, sampling: { maxTokens: TOKENS, temperature: 0 } }
    return { input: canonical, work: TOKENS + 8, stream: true, operation: 'completions', canonical: () => canonical as never }
  }
  // What it can do on this machine now, so that the overload is one.
  const probe = generate([{ name: 'all at once', durationS: 0.2, perS: 600, mix }], 1)
  const probeMs = systemClock.monoMs()
  await drive(await native({ name: 'native', model } as Parameters<typeof native>[0]), probe, [], classes, request)
  const capacityPerS = probe.requests.length / ((systemClock.monoMs() - probeMs) / 1_000)
  out(`native engine: about ${capacityPerS.toFixed(0)} calls/s; offered 0.5, then 2.5 times as many`)
  const made = generate([{ name: 'steady', durationS: 10, perS: 0.5 * capacityPerS, mix }, { name: 'overload', durationS: 10, perS: 2.5 * capacityPerS, mix }], 2)
  const policies: Record<string, () => Plugin[]> = { flyball: () => [throttle(), priority()], 'static limit 8, queue 16': () => [fixed({ limit: 8, queue: 16 })], 'no control': () => [] }
  // Without control most calls wait inside the engine: their number says nothing about what runs together.
  const points: StreamPoint[] = []
  const results: { policy: string; goodput: number; offered: number }[] = []
  for (const [policy, make] of Object.entries(policies)) {
    const backend = await native({ name: 'native', model } as Parameters<typeof native>[0])
    results.push({ policy, ...(await drive(backend, made, make(), classes, request, { onPoint: (point) => { if (policy !== 'no control') points.push(point) } })) })
  }
  const { plant, quality } = fitLlmServer(points, { name: 'native' })
  out(`native engine: plant fitted to ${quality.points} calls, median ITL error ${(quality.medianError * 100).toFixed(1)}%: ${JSON.stringify(plant)}`)
  const rows: RealRow[] = []
  for (const { policy, goodput, offered } of results) {
    const simulated = await simulate({ ...made, plant, classes, plugins: (policies[policy] as () => Plugin[])(), seed: 1, client: { retries: 0 } })
    rows.push({ backend: 'native', policy, real: goodput, simulated: simulated.goodput, offered })
  }
  return rows
}

/** Open loop against the running backend. */
async function drive(
  backend: Backend,
  made: GeneratedWorkload,
  plugins: Plugin[],
  classes: readonly SloClass[],
  request: () => object,
  { onPoint, onRuns }: { onPoint?: (point: StreamPoint) => void; onRuns?: (seenMs: readonly number[]) => void } = {},
): Promise<{ goodput: number; offered: number }> {
  const governor = createGovernor({ backends: [backend], plugins, classes, env: {} })
  await governor.start()
  const model = Array.isArray(backend.models) ? (backend.models[0] as string) : backend.name
  /** By the moment of dispatch: until the last call of the run had settled. One slot, so the order is that of the runs. */
  const seenMs = new Map<number, number>()
  governor.onCallSettled(({ settlement }) => {
    const { dispatchedMs, endMs } = settlement?.timings ?? {}
    if (dispatchedMs !== undefined && endMs !== undefined) seenMs.set(dispatchedMs, Math.max(seenMs.get(dispatchedMs) ?? 0, endMs - dispatchedMs))
  })
  const startMs = systemClock.monoMs()
  let met = 0
  let failure: unknown
  const { sloMet } = await import('../../src/core/slo-met.ts')
  await Promise.all(
    made.requests.map(async (one) => {
      await wait(Math.max(0, startMs + one.atMs - systemClock.monoMs()))
      const call = governor.call({ operation: 'function', model, cacheKey: null, ...request() } as Parameters<typeof governor.call>[0])
      const concurrency = governor.lane(backend.name).inFlight + 1
      try {
        const reply = await governor.send(call)
        for await (const _ of reply.body) void _
      } catch (error) {
        failure ??= error
      }
      if (call.settlement && sloMet(call, call.settlement)) met++
      const { dispatchedMs, firstTokenMs, endMs } = call.timings
      if (onPoint && call.settlement?.outcome === 'ok' && dispatchedMs !== undefined && firstTokenMs !== undefined && endMs !== undefined) {
        onPoint({ inputTokens: call.usage.inputTokens, outputTokens: call.usage.outputTokens, ttftMs: firstTokenMs - dispatchedMs, decodeMs: endMs - firstTokenMs, concurrency })
      }
    }),
  )
  await governor.close()
  onRuns?.([...seenMs].sort(([a], [b]) => a - b).map(([, ms]) => ms))
  if (met === 0 && failure !== undefined) throw failure instanceof Error ? failure : new Error(String(failure))
  return { goodput: met / made.requests.length, offered: made.requests.length }
}
