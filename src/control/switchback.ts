/**
 * Is governing better than doing nothing? In a small share of time the knobs hold the user's static values and the loops
 * are frozen; the rest of the time the loops govern. What neighbouring blocks got is compared in pairs.
 */
import type { Call } from '../core/call.ts'
import type { Cancel, Clock } from '../core/clock.ts'
import { sloMet } from '../core/slo-met.ts'
import type { KnobRegistry } from '../knobs/registry.ts'
import type { ControlLoop } from './loop.ts'
import { pairedInterval, type Interval } from './paired-uplift.ts'

export interface SwitchbackOptions {
  /** Share of time in the static arm, 0-0.5. Default 0.1. */
  share?: number
  /** Length of one block, ms, washout not counted. Default 60 s. */
  blockMs?: number
  /** After each switch this much is not counted: queues and caches still hold the other arm's work. Default 10 s. */
  washoutMs?: number
  /** End a static block early when its attainment falls this far below the governed one's. Default 0.1. */
  burn?: number
  /** Pairs kept; older ones leave. */
  maxPairs?: number
}

export type Arm = 'governed' | 'static'
type Phase = 'governed' | 'washout' | 'static'

interface Block {
  arm: Arm
  offered: number
  met: number
  durationMs: number
  latencySumMs: number
  /** Calls that went to a backend: what is paid for. */
  paid: number
  startMs: number
}

export interface Uplift {
  readonly phase: Phase
  readonly pairs: number
  /** Static blocks that were cut short because users paid for them. */
  readonly endedEarly: number
  /** All: governed minus static; undefined until there are enough pairs. Here: calls within their SLO per offered call. */
  readonly attainment: Interval | undefined
  /** Calls within their SLO, per second. */
  readonly goodputPerS: Interval | undefined
  /** Mean latency of settled calls, ms; negative is better. */
  readonly latencyMs: Interval | undefined
  /** Calls that reached a backend per offered call; negative is cheaper. */
  readonly cost: Interval | undefined
}

/** A block with fewer calls than this says nothing and is left out with its pair. */
const MIN_CALLS = 20
const EARLY_CHECK_MS = 1_000

export interface SwitchbackParts {
  clock: Clock
  knobs: KnobRegistry
  loop: ControlLoop
  onCallSettled: (fn: (call: Call) => void) => () => void
}

export class Switchback {
  readonly #parts: SwitchbackParts
  readonly #options: Required<SwitchbackOptions>
  readonly #pairs: { governed: Block; static: Block }[] = []
  #phase: Phase = 'governed'
  /** What is being measured now; between blocks nothing is. */
  #block: Block | undefined
  #lastGoverned: Block | undefined
  #endedEarly = 0
  #timers = new Set<Cancel>()
  #unlisten: (() => void) | undefined

  constructor(parts: SwitchbackParts, options: SwitchbackOptions = {}) {
    this.#parts = parts
    this.#options = { share: 0.1, blockMs: 60_000, washoutMs: 10_000, burn: 0.1, maxPairs: 500, ...options }
    const { share, blockMs, washoutMs } = this.#options
    if (!(share > 0 && share <= 0.5)) throw new TypeError(`switchback.share: expected a number in 0..0.5, got ${share}`)
    if (!(blockMs > 0 && washoutMs >= 0)) throw new TypeError('switchback: expected blockMs above 0 and washoutMs of at least 0')
  }

  start(): void {
    if (this.#unlisten) return
    this.#unlisten = this.#parts.onCallSettled((call) => this.#count(call))
    this.#governed()
  }

  stop(): void {
    for (const cancel of this.#timers) cancel()
    this.#timers.clear()
    this.#unlisten?.()
    this.#unlisten = undefined
    if (this.#phase !== 'governed') this.#release()
    this.#phase = 'governed'
    this.#block = undefined
  }

  uplift(): Uplift {
    const over = (value: (block: Block) => number): Interval | undefined => pairedInterval(this.#pairs.map((pair) => value(pair.governed) - value(pair.static)))
    return {
      phase: this.#phase,
      pairs: this.#pairs.length,
      endedEarly: this.#endedEarly,
      attainment: over((block) => block.met / block.offered),
      goodputPerS: over((block) => (block.met * 1_000) / block.durationMs),
      latencyMs: over((block) => block.latencySumMs / block.offered),
      cost: over((block) => block.paid / block.offered),
    }
  }

  /** Governed until a random moment; then one governed block is measured, and a static one right after it. */
  #governed(): void {
    this.#phase = 'governed'
    const { share, blockMs, washoutMs } = this.#options
    const cycleMs = blockMs / share
    const spareMs = Math.max(0, cycleMs - 2 * blockMs - 2 * washoutMs)
    // Random, so that no daily or hourly rhythm of the traffic falls in step with it; on average `spareMs`.
    const waitMs = spareMs * 2 * this.#parts.clock.random()
    this.#after(waitMs, () => {
      this.#block = this.#newBlock('governed')
      this.#after(blockMs, () => {
        this.#lastGoverned = this.#close()
        this.#toStatic()
      })
    })
  }

  #toStatic(): void {
    this.#phase = 'washout'
    this.#parts.loop.freeze(true)
    this.#eachKnob((knob, scope, startValue) => this.#parts.knobs.setExperiment(knob, scope, startValue))
    this.#after(this.#options.washoutMs, () => {
      this.#phase = 'static'
      this.#block = this.#newBlock('static')
      const ends = this.#after(this.#options.blockMs, () => this.#endStatic(false))
      this.#watchBurn(ends)
    })
  }

  /** Users must not pay for our curiosity. */
  #watchBurn(ends: Cancel): void {
    this.#after(EARLY_CHECK_MS, () => {
      if (this.#phase !== 'static') return
      const governed = this.#lastGoverned
      const block = this.#block
      if (governed && block && governed.offered >= MIN_CALLS && block.offered >= MIN_CALLS && block.met / block.offered < governed.met / governed.offered - this.#options.burn) {
        ends()
        return this.#endStatic(true)
      }
      this.#watchBurn(ends)
    })
  }

  #endStatic(early: boolean): void {
    const block = this.#close()
    if (early) this.#endedEarly++
    const governed = this.#lastGoverned
    if (governed && block && governed.offered >= MIN_CALLS && block.offered >= MIN_CALLS) {
      this.#pairs.push({ governed, static: block })
      if (this.#pairs.length > this.#options.maxPairs) this.#pairs.shift()
    }
    this.#lastGoverned = undefined
    this.#phase = 'washout'
    this.#eachKnob((knob, scope) => this.#parts.knobs.setExperiment(knob, scope, undefined))
    this.#after(this.#options.washoutMs, () => {
      this.#release()
      this.#governed()
    })
  }

  #release(): void {
    this.#eachKnob((knob, scope) => this.#parts.knobs.setExperiment(knob, scope, undefined))
    this.#parts.loop.freeze(false)
  }

  #eachKnob(fn: (knob: string, scope: Readonly<Record<string, string>>, startValue: number) => void): void {
    for (const knob of this.#parts.knobs.all()) {
      if (this.#parts.knobs.ownerOf(knob.spec.name) === undefined) continue
      for (const instance of knob.instances()) fn(knob.spec.name, instance.scope as Readonly<Record<string, string>>, this.#parts.knobs.startValue(knob.spec.name, instance.scope))
    }
  }

  #count(call: Call): void {
    const { settlement } = call
    if (!settlement || settlement.outcome === 'cancelled') return
    // A call belongs to the block in which it arrived; one from before the switch belongs to none.
    const block = this.#block
    if (!block || call.timings.receivedMs < block.startMs) return
    block.offered++
    if (sloMet(call, settlement)) block.met++
    block.latencySumMs += (settlement.timings.endMs ?? call.timings.receivedMs) - call.timings.receivedMs
    if (settlement.timings.dispatchedMs !== undefined) block.paid++
  }

  #newBlock(arm: Arm): Block {
    return { arm, offered: 0, met: 0, durationMs: 0, latencySumMs: 0, paid: 0, startMs: this.#parts.clock.monoMs() }
  }

  #close(): Block | undefined {
    const block = this.#block
    this.#block = undefined
    if (block) block.durationMs = Math.max(1, this.#parts.clock.monoMs() - block.startMs)
    return block
  }

  #after(ms: number, fn: () => void): Cancel {
    const cancel = this.#parts.clock.after(ms, () => {
      this.#timers.delete(cancel)
      fn()
    })
    this.#timers.add(cancel)
    return cancel
  }
}
