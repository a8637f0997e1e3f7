/** The story of a time range, from the decision log, in sentences. */
import type { Reading } from '../signals/signal-spec.ts'
import type { Reason } from './controller.ts'
import type { DecisionRecord, Move } from './decision-log.ts'

const SENTENCES: Readonly<Record<Reason, string>> = {
  learning: 'not enough was known yet',
  steady: 'nothing had to change',
  slo_headroom: 'latency left room under the target, and the limit was in use',
  slo_exceeded: 'latency was over the target',
  upstream_rejects: 'the backend turned calls away or timed out',
  demand_above_limit: 'more was asked for than the setting let through',
  app_limited: 'the setting was not in use: raising it would tell nothing',
  work_conserving: 'more at once still got more done',
  curve_changed: 'the backend’s cost curve is no longer what it was',
  stale_budget_exceeded: 'answers change faster than the time to live allows',
  stale_budget_spare: 'answers change more slowly than the time to live assumes',
  not_worth_it: 'it cost more than it brought',
  utilisation_high: 'the backend was too busy',
  utilisation_low: 'the backend had room',
  memory_envelope: 'larger batches would not fit the backend’s memory',
  probe: 'a small step, to see which way is up',
  revert: 'the move before had made things worse',
  signals_stale: 'nothing was measured any more',
  signals_back: 'measurements came back',
  operator: 'the operator said so',
  custom: 'for a reason of its own',
}

export interface ExplainOptions {
  /** Bounds on the records' wall clock, ms. */
  readonly fromMs?: number
  readonly toMs?: number
  readonly controller?: string
}

/** One paragraph a decision, oldest first, and what it adds up to. */
export function explain(records: readonly DecisionRecord[], options: ExplainOptions = {}): string {
  const { fromMs = Number.NEGATIVE_INFINITY, toMs = Number.POSITIVE_INFINITY, controller } = options
  const chosen = records.filter((record) => record.wallMs >= fromMs && record.wallMs <= toMs && (controller === undefined || record.controller === controller))
  if (chosen.length === 0) return 'No decision was logged in this range.'
  const first = chosen[0] as DecisionRecord
  const last = chosen.at(-1) as DecisionRecord
  return [`${chosen.length} decisions from ${timeOf(first)} to ${timeOf(last)}.`, '', ...chosen.map(paragraph), '', ...summary(chosen)].join('\n')
}

const timeOf = (record: DecisionRecord): string => new Date(record.wallMs).toISOString().replace('T', ' ').slice(0, 23)

function paragraph(record: DecisionRecord): string {
  const scope = Object.values(record.scope).join('/')
  const who = `${timeOf(record).slice(11)}  #${record.seq} ${record.controller}${scope === '' ? '' : ` (${scope})`}`
  const did = record.moves.length === 0 ? `changed nothing, and is in ${record.mode}` : record.moves.map(sentence).join(', ')
  const lines = [`${who}${record.dry ? ' would have' : ''} ${did}: ${SENTENCES[record.why.reason] ?? record.why.reason}.`]
  const numbers = Object.entries(record.why.numbers)
  if (numbers.length > 0) lines.push(`    model: ${numbers.map(([name, value]) => `${name} ${short(value)}`).join(', ')}${record.predicted === undefined ? '' : `; expected ${short(record.predicted)}`}`)
  const readings = Object.entries(record.input?.readings ?? {}).filter(([, reading]) => reading.value !== undefined)
  if (readings.length > 0) lines.push(`    signals: ${readings.map(([name, reading]) => signalOf(name, reading)).join(', ')}`)
  const { outcome } = record
  if (outcome) {
    const of = (share: number, samples: number): string => `${(share * 100).toFixed(1)}% of ${samples} calls`
    lines.push(`    came of it: ${outcome.verdict}; within targets ${of(outcome.attainmentBefore, outcome.samplesBefore)} before, ${of(outcome.attainmentAfter, outcome.samplesAfter)} after${outcome.comparableLoad ? '' : ', at another load'}${outcome.reverted ? '; taken back' : ''}`)
  }
  return lines.join('\n')
}

const sentence = (move: Move): string => `${move.to >= move.from ? 'raised' : 'cut'} ${move.knob} ${short(move.from)} → ${short(move.to)}${move.bound ? ` (asked for ${short(move.wish)}, stopped by ${move.bound})` : ''}`
const signalOf = (name: string, reading: Reading): string => `${name} ${short(reading.value as number)} (${reading.samples} samples, ${Number.isFinite(reading.ageMs) ? `${Math.round(reading.ageMs)} ms old` : 'none yet'}${reading.status === 'fresh' ? '' : `, ${reading.status}`})`

/** Three significant digits, without trailing noise. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  return String(Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(3)))
}

function summary(records: readonly DecisionRecord[]): string[] {
  const knobs = new Map<string, { first: number; last: number; moves: number; min: number; max: number }>()
  for (const move of records.filter((record) => !record.dry).flatMap((record) => record.moves)) {
    const key = move.key === '' ? move.knob : `${move.knob}{${move.key}}`
    const known = knobs.get(key) ?? { first: move.from, last: move.to, moves: 0, min: move.from, max: move.from }
    knobs.set(key, { first: known.first, last: move.to, moves: known.moves + 1, min: Math.min(known.min, move.to), max: Math.max(known.max, move.to) })
  }
  const reverts = records.filter((record) => record.why.reason === 'revert').length
  const lines = [...knobs].map(([key, one]) => `${key}: ${short(one.first)} → ${short(one.last)} in ${one.moves} moves, between ${short(one.min)} and ${short(one.max)}.`)
  return reverts === 0 ? lines : [...lines, `${reverts} moves were taken back.`]
}
