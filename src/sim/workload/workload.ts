/** Generated arrivals: phases one after another, each with its rate over time and its mix of requests. */
import { exponential, normal, seededRandom, type Random } from '../seeded-random.ts'
import type { Fault } from '../faults.ts'
import type { TraceRequest } from '../simulated-request.ts'

/** Requests of one kind. */
export interface Mix {
  /** Share of arrivals; shares are taken relative to their sum. */
  readonly share: number
  readonly class?: string
  readonly tenant?: string
  /** Medians, and the spread of the logarithm. */
  readonly inputTokens?: number
  readonly outputTokens?: number
  readonly spread?: number
  readonly maxOutputTokens?: number
  readonly stream?: boolean
  /** Cost in the plant's unit; default: tokens. */
  readonly work?: number
  /** This share of callers goes away after a while (exponential with the mean). */
  readonly aborts?: { readonly share: number; readonly afterMs: number }
  /** So many keys, popular ones first (Zipf). */
  readonly keys?: { readonly count: number; readonly zipf: number; readonly changeClass: string }
}

export interface WorkloadPhase {
  readonly name: string
  readonly durationS: number
  /** Arrivals per second, at a moment given in seconds since the phase began. */
  readonly perS: number | ((atS: number) => number)
  readonly mix: readonly Mix[]
  /** Their times count from the start of the phase. */
  readonly faults?: readonly Fault[]
}

export interface GeneratedWorkload {
  readonly requests: TraceRequest[]
  readonly phases: { name: string; fromMs: number; toMs: number }[]
  readonly faults: Fault[]
}

/** The same seed gives the same arrivals, whatever serves them: runs of different policies are paired. */
export function generate(phases: readonly WorkloadPhase[], seed: number): GeneratedWorkload {
  const random = seededRandom(seed)
  const requests: TraceRequest[] = []
  const bounds: { name: string; fromMs: number; toMs: number }[] = []
  const faults: Fault[] = []
  let fromMs = 0
  for (const phase of phases) {
    const toMs = fromMs + phase.durationS * 1_000
    for (const atMs of arrivals(phase, random)) requests.push(requestOf(phase.mix, fromMs + atMs, random))
    for (const fault of phase.faults ?? []) faults.push({ ...fault, atMs: fromMs + fault.atMs })
    bounds.push({ name: phase.name, fromMs, toMs })
    fromMs = toMs
  }
  return { requests, phases: bounds, faults }
}

/** Poisson with a rate that changes: thinning, by Lewis and Shedler. Times in ms since the phase began. */
function* arrivals({ perS, durationS }: WorkloadPhase, random: Random): Generator<number> {
  const rate = typeof perS === 'number' ? () => perS : perS
  let peak = 0
  for (let i = 0; i <= 1_000; i++) peak = Math.max(peak, rate((durationS * i) / 1_000))
  if (peak <= 0) return
  for (let atS = exponential(random, 1 / peak); atS < durationS; atS += exponential(random, 1 / peak)) {
    if (random() * peak < rate(atS)) yield atS * 1_000
  }
}

function requestOf(mix: readonly Mix[], atMs: number, random: Random): TraceRequest {
  const total = mix.reduce((sum, one) => sum + one.share, 0)
  let pick = random() * total
  const of = mix.find((one) => (pick -= one.share) < 0) ?? (mix.at(-1) as Mix)
  // Drawn whether used or not: one mix's needs do not shift another's arrivals.
  const [a, b, c, d] = [normal(random), normal(random), random(), random()]
  const tokens = (median: number | undefined, z: number): number => Math.max(1, Math.round((median ?? 1) * Math.exp((of.spread ?? 0) * z)))
  const outputTokens = tokens(of.outputTokens, b)
  return {
    atMs,
    inputTokens: tokens(of.inputTokens, a),
    outputTokens,
    ...(of.maxOutputTokens === undefined ? {} : { maxOutputTokens: Math.max(of.maxOutputTokens, outputTokens) }),
    ...(of.class === undefined ? {} : { class: of.class }),
    ...(of.tenant === undefined ? {} : { tenant: of.tenant }),
    ...(of.stream === undefined ? {} : { stream: of.stream }),
    ...(of.work === undefined ? {} : { work: of.work }),
    ...(of.aborts && c < of.aborts.share ? { abortAfterMs: -of.aborts.afterMs * Math.log(1 - d) } : {}),
    ...(of.keys ? { key: `${of.keys.changeClass}-${zipf(of.keys.count, of.keys.zipf, d)}`, changeClass: of.keys.changeClass } : {}),
  }
}

/** Rank from 0, by the inverse of the continuous Zipf distribution; `u` uniform in [0, 1). */
export function zipf(count: number, exponent: number, u: number): number {
  if (Math.abs(exponent - 1) < 1e-9) return Math.min(count - 1, Math.floor((count + 1) ** u) - 1)
  const top = (count + 1) ** (1 - exponent)
  return Math.min(count - 1, Math.max(0, Math.floor((1 + u * (top - 1)) ** (1 / (1 - exponent))) - 1))
}

/** A square wave: on for `onS`, off for `offS`. */
export const bursts = (perS: number, onS: number, offS: number) => (atS: number): number => (atS % (onS + offS) < onS ? perS : 0)
/** A day in miniature: from `low` up to `high` and back. */
export const diurnal = (low: number, high: number, periodS: number) => (atS: number): number => low + ((high - low) * (1 - Math.cos((2 * Math.PI * atS) / periodS))) / 2
