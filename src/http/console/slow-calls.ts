/** The slowest calls of each recent second, with where their time went. Never what was asked or answered. */
import type { Call } from '../../core/call.ts'
import { splitLatency, type LatencySplit } from '../../core/settlement.ts'
import { sloMet } from '../../core/slo-met.ts'

export interface SlowCall {
  /** When it ended, wall-clock ms. */
  readonly t: number
  readonly id: string
  readonly trace: string
  readonly operation: string
  readonly model: string
  readonly class: string
  readonly backend: string
  readonly outcome: string
  readonly reason: string
  readonly met: boolean
  readonly cache: string
  readonly inputTokens: number
  readonly outputTokens: number
  readonly split: LatencySplit
}

export const SLOW_PER_SECOND = 5
/** Seconds kept. */
const KEPT_S = 180

export class SlowCalls {
  readonly #modelLabel: (model: string) => string
  #second: { ms: number; call: Call }[] = []
  #kept: SlowCall[][] = []

  constructor(modelLabel: (model: string) => string) {
    this.#modelLabel = modelLabel
  }

  add(call: Call): void {
    const { settlement } = call
    if (!settlement || settlement.timings.endMs === undefined) return
    const ms = settlement.timings.endMs - settlement.timings.receivedMs
    const second = this.#second
    if (second.length === SLOW_PER_SECOND && ms <= (second.at(-1)?.ms ?? 0)) return
    const at = second.findIndex((other) => other.ms < ms)
    second.splice(at === -1 ? second.length : at, 0, { ms, call })
    if (second.length > SLOW_PER_SECOND) second.length = SLOW_PER_SECOND
  }

  /** Those of the second that ends. */
  roll(wallMs: number): readonly SlowCall[] {
    const calls = this.#second.map(({ call }) => this.#told(call, wallMs))
    this.#second = []
    this.#kept.push(calls)
    if (this.#kept.length > KEPT_S) this.#kept.shift()
    return calls
  }

  recent(): SlowCall[] {
    return this.#kept.flat()
  }

  #told(call: Call, t: number): SlowCall {
    const settlement = call.settlement as NonNullable<Call['settlement']>
    const split = Object.fromEntries(Object.entries(splitLatency(settlement.timings)).map(([part, ms]) => [part, Math.round(ms * 10) / 10])) as unknown as LatencySplit
    return {
      t: Math.round(t),
      id: call.id.slice(0, 8),
      trace: call.span.spanContext().traceId,
      operation: call.operation,
      model: this.#modelLabel(call.model),
      class: call.class,
      backend: String(call.facts.get('backend') ?? ''),
      outcome: settlement.outcome,
      reason: settlement.reason ?? '',
      met: sloMet(call, settlement),
      cache: String(call.facts.get('cache') ?? ''),
      inputTokens: settlement.usage.inputTokens,
      outputTokens: settlement.usage.outputTokens,
      split,
    }
  }
}
