/** What a run gave its users: counted per offered request, retries included in the wait, never per attempt. */
import { quantile } from '../signals/signal-window.ts'

export interface QuantileSet {
  readonly p50: number
  readonly p95: number
  readonly p99: number
}

export interface ClassResult {
  readonly offered: number
  readonly met: number
  /** `met` over `offered`. */
  readonly goodput: number
  /** Mean over offered requests of how near each came to its targets, 0-1: cannot be gamed by being just in time. */
  readonly smoothGoodput: number
  /** Of the requests that were handed to a backend, those within the class's `startMs`; undefined without one. */
  readonly startedInTime: number | undefined
  /** From the first arrival, of requests that were answered, ms. */
  readonly ttftMs: QuantileSet
  readonly itlMs: QuantileSet
  readonly e2eMs: QuantileSet
}

export interface PhaseResult {
  readonly name: string
  readonly fromMs: number
  readonly toMs: number
  readonly offered: number
  readonly met: number
  readonly goodput: number
}

/** How one request ended, after its last attempt. */
export interface RequestEnd {
  readonly class: string
  readonly tenant: string
  /** Of the first attempt, ms since the start of the run. */
  readonly arrivedMs: number
  readonly outcome: string
  readonly met: boolean
  readonly metFromFirst: boolean
  readonly smooth: number
  readonly startedInTime: boolean | undefined
  readonly ttftMs: number | undefined
  readonly itlMs: number | undefined
  readonly e2eMs: number | undefined
  readonly work: number
}

interface ClassBooks {
  offered: number
  met: number
  smooth: number
  started: number
  startTargets: number
  readonly ttftMs: number[]
  readonly itlMs: number[]
  readonly e2eMs: number[]
}

/** Rates over time are kept by the second. */
export const BUCKET_MS = 1_000

export class RunMetrics {
  readonly #phases: { readonly name: string; readonly fromMs: number; readonly toMs: number; offered: number; met: number }[]
  readonly #classes = new Map<string, ClassBooks>()
  readonly #tenants = new Map<string, { wanted: number; served: number }>()
  readonly outcomes = new Map<string, number>()
  readonly rejects = new Map<string, number>()
  readonly offeredBySecond: number[] = []
  readonly metBySecond: number[] = []
  readonly smoothBySecond: number[] = []
  offered = 0
  met = 0
  metFromFirst = 0
  smooth = 0
  attempts = 0
  /** Service that counted for a request that met its targets, and all service, ms. */
  usefulMs = 0
  serviceMs = 0
  hits = 0
  staleHits = 0
  readonly hitsByClass = new Map<string, { lookups: number; hits: number; stale: number }>()

  constructor(phases: readonly { name: string; fromMs: number; toMs: number }[] = []) {
    this.#phases = phases.map((phase) => ({ ...phase, offered: 0, met: 0 }))
  }

  reject(reason: string): void {
    this.rejects.set(reason, (this.rejects.get(reason) ?? 0) + 1)
  }

  end(request: RequestEnd): void {
    let books = this.#classes.get(request.class)
    if (!books) this.#classes.set(request.class, (books = { offered: 0, met: 0, smooth: 0, started: 0, startTargets: 0, ttftMs: [], itlMs: [], e2eMs: [] }))
    books.offered++
    this.offered++
    books.smooth += request.smooth
    this.smooth += request.smooth
    if (request.startedInTime !== undefined) {
      books.startTargets++
      if (request.startedInTime) books.started++
    }
    if (request.ttftMs !== undefined) books.ttftMs.push(request.ttftMs)
    if (request.itlMs !== undefined) books.itlMs.push(request.itlMs)
    if (request.e2eMs !== undefined) books.e2eMs.push(request.e2eMs)
    const second = Math.floor(request.arrivedMs / BUCKET_MS)
    while (this.offeredBySecond.length <= second) {
      this.offeredBySecond.push(0)
      this.metBySecond.push(0)
      this.smoothBySecond.push(0)
    }
    this.offeredBySecond[second] = (this.offeredBySecond[second] as number) + 1
    this.smoothBySecond[second] = (this.smoothBySecond[second] as number) + request.smooth
    const phase = this.#phases.find(({ fromMs, toMs }) => request.arrivedMs >= fromMs && request.arrivedMs < toMs)
    if (phase) {
      phase.offered++
      if (request.met) phase.met++
    }
    if (request.met) {
      books.met++
      this.met++
      this.metBySecond[second] = (this.metBySecond[second] as number) + 1
    }
    this.outcomes.set(request.outcome, (this.outcomes.get(request.outcome) ?? 0) + 1)
    let tenant = this.#tenants.get(request.tenant)
    if (!tenant) this.#tenants.set(request.tenant, (tenant = { wanted: 0, served: 0 }))
    tenant.wanted += request.work
    if (request.outcome === 'ok') tenant.served += request.work
  }

  lookup(changeClass: string, hit: boolean, stale: boolean): void {
    let books = this.hitsByClass.get(changeClass)
    if (!books) this.hitsByClass.set(changeClass, (books = { lookups: 0, hits: 0, stale: 0 }))
    books.lookups++
    if (!hit) return
    books.hits++
    this.hits++
    if (!stale) return
    books.stale++
    this.staleHits++
  }

  classes(): Record<string, ClassResult> {
    return Object.fromEntries(
      [...this.#classes].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, books]) => [
        name,
        {
          offered: books.offered,
          met: books.met,
          goodput: ratio(books.met, books.offered),
          smoothGoodput: ratio(books.smooth, books.offered),
          startedInTime: books.startTargets === 0 ? undefined : books.started / books.startTargets,
          ttftMs: quantiles(books.ttftMs),
          itlMs: quantiles(books.itlMs),
          e2eMs: quantiles(books.e2eMs),
        },
      ]),
    )
  }

  phases(): PhaseResult[] {
    return this.#phases.map((phase) => ({ ...phase, goodput: ratio(phase.met, phase.offered) }))
  }

  /** Whole seconds within the range. */
  between(fromMs: number, toMs: number): { offered: number; met: number } {
    let offered = 0
    let met = 0
    const last = Math.min(this.offeredBySecond.length, Math.ceil(toMs / BUCKET_MS))
    for (let second = Math.floor(fromMs / BUCKET_MS); second < last; second++) {
      offered += this.offeredBySecond[second] as number
      met += this.metBySecond[second] as number
    }
    return { offered, met }
  }

  /**
   * Jain's index of what tenants got over what max-min fairness would have given them out of the same total: 1 is fair,
   * 1/n is one tenant with everything. A tenant that asks for more than its share lowers nobody's index by not getting it.
   */
  fairness(): number {
    const tenants = [...this.#tenants.values()].filter((tenant) => tenant.wanted > 0)
    if (tenants.length < 2) return 1
    const total = tenants.reduce((sum, tenant) => sum + tenant.served, 0)
    if (total === 0) return 1
    const level = waterLevel(tenants.map((tenant) => tenant.wanted), total)
    const shares = tenants.map((tenant) => tenant.served / Math.min(tenant.wanted, level))
    const sum = shares.reduce((a, b) => a + b, 0)
    return (sum * sum) / (shares.length * shares.reduce((a, b) => a + b * b, 0))
  }
}

/** The level at which filling every demand up to it uses `total`. */
export function waterLevel(wanted: readonly number[], total: number): number {
  const ascending = [...wanted].sort((a, b) => a - b)
  let left = total
  for (let i = 0; i < ascending.length; i++) {
    const share = left / (ascending.length - i)
    const want = ascending[i] as number
    if (want >= share) return share
    left -= want
  }
  return ascending.at(-1) ?? 0
}

export const ratio = (part: number, whole: number): number => (whole === 0 ? 1 : part / whole)

function quantiles(values: number[]): QuantileSet {
  values.sort((a, b) => a - b)
  return { p50: rounded(quantile(values, 0.5)), p95: rounded(quantile(values, 0.95)), p99: rounded(quantile(values, 0.99)) }
}

/** NaN does not survive JSON: no sample at all is -1. */
const rounded = (ms: number): number => (Number.isNaN(ms) ? -1 : Math.round(ms * 1_000) / 1_000)
