/**
 * How many calls at once. Steers latency per unit of work, not per call: a long answer is not congestion. With targets: the
 * headroom to the quantile that the SLO names. Without: whether more in flight still brings more done, within an absolute
 * multiple of the uncongested latency. Cuts fast, raises slowly, and only raises a limit that is really used.
 */
import type { Controller, ControllerInput, Decision, Reading, SloClass, Why } from '../../../src/index.ts'
import { quantile } from '../../../src/index.ts'
import { knobs } from './declares.ts'
import { mean, median, relation } from './sample-stats.ts'

export interface LimitState {
  /** Of the open window: ms per unit of work, service ms, ms to first token, work. */
  readonly unitMs: readonly number[]
  readonly serviceMs: readonly number[]
  readonly ttftMs: readonly number[]
  readonly work: number
  readonly inFlight: readonly number[]
  readonly sinceMs: number | null
  /** Service times of the last calls, for the round trip. */
  readonly recentMs: readonly number[]
  readonly lastMoveMs: number | null
  readonly lastRejectCutMs: number | null
  /** Windows in a row that grew. */
  readonly growing: number
  /** Without a target: closed windows, oldest first, and the lowest median ms per unit of work. */
  readonly history: readonly { readonly inFlight: number; readonly perMs: number }[]
  readonly baselineMs: number | null
}

/** A p95 of fewer samples is a maximum. */
const MIN_SAMPLES = 20
const MAX_SAMPLES = 400
const RECENT = 32
const HISTORY = 16
/** Aim this far inside the target: a quantile is an estimate. */
const AIM = 0.97
/** Of whole-call targets the queue needs a share too. */
const WHOLE_CALL_SHARE = 0.85
const DEAD_BAND = 0.03
const REJECT_CUT = 0.7
const DEEPEST_CUT = 0.8
/** The limit counts as used from this share of it in flight. */
const USED = 0.8
const GROWTH = 0.1
/** After three windows of growth with this much headroom the limit is far from where it matters: grow faster. */
const FAR_HEADROOM = 0.2
const FAR_GROWTH = 0.25
/** Without a target: latency per unit of work may reach this multiple of the uncongested one. Absolute: it does not drift. */
const MAX_SLOWDOWN = 4
/** More in flight must bring at least this share of its own growth in throughput. */
const WORTH_ELASTICITY = 0.3
const PROBE = 1.03

const EMPTY: LimitState = { unitMs: [], serviceMs: [], ttftMs: [], work: 0, inFlight: [], sinceMs: null, recentMs: [], lastMoveMs: null, lastRejectCutMs: null, growing: 0, history: [], baselineMs: null }

/** A number that a clock or a counter could have given. */
const sane = (value: number): boolean => Number.isFinite(value) && value > 0 && value < 1e12
const points = (reading: Reading | undefined): NonNullable<Reading['points']> => reading?.points ?? []
const latest = <T>(list: readonly T[], count: number): readonly T[] => (list.length > count ? list.slice(-count) : list)

function take(state: LimitState, input: ControllerInput): LimitState {
  const { readings, nowMs } = input
  // Calls that ran mostly before the last move tell about the old limit.
  const counts = (atMs: number, tookMs: number): boolean => state.lastMoveMs === null || atMs - tookMs / 2 >= state.lastMoveMs
  const unit = points(readings['work']).filter(({ y, x, atMs }) => sane(y) && sane(x) && counts(atMs, y * x))
  const service = points(readings['service']).filter(({ y }) => sane(y))
  const ttft = points(readings['ttft']).filter(({ y, atMs }) => sane(y) && counts(atMs, y))
  const inFlight = points(readings['inFlight']).filter(({ y }) => sane(y))
  return {
    ...state,
    unitMs: latest([...state.unitMs, ...unit.map(({ y }) => y)], MAX_SAMPLES),
    serviceMs: latest([...state.serviceMs, ...service.filter(({ y, atMs }) => counts(atMs, y)).map(({ y }) => y)], MAX_SAMPLES),
    ttftMs: latest([...state.ttftMs, ...ttft.map(({ y }) => y)], MAX_SAMPLES),
    work: state.work + unit.reduce((sum, { x }) => sum + x, 0),
    inFlight: latest([...state.inFlight, ...inFlight.map(({ y }) => y)], MAX_SAMPLES),
    sinceMs: state.sinceMs ?? nowMs,
    recentMs: latest([...state.recentMs, ...service.map(({ y }) => y)], RECENT),
  }
}

const fresh = (state: LimitState, more: Partial<LimitState> = {}): LimitState => ({ ...state, unitMs: [], serviceMs: [], ttftMs: [], work: 0, inFlight: [], sinceMs: null, ...more })

/** Room left under the tightest of the targets, as a share of it; undefined without targets, NaN without enough samples. */
function headroom(state: LimitState, slo: SloClass | undefined): { h: number; atMs: number; targetMs: number } | undefined {
  if (!slo) return undefined
  const targets: { targetMs: number; share: number; samples: readonly number[] }[] = []
  if (slo.itlMs !== undefined) targets.push({ targetMs: slo.itlMs, share: 1, samples: state.unitMs })
  if (slo.ttftMs !== undefined) targets.push({ targetMs: slo.ttftMs, share: WHOLE_CALL_SHARE, samples: state.ttftMs })
  if (slo.e2eMs !== undefined) targets.push({ targetMs: slo.e2eMs, share: WHOLE_CALL_SHARE, samples: state.serviceMs })
  let tightest: { h: number; atMs: number; targetMs: number } | undefined
  for (const { targetMs, share, samples } of targets) {
    const atMs = samples.length < MIN_SAMPLES ? Number.NaN : quantile([...samples], slo.quantile)
    const h = (AIM * targetMs * share - atMs) / (targetMs * share)
    if (!tightest || Number.isNaN(tightest.h) || h < tightest.h) tightest = { h, atMs, targetMs: targetMs * share }
  }
  return tightest
}

function decide(previous: LimitState, input: ControllerInput): Decision<LimitState> {
  const { nowMs, facts } = input
  const view = input.knobs[knobs.limit.name]
  const state = take(previous, input)
  if (!view) return { state, moves: [], why: { reason: 'learning', numbers: {} } }
  const limit = view.value
  const hard = Math.max(1, (facts['slots'] ?? Number.POSITIVE_INFINITY) * Math.max(1, facts['maxBatch'] ?? 1))
  const peak = state.inFlight.length === 0 ? 0 : Math.max(...state.inFlight)
  const used = peak >= USED * Math.min(limit, hard)
  // A limit far above what is in flight protects nothing: cuts start from what is.
  const inUse = Math.min(limit, Math.max(1, peak || limit))
  const base = { limit, peak }

  const turn = (to: number, why: Why, more: Partial<LimitState> = {}, extra: { predicted?: number; probe?: boolean } = {}): Decision<LimitState> => {
    const bounded = Math.min(to, hard)
    if (Math.abs(bounded - limit) < 1e-9 || (to > limit && limit >= hard)) return { state: fresh(state, { growing: 0 }), moves: [], why: { reason: 'steady', numbers: why.numbers } }
    return { state: fresh(state, { lastMoveMs: nowMs, growing: to > limit ? state.growing + 1 : 0, ...more }), moves: [{ knob: knobs.limit.name, to: bounded }], why, ...extra }
  }

  const rejected = cutForRejects(state, input)
  if (rejected) return turn(inUse * REJECT_CUT, { reason: 'upstream_rejects', numbers: { ...base, rejects: rejected.count, roundTripMs: rejected.roundTripMs } }, { lastRejectCutMs: nowMs })

  const roundTripMs = state.recentMs.length === 0 ? 0 : median(state.recentMs)
  const waited = nowMs - (state.sinceMs ?? nowMs)
  const window = { ...base, samples: state.unitMs.length, roundTripMs }
  if (state.unitMs.length < MIN_SAMPLES || waited < roundTripMs) return { state, moves: [], why: { reason: 'learning', numbers: window } }

  const room = headroom(state, input.slo)
  if (room === undefined) return byThroughput(state, input, { limit, hard, used, inUse, waited, window, turn })
  const { h, atMs, targetMs } = room
  if (Number.isNaN(h)) return { state, moves: [], why: { reason: 'learning', numbers: window } }
  const numbers = { ...window, headroom: h, atMs, targetMs }
  if (h < -DEAD_BAND) return turn(inUse * Math.max(DEEPEST_CUT, 1 + h), { reason: 'slo_exceeded', numbers }, {}, { predicted: AIM * targetMs })
  if (h <= DEAD_BAND) return { state: fresh(state, { growing: 0 }), moves: [], why: { reason: 'steady', numbers }, predicted: atMs }
  if (!used) return { state: fresh(state, { growing: 0 }), moves: [], why: { reason: 'app_limited', numbers }, predicted: atMs }
  const far = state.growing >= 3 && h > FAR_HEADROOM
  const factor = 1 + Math.min(far ? FAR_GROWTH : GROWTH, h / 2)
  return turn(Math.max(limit * factor, limit + Math.min(knobs.limit.minStep, h)), { reason: 'slo_headroom', numbers }, {}, { predicted: atMs * Math.min(factor, targetMs / atMs) })
}

/** Rejects of calls that were sent under today's limit; undefined: nothing to cut for, or a cut is still taking effect. */
function cutForRejects(state: LimitState, input: ControllerInput): { count: number; roundTripMs: number } | undefined {
  const since = state.lastRejectCutMs
  const turnedAway = points(input.readings['rejects']).filter(({ y, x, atMs }) => y > 0 && (since === null || atMs - (sane(x) ? x : 0) >= since))
  if (turnedAway.length === 0) return undefined
  const known = state.recentMs.length > 0 ? state.recentMs : turnedAway.map(({ x }) => x).filter(sane)
  const roundTripMs = known.length === 0 ? 0 : median(known)
  return since !== null && input.nowMs - since < roundTripMs ? undefined : { count: turnedAway.length, roundTripMs }
}

interface Window {
  readonly limit: number
  readonly hard: number
  readonly used: boolean
  readonly inUse: number
  readonly waited: number
  readonly window: Readonly<Record<string, number>>
  readonly turn: (to: number, why: Why, more?: Partial<LimitState>, extra?: { predicted?: number; probe?: boolean }) => Decision<LimitState>
}

/** No latency target: as many as still bring more done. */
function byThroughput(state: LimitState, input: ControllerInput, w: Window): Decision<LimitState> {
  const unitMs = median(state.unitMs)
  const inFlight = state.inFlight.length === 0 ? w.inUse : mean(state.inFlight)
  const perMs = w.waited > 0 ? state.work / w.waited : 0
  // One or two at a time is as uncongested as it gets: there the baseline is learned afresh, so that a backend that became
  // slower for good is not strangled for ever.
  const baselineMs = inFlight <= 2 || state.baselineMs === null ? unitMs : Math.min(state.baselineMs, unitMs)
  const history = latest([...state.history, { inFlight, perMs }], HISTORY)
  const slowdown = unitMs / baselineMs
  const { r, elasticity } = relation(history.map((one) => one.inFlight), history.map((one) => one.perMs))
  const numbers = { ...w.window, unitMs, baselineMs, slowdown, correlation: r, elasticity }
  const keep = { history, baselineMs }
  if (slowdown > MAX_SLOWDOWN * (1 + DEAD_BAND)) return w.turn(w.inUse * Math.max(DEEPEST_CUT, MAX_SLOWDOWN / slowdown), { reason: 'slo_exceeded', numbers }, keep, { predicted: baselineMs * MAX_SLOWDOWN })
  const steady = (reason: 'app_limited' | 'steady'): Decision<LimitState> => ({ state: fresh(state, { ...keep, growing: 0 }), moves: [], why: { reason, numbers } })
  if (!w.used) return steady('app_limited')
  if (r < -0.3 && elasticity < 0) return w.turn(w.inUse * 0.9, { reason: 'demand_above_limit', numbers }, keep)
  if (slowdown >= MAX_SLOWDOWN) return steady('steady')
  if (history.length < 4 || (r > 0.3 && elasticity > WORTH_ELASTICITY)) return w.turn(Math.max(w.limit * (1 + GROWTH), w.limit + knobs.limit.minStep), { reason: 'work_conserving', numbers }, keep)
  // Nothing has varied for a while: nothing can be concluded either. A small step says which way is up.
  if (r === 0 && input.mayProbe && history.length === HISTORY && slowdown < MAX_SLOWDOWN / 2) return w.turn(w.limit * PROBE, { reason: 'probe', numbers }, { ...keep, history: history.slice(-4) }, { probe: true })
  return steady('steady')
}

/** A state from an earlier process: only what is worth keeping, if it fits. */
function restore(saved: unknown): LimitState {
  if (typeof saved !== 'object' || saved === null) return EMPTY
  const { baselineMs, recentMs } = saved as Partial<LimitState>
  return {
    ...EMPTY,
    baselineMs: typeof baselineMs === 'number' && sane(baselineMs) ? baselineMs : null,
    recentMs: Array.isArray(recentMs) && recentMs.length <= RECENT && recentMs.every((ms) => typeof ms === 'number' && sane(ms)) ? recentMs : [],
  }
}

export const limitController: Controller<LimitState> = {
  name: 'throttle',
  doc: 'Concurrency limit from the headroom of latency per unit of work; cut on 429 and timeouts, at most once per round trip.',
  scope: ['backend'],
  reads: {
    rejects: { signal: 'lane.rejects', points: true },
    work: { signal: 'lane.work_ms', points: true, quantile: 'slo' },
    service: { signal: 'lane.service_ms', points: true, quantile: 'slo' },
    ttft: { signal: 'lane.ttft_ms', points: true, quantile: 'slo' },
    inFlight: { signal: 'lane.in_flight', points: true, aggregate: 'max' },
    offered: { signal: 'lane.offered', aggregate: 'rate' },
  },
  // Every settled attempt counts, failed ones too: a backend that only rejects must be heard.
  primary: 'rejects',
  turns: [knobs.limit.name],
  // It keeps its own windows (by count, and at least a round trip), so that a reject is heard at once.
  every: { minSamples: 1, minMs: 200 },
  init: restore,
  decide,
}
