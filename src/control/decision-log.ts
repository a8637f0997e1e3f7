/** What the loops decided and what came of it: a bounded ring, and listeners for those who keep more. */
import type { Scope } from '../core/scope.ts'
import type { ControllerInput, Why } from './controller.ts'

export type Mode = 'learn' | 'active' | 'hold' | 'fallback'
export const MODES: readonly Mode[] = ['learn', 'active', 'hold', 'fallback']

export interface Move {
  readonly knob: string
  readonly key: string
  readonly from: number
  readonly to: number
  /** What the controller asked for before bounds and slew. */
  readonly wish: number
  readonly bound?: string
  /** Why nothing changed, when it did not. */
  readonly refused?: string
}

export interface DecisionOutcome {
  /** SLO attainment per offered call before and after, 0-1. */
  readonly attainmentBefore: number
  readonly attainmentAfter: number
  readonly samplesBefore: number
  readonly samplesAfter: number
  readonly comparableLoad: boolean
  readonly verdict: 'better' | 'same' | 'worse' | 'unknown'
  readonly reverted: boolean
}

export interface DecisionRecord {
  readonly seq: number
  readonly monoMs: number
  readonly wallMs: number
  readonly controller: string
  readonly scope: Scope
  readonly mode: Mode
  /** Nothing was turned: this is what would have been. */
  readonly dry: boolean
  readonly moves: readonly Move[]
  readonly why: Why
  readonly predicted?: number
  /** With `stateBefore`, everything that `decide` was given: running it again gives the same moves. */
  readonly input?: ControllerInput
  readonly stateBefore?: unknown
  outcome?: DecisionOutcome
}

export type DecisionListener = (record: DecisionRecord) => void

export class DecisionLog {
  readonly #capacity: number
  readonly #ring: DecisionRecord[] = []
  readonly #listeners = new Set<DecisionListener>()
  #seq = 0

  constructor(capacity = 1_000) {
    this.#capacity = capacity
  }

  append(record: Omit<DecisionRecord, 'seq'>): DecisionRecord {
    const full: DecisionRecord = { seq: ++this.#seq, ...record }
    this.#ring.push(full)
    if (this.#ring.length > this.#capacity) this.#ring.shift()
    for (const listener of this.#listeners) listener(full)
    return full
  }

  /** Newest first. */
  recent(limit = 100, filter: (record: DecisionRecord) => boolean = () => true): DecisionRecord[] {
    const found: DecisionRecord[] = []
    for (let i = this.#ring.length - 1; i >= 0 && found.length < limit; i--) {
      const record = this.#ring[i] as DecisionRecord
      if (filter(record)) found.push(record)
    }
    return found
  }

  get total(): number {
    return this.#seq
  }

  onDecision(fn: DecisionListener): () => void {
    this.#listeners.add(fn)
    return () => this.#listeners.delete(fn)
  }
}
