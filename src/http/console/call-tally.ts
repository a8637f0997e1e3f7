/** What settled in this second, and how long it took, for all calls and by class and backend. Fed at each settlement. */
import type { Call } from '../../core/call.ts'
import { sloMet } from '../../core/slo-met.ts'
import { splitLatency } from '../../core/settlement.ts'
import { LatencyWindow } from './latency-window.ts'
import type { SeriesTable } from './series-table.ts'

/** Quantiles cover this many seconds: one second at a few calls per second would only show chance. */
export const QUANTILE_WINDOW_S = 10
/** Classes and backends that are told apart; more share none of their own. */
const MAX_GROUPS = 40
const QUANTILES = [0.5, 0.95, 0.99] as const
const QUANTILE_NAMES = ['p50', 'p95', 'p99'] as const
/** What a cache may note on a call. */
export const CACHE_FACTS = ['hit', 'join', 'stale', 'miss', 'bypass'] as const

class Group {
  readonly name: string
  offered = 0
  met = 0
  shed = 0
  failed = 0
  readonly start = new LatencyWindow(QUANTILE_WINDOW_S)
  readonly ttft = new LatencyWindow(QUANTILE_WINDOW_S)
  readonly itl = new LatencyWindow(QUANTILE_WINDOW_S)
  readonly e2e = new LatencyWindow(QUANTILE_WINDOW_S)

  constructor(name: string) {
    this.name = name
  }

  write(series: SeriesTable): void {
    series.set(`calls|offered|${this.name}`, this.offered)
    series.set(`calls|met|${this.name}`, this.met)
    series.set(`calls|shed|${this.name}`, this.shed)
    series.set(`calls|failed|${this.name}`, this.failed)
    for (const metric of ['start', 'ttft', 'itl', 'e2e'] as const) {
      const values = this[metric].quantiles(QUANTILES)
      QUANTILE_NAMES.forEach((quantile, i) => series.set(`latency|${metric}|${quantile}|${this.name}`, values[i]))
      this[metric].roll()
    }
    this.offered = this.met = this.shed = this.failed = 0
  }
}

export class CallTally {
  readonly #groups = new Map<string, Group>()
  readonly #all = this.#group('all') as Group
  readonly #cache = new Map<string, number>()
  #cancelled = 0

  #group(name: string): Group | undefined {
    let group = this.#groups.get(name)
    if (!group && this.#groups.size < MAX_GROUPS) {
      group = new Group(name)
      this.#groups.set(name, group)
    }
    return group
  }

  add(call: Call): void {
    const { settlement } = call
    if (!settlement) return
    const cache = call.facts.get('cache')
    if (typeof cache === 'string' && (CACHE_FACTS as readonly string[]).includes(cache)) this.#cache.set(cache, (this.#cache.get(cache) ?? 0) + 1)
    // A caller who went away was neither served nor failed: as everywhere, such calls do not count as offered.
    if (settlement.outcome === 'cancelled') return void this.#cancelled++
    const met = sloMet(call, settlement)
    const backend = call.facts.get('backend')
    this.#count(this.#all, call, met)
    this.#count(this.#group(`class=${call.class}`), call, met)
    if (typeof backend === 'string') this.#count(this.#group(`backend=${backend}`), call, met)
  }

  #count(group: Group | undefined, call: Call, met: boolean): void {
    const { settlement } = call
    if (!group || !settlement) return
    group.offered++
    if (met) group.met++
    const { outcome, timings, usage } = settlement
    if (outcome === 'shed' || outcome === 'expired') group.shed++
    else if (outcome === 'error') group.failed++
    if (outcome !== 'ok' || timings.endMs === undefined) return
    group.e2e.add(timings.endMs - timings.receivedMs)
    // As in `sloMet`: a call that needed no backend started when it ended.
    group.start.add((timings.dispatchedMs ?? timings.firstTokenMs ?? timings.endMs) - timings.receivedMs)
    if (timings.firstTokenMs === undefined) return
    group.ttft.add(timings.firstTokenMs - timings.receivedMs)
    if (call.stream && usage.outputTokens > 1) group.itl.add(splitLatency(timings).decodeMs / (usage.outputTokens - 1))
  }

  /** Writes the second that ends and begins the next. */
  write(series: SeriesTable): void {
    for (const group of this.#groups.values()) group.write(series)
    series.set('calls|cancelled|all', this.#cancelled)
    this.#cancelled = 0
    for (const fact of this.#cache.keys()) {
      series.set(`cache|${fact}`, this.#cache.get(fact))
      this.#cache.set(fact, 0)
    }
  }
}
