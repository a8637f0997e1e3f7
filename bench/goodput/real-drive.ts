/** Open loop against a running backend: what callers got, and what the backend was seen to do. */
import { createGovernor, sloMet, systemClock, type Backend, type Call, type Governor, type Plugin, type SloClass } from '../../src/index.ts'
import type { BatchPoint, ServedCall } from '../../src/sim/fit.ts'
import type { TraceRequest } from '../../src/sim/simulated-request.ts'

export type CallOptions = Parameters<Governor['call']>[0]

export interface Drive {
  readonly backend: Backend
  readonly requests: readonly TraceRequest[]
  readonly plugins: readonly Plugin[]
  readonly classes: readonly SloClass[]
  readonly callOf: (request: TraceRequest, index: number) => CallOptions
}

export interface Driven {
  readonly goodput: number
  readonly batches: BatchPoint[]
  readonly calls: ServedCall[]
  readonly spanMs: number
}

export const wait = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms))

/** Throws what went wrong when nothing was answered in time. */
export async function drive({ backend, requests, plugins, classes, callOf }: Drive): Promise<Driven> {
  const governor = createGovernor({ backends: [backend], plugins, classes, env: {} })
  await governor.start()
  const settled: Call[] = []
  let failure: unknown
  const startMs = systemClock.monoMs()
  await Promise.all(
    requests.map(async (request, i) => {
      await wait(Math.max(0, startMs + request.atMs - systemClock.monoMs()))
      const call = governor.call(callOf(request, i))
      settled.push(call)
      try {
        const reply = await governor.send(call)
        for await (const _ of reply.body) void _
      } catch (error) {
        failure ??= error
      }
    }),
  )
  const spanMs = systemClock.monoMs() - startMs
  await governor.close()
  const met = settled.filter((call) => call.settlement && sloMet(call, call.settlement)).length
  if (met === 0 && failure !== undefined) throw failure instanceof Error ? failure : new Error(String(failure))
  return { goodput: met / requests.length, batches: batchesOf(settled), calls: settled.flatMap(servedOf), spanMs }
}

function servedOf({ settlement, timings, usage }: Call): ServedCall[] {
  const { dispatchedMs, firstTokenMs, endMs } = timings
  if (settlement?.outcome !== 'ok' || dispatchedMs === undefined || endMs === undefined) return []
  return [{ startMs: dispatchedMs, firstMs: firstTokenMs ?? endMs, endMs, inputTokens: usage.inputTokens, outputTokens: usage.outputTokens }]
}

/** Of one slot: calls that were sent at one moment were one batch, which lasted until the last of them had its answer. */
function batchesOf(calls: readonly Call[]): BatchPoint[] {
  const batches = new Map<number, { work: number; ms: number }>()
  for (const { work, startMs, endMs } of calls.flatMap((call) => servedOf(call).map((one) => ({ ...one, work: call.work })))) {
    const batch = batches.get(startMs) ?? { work: 0, ms: 0 }
    batches.set(startMs, { work: batch.work + work, ms: Math.max(batch.ms, endMs - startMs) })
  }
  return [...batches.values()]
}
