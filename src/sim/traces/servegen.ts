/**
 * ServeGen: per client, by window of time, a rate and a distribution of gaps (`chunk-N-trace.csv`: start s, rate, CV, name,
 * two parameters) and of lengths (`chunk-N-dataset.json`). Requests are drawn from them; each client is a tenant.
 */
import { exponential, normal, seededRandom, type Random } from '../seeded-random.ts'
import type { TraceRequest } from '../simulated-request.ts'
import { linesOf, shown, TraceError } from './trace-file.ts'
import { tarFiles } from './tar.ts'

interface Window {
  readonly fromS: number
  readonly perS: number
  readonly gapS: (random: Random) => number
}

interface Lengths {
  readonly fromS: number
  readonly input: Sampler
  readonly output: Sampler
}

type Sampler = (random: Random) => number

export interface ServeGenOptions {
  readonly seed: number
  /** Part of the 14 days, s. */
  readonly fromS: number
  readonly durationS: number
  /** Rates are multiplied by this. */
  readonly scale: number
}

/** Lengths of clients that have no data set of their own: log-normal, medians as in public chat traces. */
const DEFAULT_LENGTHS: Lengths = {
  fromS: 0,
  input: (random) => Math.max(1, Math.round(600 * Math.exp(normal(random)))),
  output: (random) => Math.max(1, Math.round(150 * Math.exp(0.8 * normal(random)))),
}

/** Throws a TraceError. */
export function serveGen(tracesFile: string, traces: Buffer, datasetsFile: string | undefined, datasets: Buffer | undefined, options: ServeGenOptions): TraceRequest[] {
  const lengths = new Map<string, Lengths[]>()
  if (datasets && datasetsFile !== undefined) for (const { name, bytes } of tarFiles(datasetsFile, datasets)) {
    const client = /chunk-(\d+)-dataset\.json$/.exec(name)?.[1]
    if (client !== undefined) lengths.set(client, readLengths(`${datasetsFile}/${name}`, bytes))
  }
  const requests: TraceRequest[] = []
  let clients = 0
  for (const { name, bytes } of tarFiles(tracesFile, traces)) {
    const client = /chunk-(\d+)-trace\.csv$/.exec(name)?.[1]
    if (client === undefined) continue
    clients++
    for (const request of draw(client, readWindows(`${tracesFile}/${name}`, bytes), lengths.get(client) ?? [DEFAULT_LENGTHS], options)) requests.push(request)
  }
  if (clients === 0) throw new TraceError(tracesFile, undefined, 'expected files named chunk-N-trace.csv in the archive, got none')
  return requests.sort((a, b) => a.atMs - b.atMs)
}

function readWindows(file: string, bytes: Buffer): Window[] {
  const windows: Window[] = []
  for (const { line, text } of linesOf(bytes)) {
    const fields = text.split(',')
    if (fields.length < 4) throw new TraceError(file, line, `expected start, rate, CV and distribution, got ${shown(text)}`)
    const [fromS = Number.NaN, perS = Number.NaN] = fields.slice(0, 2).map(Number)
    const [a = Number.NaN, b = Number.NaN] = fields.slice(4, 6).map(Number)
    if (!(fromS >= 0) || !(perS >= 0)) throw new TraceError(file, line, `expected a start and a rate of at least 0, got ${shown(text)}`)
    if (fromS < (windows.at(-1)?.fromS ?? 0)) throw new TraceError(file, line, `expected windows in order, got ${fromS} after ${windows.at(-1)?.fromS}`)
    const kind = fields[3] as string
    if (perS > 0 && kind !== 'Gamma' && kind !== 'Weibull' && kind !== 'Exponential' && kind !== 'Poisson') throw new TraceError(file, line, `expected a distribution of Gamma, Weibull or Exponential, got ${shown(kind)}`)
    // Only the shape is taken from the parameters: the rate column says how often.
    const gapS = (random: Random): number => {
      if (kind === 'Gamma' && a > 0 && b > 0) return gamma(random, a) / a / perS
      if (kind === 'Weibull' && a > 0 && b > 0) return ((-Math.log(1 - random())) ** (1 / a) / gammaFunction(1 + 1 / a)) / perS
      return exponential(random, 1 / perS)
    }
    windows.push({ fromS, perS, gapS })
  }
  return windows
}

/** Keys are window starts in s; values Python dictionaries `{length: probability, …}` in strings. */
function readLengths(file: string, bytes: Buffer): Lengths[] {
  let document: Record<string, { input_tokens?: unknown; output_tokens?: unknown }>
  try {
    document = JSON.parse(bytes.toString('utf8')) as typeof document
  } catch {
    throw new TraceError(file, undefined, 'expected JSON')
  }
  return Object.entries(document)
    .map(([fromS, { input_tokens, output_tokens }]) => ({ fromS: Number(fromS), input: sampler(file, fromS, 'input_tokens', input_tokens), output: sampler(file, fromS, 'output_tokens', output_tokens) }))
    .sort((a, b) => a.fromS - b.fromS)
}

function sampler(file: string, window: string, name: string, value: unknown): Sampler {
  if (typeof value !== 'string' || !/^\{[\d\s:.,e+-]*\}$/i.test(value)) throw new TraceError(file, undefined, `window ${window}: expected ${name} like "{618: 0.003, …}", got ${shown(value)}`)
  const lengths: number[] = []
  const upTo: number[] = []
  let sum = 0
  for (const [, length, share] of value.matchAll(/(\d+):\s*([\d.e+-]+)/gi)) {
    sum += Number(share)
    lengths.push(Number(length))
    upTo.push(sum)
  }
  if (!(sum > 0)) return () => 1
  return (random) => {
    const wanted = random() * sum
    let low = 0
    let high = upTo.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((upTo[middle] as number) < wanted) low = middle + 1
      else high = middle
    }
    return Math.max(1, lengths[low] as number)
  }
}

function* draw(client: string, windows: readonly Window[], lengths: readonly Lengths[], { seed, fromS, durationS, scale }: ServeGenOptions): Generator<TraceRequest> {
  const random = seededRandom(seed ^ Math.imul(Number(client) + 1, 0x9e3779b1))
  const endS = fromS + durationS
  for (const [i, window] of windows.entries()) {
    const windowEndS = Math.min(endS, windows[i + 1]?.fromS ?? window.fromS + 600)
    if (windowEndS <= fromS || window.fromS >= endS || window.perS <= 0) continue
    let atS = Math.max(fromS, window.fromS)
    for (;;) {
      atS += window.gapS(random) / scale
      if (atS >= windowEndS) break
      const of = [...lengths].reverse().find((one) => one.fromS <= atS) ?? (lengths[0] as Lengths)
      yield { atMs: (atS - fromS) * 1_000, inputTokens: of.input(random), outputTokens: of.output(random), tenant: `client-${client}`, stream: true }
    }
  }
}

/** Gamma with this shape and scale 1: Marsaglia and Tsang, 2000. */
export function gamma(random: Random, shape: number): number {
  if (shape < 1) return gamma(random, shape + 1) * random() ** (1 / shape)
  const d = shape - 1 / 3
  const c = 1 / Math.sqrt(9 * d)
  for (;;) {
    const x = normal(random)
    const v = (1 + c * x) ** 3
    if (v > 0 && Math.log(1 - random()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v
  }
}

/** Lanczos, for arguments above 0.5. */
function gammaFunction(x: number): number {
  const g = [676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406, 12.507343278686905, -0.13857109526572012, 9.984369578019572e-6, 1.5056327351493116e-7]
  let sum = 0.9999999999998099
  g.forEach((coefficient, i) => (sum += coefficient / (x + i)))
  const t = x + g.length - 1.5
  return Math.sqrt(2 * Math.PI) * t ** (x - 0.5) * Math.exp(-t) * sum
}
