/** Runs logged decisions again: a controller is a pure function, so the same state and input must give the same moves. */
import type { Controller } from './controller.ts'
import type { DecisionRecord } from './decision-log.ts'

export interface ReplayDifference {
  readonly seq: number
  readonly controller: string
  readonly logged: string
  readonly replayed: string
}

export interface Replay {
  /** Decisions that were run again. */
  readonly replayed: number
  /** Without an input (holds, fallbacks, reverts): nothing to run. */
  readonly skipped: number
  readonly differences: readonly ReplayDifference[]
}

/** A controller that is not among `controllers` is skipped. */
export function replayDecisions(records: readonly DecisionRecord[], controllers: readonly Controller[]): Replay {
  const byName = new Map(controllers.map((controller) => [controller.name, controller]))
  const differences: ReplayDifference[] = []
  let replayed = 0
  for (const record of records) {
    const controller = byName.get(record.controller)
    if (!controller || record.input === undefined) continue
    replayed++
    const decision = controller.decide(record.stateBefore, record.input)
    // The log keeps moves that changed something; a wish that was refused or changed nothing is not in it.
    const wishes = new Map(decision.moves.map((wish) => [wish.knob, wish.to]))
    const same = record.moves.every((move) => Object.is(wishes.get(move.knob), move.wish)) && decision.why.reason === record.why.reason
    if (!same) {
      differences.push({ seq: record.seq, controller: record.controller, logged: `${record.why.reason} ${JSON.stringify(record.moves.map(({ knob, wish }) => ({ knob, wish })))}`, replayed: `${decision.why.reason} ${JSON.stringify(decision.moves)}` })
    }
  }
  return { replayed, skipped: records.length - replayed, differences }
}
