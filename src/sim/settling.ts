/** How fast a disturbance is dealt with, and how far knobs shoot past where they end. */
import { BUCKET_MS, type RunMetrics } from './run-metrics.ts'

export type KnobHistory = readonly { readonly atMs: number; readonly value: number }[]

export interface Settling {
  /** The phase that began with the disturbance. */
  readonly phase: string
  /** From its start until goodput stays within 5% of what the phase ends with, s; undefined: it never does. */
  readonly settledS: number | undefined
  /** By knob: how far it went past its value at the phase's end, as a share of that value. */
  readonly overshoot: Readonly<Record<string, number>>
}

/** Goodput is judged over windows of so many seconds. */
const WINDOW = 5
const BAND = 0.05
/** The last part of a phase says where it ends. */
const TAIL_SHARE = 0.3

export function settle(phases: readonly { name: string; fromMs: number; toMs: number }[], metrics: RunMetrics, knobs: Readonly<Record<string, KnobHistory>>): Settling[] {
  return phases.map(({ name, fromMs, toMs }) => ({
    phase: name,
    settledS: settledS(metrics, Math.floor(fromMs / BUCKET_MS), Math.ceil(toMs / BUCKET_MS)),
    overshoot: Object.fromEntries(
      Object.entries(knobs).flatMap(([knob, history]) => {
        const past = overshoot(history, fromMs, toMs)
        return past === undefined ? [] : [[knob, past] as const]
      }),
    ),
  }))
}

function settledS(metrics: RunMetrics, from: number, to: number): number | undefined {
  const goodput = (first: number, last: number): number => {
    const { offered, met } = metrics.between(first * BUCKET_MS, last * BUCKET_MS)
    return offered === 0 ? 1 : met / offered
  }
  if (to - from < 2 * WINDOW) return undefined
  const end = goodput(to - Math.max(WINDOW, Math.floor((to - from) * TAIL_SHARE)), to)
  let settled = from
  for (let second = from; second + WINDOW <= to; second++) if (Math.abs(goodput(second, second + WINDOW) - end) > BAND) settled = second + 1
  return settled + WINDOW > to ? undefined : settled - from
}

export function valueAt(history: KnobHistory, atMs: number): number {
  let value = history[0]?.value ?? Number.NaN
  for (const move of history) {
    if (move.atMs > atMs) break
    value = move.value
  }
  return value
}

/** Undefined: it did not move in this phase. */
function overshoot(history: KnobHistory, fromMs: number, toMs: number): number | undefined {
  const inside = history.filter((move) => move.atMs > fromMs && move.atMs <= toMs)
  if (inside.length === 0) return undefined
  const before = valueAt(history, fromMs)
  const end = valueAt(history, toMs)
  const values = inside.map((move) => move.value)
  const past = end >= before ? Math.max(...values) - end : end - Math.min(...values)
  return Math.round((1_000 * Math.max(0, past)) / Math.max(1e-9, Math.abs(end))) / 1_000
}
