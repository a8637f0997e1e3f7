/** What the loops did, told for the page: what was seen, why, what was turned, what came of it. A bounded ring. */
import { scopeKey } from '../../core/scope.ts'
import type { DecisionOutcome, DecisionRecord } from '../../control/decision-log.ts'
import type { Governor } from '../../governor-contract.ts'

/** A busy loop moves once a second or so: this is half an hour of it. */
export const MAX_STORIES = 2_000
/** Reviews come within ten minutes, or never. */
const MAX_PENDING = 512

export interface StoryOutcome {
  readonly seq: number
  readonly outcome: DecisionOutcome
}

export class Stories {
  readonly #governor: Governor
  /** Serialised once; a move is told to many. */
  readonly #told: { seq: number; json: string }[] = []
  readonly #outcomes = new Map<number, DecisionOutcome>()
  #pending: DecisionRecord[] = []
  #fresh: string[] = []

  constructor(governor: Governor) {
    this.#governor = governor
    for (const record of governor.decisions.recent(MAX_STORIES).reverse()) this.tell(record)
    this.#fresh = []
  }

  tell(record: DecisionRecord): void {
    const json = JSON.stringify(this.#story(record))
    this.#told.push({ seq: record.seq, json })
    if (this.#told.length > MAX_STORIES) this.#outcomes.delete((this.#told.shift() as { seq: number }).seq)
    this.#fresh.push(json)
    if (this.#fresh.length > MAX_STORIES) this.#fresh.shift()
    if (record.outcome) this.#outcomes.set(record.seq, record.outcome)
    else if (!record.dry && record.moves.length > 0) {
      this.#pending.push(record)
      if (this.#pending.length > MAX_PENDING) this.#pending.shift()
    }
  }

  /** Told since the last roll, as JSON, and reviews that came in. */
  roll(): { stories: readonly string[]; outcomes: readonly StoryOutcome[] } {
    const stories = this.#fresh
    this.#fresh = []
    const outcomes: StoryOutcome[] = []
    this.#pending = this.#pending.filter((record) => {
      if (!record.outcome) return true
      this.#outcomes.set(record.seq, record.outcome)
      outcomes.push({ seq: record.seq, outcome: record.outcome })
      return false
    })
    return { stories, outcomes }
  }

  /** Everything kept, oldest first. */
  all(): { stories: readonly string[]; outcomes: readonly StoryOutcome[] } {
    return { stories: this.#told.map(({ json }) => json), outcomes: [...this.#outcomes].map(([seq, outcome]) => ({ seq, outcome })) }
  }

  #story(record: DecisionRecord): unknown {
    const controller = this.#governor.loop.controllers.find(({ name }) => name === record.controller)
    const { input } = record
    return {
      seq: record.seq,
      t: Math.round(record.wallMs),
      loop: `${record.controller}{${scopeKey(record.scope, controller?.scope ?? [])}}`,
      controller: record.controller,
      mode: record.mode,
      dry: record.dry,
      reason: record.why.reason,
      numbers: record.why.numbers,
      ...(record.predicted === undefined ? {} : { predicted: record.predicted }),
      moves: record.moves,
      ...(input === undefined || controller === undefined
        ? {}
        : {
            facts: input.facts,
            signals: Object.entries(input.readings).map(([name, { status, value, samples, ageMs }]) => {
              const signal = controller.reads[name]?.signal ?? name
              const { unit, doc } = this.#governor.signals.get(signal).spec
              return { signal, unit, doc, status, value: value ?? null, samples, ageMs: Number.isFinite(ageMs) ? Math.round(ageMs) : null }
            }),
          }),
    }
  }
}
