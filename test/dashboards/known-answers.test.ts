/**
 * Panels on numbers that were worked out by hand: promtool runs the shipped query over series whose answer is known. Then
 * each query is broken on purpose in good PromQL (another aggregation, a label less, a matcher less or turned round, another
 * quantile, another window function): every mutant must give another answer. All that a board's variables leave out
 * (another job, instance, model, backend) is in the data, and large.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { stringify } from 'yaml'
import { panelsOf } from '../../dashboards/lint.ts'
import { metricName } from '../../dashboards/naming.ts'
import { SCRAPE_SERIES } from '../../dashboards/scrape-series.ts'
import { need } from '../support/need.ts'
import { findNeed } from '../support/needs.ts'
import { declared, readBoard, type BoardName } from './boards.ts'
import { fillIn } from './live/grafana.ts'

const STEP_S = 15
const STEPS = 60
const AT = '14m'
type Labels = Readonly<Record<string, string>>

const A = { job: 'gateway', instance: 'a:1' }
const B = { job: 'gateway', instance: 'b:1' }
/** Each leaves the chosen set in one way. */
const LEFT_OUT: readonly Labels[] = [{ job: 'other' }, { instance: 'c:1' }, { model: 'm9' }, { backend: 'z' }]
const LARGE = 1_000

const specs = [...declared.instruments, ...Object.values(SCRAPE_SERIES)]

const seriesText = (name: string, labels: Labels): string => `${name}{${Object.entries(labels).map(([label, one]) => `${label}=${JSON.stringify(one)}`).join(',')}}`

/** Lines of the data: `counts` per second (counters and histograms' parts), `is` for what simply stands. */
const data: { series: string; values: string }[] = []
function add(name: string, labels: Labels, kind: 'counts' | 'is', value: number, decoys = value + LARGE): void {
  const spec = specs.find((one) => [name, name.replace(/_(bucket|sum|count)$/, '')].includes(metricName(one, 'metrics')))
  if (!spec) throw new TypeError(`no instrument is called ${name}`)
  for (const label of Object.keys(labels)) if (!['job', 'instance', 'le'].includes(label) && !(label in spec.labels)) throw new TypeError(`${name} has no label ${label}`)
  const line = (more: Labels, amount: number): void => {
    data.push({ series: seriesText(name, { ...labels, ...more }), values: kind === 'is' ? `${amount}x${STEPS}` : `0+${amount * STEP_S}x${STEPS}` })
  }
  line({}, value)
  for (const decoy of LEFT_OUT) {
    const fits = Object.keys(decoy).every((label) => label in labels)
    // A decoy's time series must not be one that is there already.
    if (fits) line(decoy, decoys)
  }
}
const counts = (name: string, labels: Labels, perS: number): void => add(name, labels, 'counts', perS)
const is = (name: string, labels: Labels, value: number): void => add(name, labels, 'is', value)
/** Without decoys. */
const alone = (name: string, labels: Labels, value: number): void => void data.push({ series: seriesText(name, labels), values: `${value}x${STEPS}` })
/** Of which the lowest is shown. */
const isLow = (name: string, labels: Labels, value: number): void => add(name, labels, 'is', value, -LARGE)
/** Cumulative counts by upper bound. */
const histogram = (name: string, labels: Labels, buckets: Readonly<Record<string, number>>): void => {
  for (const [le, perS] of Object.entries(buckets)) counts(`${name}_bucket`, { ...labels, le }, perS)
}

const chat = (more: Labels): Labels => ({ operation: 'chat', ...more })
counts('flyball_calls_total', chat({ ...A, class: 'interactive', model: 'm1', outcome: 'ok' }), 10)
counts('flyball_calls_total', chat({ ...B, class: 'interactive', model: 'm1', outcome: 'ok' }), 5)
counts('flyball_calls_total', chat({ ...A, class: 'interactive', model: 'm1', outcome: 'error', reason: 'upstream_500' }), 2)
counts('flyball_calls_total', chat({ ...A, class: 'interactive', model: 'm1', outcome: 'error', reason: 'upstream_429' }), 0.5)
counts('flyball_calls_total', chat({ ...B, class: 'interactive', model: 'm1', outcome: 'error', reason: 'upstream_429' }), 1.5)
counts('flyball_calls_total', chat({ ...A, class: 'interactive', model: 'm1', outcome: 'cancelled' }), 1)
counts('flyball_calls_total', chat({ ...B, class: 'batch', model: 'm2', outcome: 'shed', reason: 'queue_full' }), 3)
counts('flyball_calls_total', chat({ ...A, class: 'batch', model: 'm2', outcome: 'shed', reason: 'queue_full' }), 1)
counts('flyball_calls_total', chat({ ...B, class: 'interactive', model: 'm2', outcome: 'shed', reason: 'queue_full' }), 2)
counts('flyball_calls_total', chat({ ...B, class: 'batch', model: 'm2', outcome: 'expired', reason: 'deadline_exceeded' }), 0.5)
counts('flyball_calls_total', chat({ ...B, class: 'batch', model: 'm2', outcome: 'ok' }), 4)
counts('flyball_slo_met_total', chat({ ...A, class: 'interactive', model: 'm1' }), 8)
counts('flyball_slo_met_total', chat({ ...B, class: 'interactive', model: 'm1' }), 3.5)
is('flyball_slo_objective', { ...A, class: 'interactive' }, 0.9)
is('flyball_slo_objective', { ...B, class: 'interactive' }, 0.85)
is('flyball_slo_objective', { ...A, class: 'batch' }, 0.8)
is('flyball_slo_target_seconds', { ...A, class: 'interactive', target: 'ttft' }, 0.4)
is('flyball_slo_target_seconds', { ...B, class: 'interactive', target: 'ttft' }, 0.3)
is('flyball_slo_target_seconds', { ...A, class: 'interactive', target: 'e2e' }, 2)
histogram('flyball_time_to_first_token_seconds', chat({ ...A, class: 'interactive', model: 'm1' }), { 0.1: 60, 0.5: 90, 1: 100, '+Inf': 100 })
histogram('flyball_time_to_first_token_seconds', chat({ ...B, class: 'interactive', model: 'm1' }), { 0.1: 40, 0.5: 40, 1: 40, '+Inf': 40 })
counts('flyball_tokens_total', chat({ ...A, model: 'm1', kind: 'input' }), 20)
counts('flyball_tokens_total', chat({ ...A, model: 'm1', kind: 'output' }), 10)
counts('flyball_tokens_total', chat({ ...B, model: 'm1', kind: 'output' }), 5)
for (const [where, backend, inFlight, limit, waiting, up] of [[A, 'x', 3, 8, 4, 1], [B, 'x', 5, 12, 1, 0], [A, 'y', 2, 5, 0, 1]] as const) {
  is('flyball_in_flight', { ...where, backend }, inFlight)
  is('flyball_limit', { ...where, backend }, limit)
  is('flyball_waiting', { ...where, backend }, waiting)
  isLow('flyball_backend_up', { ...where, backend }, up)
}
counts('flyball_attempts_total', { ...A, backend: 'x', purpose: 'serve', outcome: 'ok' }, 8)
counts('flyball_attempts_total', { ...A, backend: 'x', purpose: 'serve', outcome: 'error' }, 2)
counts('flyball_attempts_total', { ...B, backend: 'x', purpose: 'serve', outcome: 'expired' }, 1)
counts('flyball_attempts_total', { ...B, backend: 'x', purpose: 'serve', outcome: 'shed' }, 1)
counts('flyball_attempts_total', { ...A, backend: 'y', purpose: 'warm', outcome: 'ok' }, 4)
histogram('flyball_attempt_duration_seconds', { ...A, backend: 'x' }, { 0.1: 60, 0.5: 90, 1: 100, '+Inf': 100 })
histogram('flyball_attempt_duration_seconds', { ...B, backend: 'x' }, { 0.1: 40, 0.5: 40, 1: 40, '+Inf': 40 })
histogram('flyball_attempt_duration_seconds', { ...A, backend: 'y' }, { 0.1: 10, 0.5: 10, 1: 10, '+Inf': 10 })
is('flyball_kv_used', { ...A, backend: 'x' }, 0.3)
is('flyball_kv_used', { ...B, backend: 'x' }, 0.7)
for (const [where, sum, count] of [[A, 6, 2], [B, 2, 1.5]] as const) {
  counts('flyball_batch_size_sum', { ...where, backend: 'x' }, sum)
  counts('flyball_batch_size_count', { ...where, backend: 'x' }, count)
}
for (const [where, outcome, perS] of [[A, 'hit', 2], [A, 'stale', 1], [B, 'join', 1], [A, 'miss', 4], [A, 'bypass', 20]] as const) counts('flyball_cache_requests_total', { ...where, class: 'faq', outcome }, perS)
for (const [where, purpose, result, perS] of [[A, 'shadow', 'changed', 0.25], [B, 'shadow', 'changed', 0.5], [A, 'shadow', 'same', 1.25], [B, 'shadow', 'failed', 5], [A, 'stale', 'changed', 4]] as const) counts('flyball_cache_refreshes_total', { ...where, class: 'faq', purpose, result }, perS)
// A class that has never hit anything has no counter of hits: that is 0, not nothing.
counts('flyball_cache_requests_total', { ...A, class: 'cold', outcome: 'miss' }, 3)
counts('flyball_cache_refreshes_total', { ...A, class: 'cold', purpose: 'shadow', result: 'same' }, 3)
const LOOP = { controller: 'throttle', scope: 'backend=x' }
for (const [where, mode] of [[A, 'active'], [B, 'hold']] as const) for (const one of ['learn', 'active', 'hold', 'fallback']) is('flyball_loop_mode', { ...where, ...LOOP, mode: one }, one === mode ? 1 : 0)
is('flyball_loop_mode', { ...A, controller: 'batching', scope: 'backend=y', mode: 'fallback' }, 1)
is('flyball_loop_mode', { ...A, controller: 'batching', scope: 'backend=x', mode: 'active' }, 1)
is('flyball_loop_mode', { ...A, controller: 'cache_ttl', scope: 'class=faq', mode: 'hold' }, 1)
is('flyball_loop_mode', { ...A, controller: 'old', scope: '', mode: 'active' }, 1)
is('flyball_loop_mode', { ...A, controller: 'young', scope: 'backend=x', mode: 'learn' }, 1)
for (const mode of ['learn', 'active', 'hold', 'fallback']) {
  is('flyball_loop_mode', { ...A, controller: `z ${mode}`, scope: 'backend=z', mode }, 1)
  for (const where of [{ ...A, job: 'other' }, { ...A, instance: 'c:1' }]) alone('flyball_loop_mode', { ...where, controller: `left out ${mode}`, scope: 'backend=x', mode }, 1)
}
is('flyball_signal_stale', { ...A, signal: 'lane.itl_ms', scope: 'backend=x' }, 1)
is('flyball_signal_stale', { ...B, signal: 'lane.itl_ms', scope: 'backend=x' }, 1)
is('flyball_signal_stale', { ...A, signal: 'lane.itl_ms', scope: 'backend=z' }, 1)
const KNOB = { knob: 'throttle.limit', scope: 'backend=x' }
counts('flyball_knob_moves_total', { ...A, ...KNOB, direction: 'up', bound: 'none' }, 1)
counts('flyball_knob_moves_total', { ...B, ...KNOB, direction: 'up', bound: 'max_up' }, 2)
counts('flyball_knob_moves_total', { ...A, ...KNOB, direction: 'down', bound: 'none' }, 0.5)
counts('flyball_knob_moves_total', { ...A, ...KNOB, scope: 'backend=z', direction: 'up', bound: 'none' }, 7)
for (const [where, value, min, max, wish] of [[A, 8, 1, 100, 10], [B, 16, 2, 50, 30]] as const) {
  is('flyball_knob_value', { ...where, ...KNOB }, value)
  isLow('flyball_knob_min', { ...where, knob: KNOB.knob }, min)
  is('flyball_knob_max', { ...where, knob: KNOB.knob }, max)
  is('flyball_knob_move_value', { ...where, ...KNOB, value: 'wish' }, wish)
  is('flyball_knob_move_value', { ...where, ...KNOB, value: 'to' }, 77)
}
is('flyball_knob_value', { ...A, knob: 'throttle.other', scope: 'backend=x' }, 3)
is('flyball_knob_value', { ...A, ...KNOB, scope: 'backend=z' }, 500)
is('flyball_knob_min', { ...A, knob: 'throttle.other' }, -5)
is('flyball_knob_max', { ...A, knob: 'throttle.other' }, 5_000)
is('flyball_knob_move_value', { ...A, ...KNOB, scope: 'backend=z', value: 'wish' }, 500)
is('flyball_knob_move_value', { ...A, knob: 'throttle.other', scope: 'backend=x', value: 'wish' }, 3)

/** Board, panel, number of the query, and the answer by its labels; worked out from the lines above. */
const ANSWERS: readonly (readonly [BoardName, string, number, readonly (readonly [Labels, number])[]])[] = [
  // 11.5 of 10 + 5 + 2 + 0.5 + 1.5 + 2 met (the cancelled one does not count); none of 3 + 1 + 0.5 + 4.
  ['overview', 'SLO attainment', 0, [[{ class: 'interactive' }, 11.5 / 21], [{ class: 'batch' }, 0]]],
  ['overview', 'SLO attainment by class', 0, [[{ class: 'interactive' }, 11.5 / 21], [{ class: 'batch' }, 0]]],
  ['overview', 'SLO attainment by class', 1, [[{ class: 'interactive' }, 0.9], [{ class: 'batch' }, 0.8]]],
  ['overview', 'Error budget left', 0, [[{ class: 'interactive' }, 1 - (1 - 11.5 / 21) / 0.1], [{ class: 'batch' }, -4]]],
  ['overview', 'Goodput', 0, [[{}, 11.5]]],
  ['overview', 'Offered', 0, [[{}, 30.5]]],
  ['overview', 'Loops not in command', 0, [[{}, 5]]],
  // Of 140: rank 70 lies in the first 100; ranks 133 and 138.6 in the last 10, between 0.5 and 1 s.
  ['overview', 'Time to first token', 0, [[{}, 0.07]]],
  ['overview', 'Time to first token', 1, [[{}, 0.65]]],
  ['overview', 'Time to first token', 2, [[{}, 0.93]]],
  ['overview', 'Time to first token', 3, [[{ class: 'interactive' }, 0.4]]],
  ['overview', 'Tokens', 0, [[{ kind: 'input' }, 20], [{ kind: 'output' }, 15]]],
  ['overview', 'Calls that did not end well', 0, [[{ outcome: 'error', reason: 'upstream_500' }, 2], [{ outcome: 'error', reason: 'upstream_429' }, 2], [{ outcome: 'cancelled' }, 1], [{ outcome: 'shed', reason: 'queue_full' }, 6], [{ outcome: 'expired', reason: 'deadline_exceeded' }, 0.5]]],
  ['overview', 'Calls in flight and waiting', 0, [[{}, 10]]],
  ['overview', 'Calls in flight and waiting', 1, [[{}, 5]]],
  ['backends', 'Backends', 0, [[{ backend: 'x' }, 0], [{ backend: 'y' }, 1]]],
  ['backends', 'Backends', 1, [[{ backend: 'x' }, 8], [{ backend: 'y' }, 2]]],
  ['backends', 'Backends', 2, [[{ backend: 'x' }, 20], [{ backend: 'y' }, 5]]],
  ['backends', 'Backends', 3, [[{ backend: 'x' }, 0.4], [{ backend: 'y' }, 0.4]]],
  ['backends', 'Backends', 4, [[{ backend: 'x' }, 5], [{ backend: 'y' }, 0]]],
  ['backends', 'Backends', 5, [[{ backend: 'x' }, 12], [{ backend: 'y' }, 4]]],
  ['backends', 'Backends', 6, [[{ backend: 'x' }, 0.25], [{ backend: 'y' }, 0]]],
  ['backends', 'Backends', 7, [[{ backend: 'x' }, 0.65], [{ backend: 'y' }, 0.095]]],
  ['backends', 'Backends', 8, [[{ backend: 'x' }, 0.7]]],
  ['lane', 'Turned away', 0, [[{ class: 'batch', outcome: 'shed', reason: 'queue_full' }, 4], [{ class: 'interactive', outcome: 'shed', reason: 'queue_full' }, 2], [{ class: 'batch', outcome: 'expired', reason: 'deadline_exceeded' }, 0.5]]],
  ['lane', 'Mean batch size', 0, [[{ backend: 'x' }, 8 / 3.5]]],
  ['lane', 'Cache: hits', 0, [[{ class: 'faq' }, 0.5], [{ class: 'cold' }, 0]]],
  ['lane', 'Cache: out of date', 0, [[{ class: 'faq' }, 0.375], [{ class: 'cold' }, 0]]],
  // Over two instances the more serious one.
  ['control-loop', 'Mode of each loop', 0, [[LOOP, 2], [{ controller: 'batching', scope: 'backend=y' }, 3], [{ controller: 'batching', scope: 'backend=x' }, 1], [{ controller: 'young', scope: 'backend=x' }, 0], [{ controller: 'old' }, 1], [{ controller: 'cache_ttl', scope: 'class=faq' }, 2]]],
  ['control-loop', 'In hold or fallback', 0, [[{}, 3]]],
  ['control-loop', 'Stale signals', 0, [[{ signal: 'lane.itl_ms' }, 2]]],
  ['control-loop', 'Moves, up and down', 0, [[{ knob: KNOB.knob, direction: 'up' }, 3], [{ knob: KNOB.knob, direction: 'down' }, 0.5]]],
  ['control-loop', 'Knob throttle.limit', 0, [[{ scope: 'backend=x' }, 12]]],
  ['control-loop', 'Knob throttle.limit', 1, [[{}, 1]]],
  ['control-loop', 'Knob throttle.limit', 2, [[{}, 100]]],
  ['control-loop', 'Knob throttle.limit', 3, [[{ scope: 'backend=x' }, 20]]],
]

const promtool = need('promtool')

promtool.describe('panels on numbers worked out by hand', () => {
  const queryOf = (board: BoardName, title: string, query: number): string => {
    const target = panelsOf(readBoard(board)).find((panel) => panel.title === title)?.targets?.[query]
    if (!target) throw new Error(`${board} has no query ${query} of ${title}`)
    return target.expr
  }

  promtool.it('every one of them is right', () => {
    expect(wrong(ANSWERS.map(([board, title, query, answer]) => ({ expr: queryOf(board, title, query), answer })))).toEqual([])
  }, 60_000)

  promtool.it.each(ANSWERS.map((one) => [`${one[0]}: ${one[1]}, query ${one[2]}`, one] as const))('no mutant gives the same answer: %s', (_, [board, title, query, answer]) => {
    const mutants = mutantsOf(queryOf(board, title, query))
    expect(mutants.length).toBeGreaterThan(4)
    const noticed = new Set(wrong(mutants.map((expr) => ({ expr, answer }))))
    expect(mutants.filter((expr) => !noticed.has(expr) && !SAME.some(([pattern]) => pattern.test(expr)))).toEqual([])
  }, 60_000)
})

/** Mutants that say the same in other words, and why. */
const SAME: readonly (readonly [RegExp, string])[] = [
  [/histogram_quantile\([\d.]+, (?:avg by|sum by \([^)]*\) \(increase)/, 'a quantile does not depend on how much all buckets are scaled'],
  [/^\((?=[^/]*\bby \(backend\)).*backend=~.* \/ .*\{[^}]*instance=~"\$instance"\}|^\(sum by \(backend\) \((?:rate\()?\w+\{[^}]*instance=~"\$instance"(?:,outcome=~"[^"]*")?\}.* \/ .*backend=~/, 'what only one side of a division has falls out of it'],
  [/or 1 \* \(sum\(flyball_loop_mode/, 'there is always a mode: each loop reports all of them'],
  [/3 \* \(flyball_loop_mode\{(?![^}]*mode=)/, 'what is in another mode has been told by the operands before'],
  [/^count by \(signal\)/, 'a stale signal is reported as 1'],
]

/** Those of the queries that do not give their answers. */
function wrong(asked: readonly { expr: string; answer: readonly (readonly [Labels, number])[] }[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'flyball-answers-'))
  // What differs beyond the sixth digit is the arithmetic's, not the query's.
  const rounded = (expr: string): string => `round(${fillIn(expr, { choice: { job: ['gateway'], instance: ['a:1', 'b:1'], backend: ['x', 'y'], model: ['m1', 'm2'] }, rateInterval: '1m', range: '5m' })}, 0.000001)`
  try {
    const file = join(folder, 'test.yaml')
    const tests = asked.map(({ expr, answer }) => ({
      expr: rounded(expr),
      eval_time: AT,
      exp_samples: answer.map(([labels, value]) => ({ labels: seriesText('', labels), value: Math.round(value * 1e6) / 1e6 })),
    }))
    // One group of series for each query: promtool stops a group at the first query that is in error.
    writeFileSync(file, stringify({ evaluation_interval: '1m', tests: [{ interval: `${STEP_S}s`, input_series: data, promql_expr_test: tests }] }, { lineWidth: 0, aliasDuplicateObjects: false }))
    const { stdout, stderr, status } = spawnSync(findNeed('promtool') ?? 'promtool', ['test', 'rules', file], { encoding: 'utf8', maxBuffer: 1 << 26 })
    const output = `${stdout}${stderr}`
    if (status === 0) return []
    const told = asked.filter(({ expr }) => output.includes(`expr: ${JSON.stringify(rounded(expr)).replaceAll('\\\\\\\\', '\\\\\\\\')}`)).map(({ expr }) => expr)
    if (told.length === 0) throw new Error(output.slice(0, 2_000))
    return told
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const SWAPS: readonly (readonly [RegExp, readonly string[]])[] = [
  [/\bsum(?= by|\()/g, ['max', 'min', 'avg', 'count']],
  [/\bmax(?= by|\()/g, ['min', 'sum', 'avg']],
  [/\bmin(?= by|\()/g, ['max', 'sum', 'avg']],
  [/\bavg(?= by|\()/g, ['max', 'min', 'sum']],
  [/\brate(?=\()/g, ['increase']],
  [/\bincrease(?=\()/g, ['rate']],
  [/(?<=histogram_quantile\()0\.\d+/g, ['0.25', '0.9']],
  [/(?<=\w)!=(?=")/g, ['=']],
  [/(?<=\w)=~(?=")/g, ['!~']],
  [/(?<=\w)=(?=")/g, ['!=']],
  [/(?<=[\])}] )== 1/g, ['== 0']],
  [/> 0(?=\))/g, ['> 100000']],
  [/>= 0$/g, ['> 1000']],
  [/\b1 - /g, ['']],
  [/ \/ /g, [' * ']],
  [/\b0 \* (?=\(sum)/g, ['1 * ']],
  [/\b[123] \* (?=\()/g, ['0 * ']],
]

/** Each differs from the query in one place. What is multiplied by 0 is left alone: there only its labels count. */
function mutantsOf(expr: string): string[] {
  const found = new Set<string>()
  const dead = deadSpan(expr)
  const replaceAt = (at: number, length: number, by: string): void => {
    if (dead && at >= dead[0] && at < dead[1]) return
    found.add(expr.slice(0, at) + by + expr.slice(at + length))
  }
  for (const [pattern, replacements] of SWAPS) for (const match of expr.matchAll(pattern)) for (const by of replacements) replaceAt(match.index, match[0].length, by)
  // Each matcher left out; the first takes its comma along.
  for (const match of expr.matchAll(/(?<=[{,])\w+(?:=~|!=|!~|=)"[^"]*",?/g)) replaceAt(match.index, match[0].length, '')
  for (const match of expr.matchAll(/\bby \(([^)]+)\)/g)) {
    const labels = (match[1] as string).split(', ')
    for (const label of labels) replaceAt(match.index, match[0].length, `by (${labels.filter((one) => one !== label).join(', ')})`)
  }
  found.delete(expr)
  return [...found].map((mutant) => mutant.replaceAll(',}', '}'))
}

function deadSpan(expr: string): readonly [number, number] | undefined {
  const start = expr.search(/(?<=\bor 0 \* )\(/)
  if (start < 0) return undefined
  let depth = 0
  for (let at = start; at < expr.length; at++) {
    if (expr[at] === '(') depth++
    if (expr[at] === ')' && --depth === 0) return [start, at]
  }
  return undefined
}
