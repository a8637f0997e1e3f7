/**
 * What tracing costs. Of one governor, whose tracer is switched: between two, even in one process, what the compiler
 * happens to have optimised and the collector to keep differs by more. Modes take turns in many short slices, and each slice
 * is compared with those of its own round.
 */
import { quantile, runLoad, type LoadShape } from './load.ts'
import { startChild, type Child } from './process.ts'

export interface Tracing {
  /** Share of throughput that every span, and every tenth trace, costs at the same CPU. */
  readonly tracingCost: Estimate
  readonly tracingCost10: Estimate
  readonly cpuUsPerRequest: readonly { shape: string; mode: Mode; cpuUs: number }[]
}

export interface Estimate {
  readonly median: number
  /** 95% confidence of the median. */
  readonly low: number
  readonly high: number
  readonly slices: number
}

const MODES = ['untraced', 'sampled10', 'full'] as const
type Mode = (typeof MODES)[number]

/** Every order: a slice also pays for what the one before it has left. */
const ORDERS: readonly (readonly Mode[])[] = MODES.flatMap((first) => MODES.filter((mode) => mode !== first).map((second) => [first, second, MODES.find((mode) => mode !== first && mode !== second) as Mode]))

/** Enough for a compiler to have seen everything; by requests, not by time. */
const WARM_UP_REQUESTS = 3_000

export async function tracing(upstream: string, shapes: readonly LoadShape[], rounds: number, seconds: number): Promise<Tracing> {
  const child = await startChild('candidates/flyball', [upstream])
  try {
    for (const shape of shapes) for (const mode of MODES) for (let requests = 0; requests < WARM_UP_REQUESTS; ) requests += (await slice(child, mode, shape, seconds)).requests
    const spent = new Map(shapes.map((shape) => [shape, { untraced: [], sampled10: [], full: [] } as Record<Mode, number[]>]))
    for (let round = 0; round < rounds; round++) {
      for (const [shape, cpu] of spent) {
        for (const mode of ORDERS[round % ORDERS.length] as readonly Mode[]) cpu[mode].push((await slice(child, mode, shape, seconds)).cpuUs)
      }
    }
    const costOf = (mode: Mode): Estimate => estimate([...spent.values()].flatMap((cpu) => cpu[mode].map((cpuUs, i) => 1 - (cpu.untraced[i] as number) / cpuUs)))
    return {
      tracingCost: costOf('full'),
      tracingCost10: costOf('sampled10'),
      cpuUsPerRequest: [...spent].flatMap(([shape, cpu]) => MODES.map((mode) => ({ shape: shape.name, mode, cpuUs: quantile(cpu[mode], 0.5) }))),
    }
  } finally {
    child.stop()
  }
}

async function slice(child: Child, mode: Mode, shape: LoadShape, seconds: number): Promise<{ requests: number; cpuUs: number }> {
  await child.account()
  const { requests, errors } = await runLoad(`${child.url}/${mode}`, shape, seconds)
  const { cpuUs } = await child.account()
  if (errors > 0) throw new Error(`tracing ${mode} ${shape.name}: ${errors} answers were not 200`)
  return { requests, cpuUs: cpuUs / requests }
}

/** Ranks that a median lies between with 95% confidence, whatever the distribution. */
function estimate(values: readonly number[]): Estimate {
  const sorted = [...values].sort((a, b) => a - b)
  const half = 0.98 * Math.sqrt(sorted.length)
  const at = (rank: number): number => sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(rank)))] ?? Number.NaN
  const middle = (sorted.length - 1) / 2
  return { median: at(middle), low: at(middle - half), high: at(middle + half), slices: sorted.length }
}
