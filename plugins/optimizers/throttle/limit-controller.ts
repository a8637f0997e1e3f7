/**
 * How many calls at once. Steers latency per unit of work, not per call: a long answer is not congestion. With targets: the
 * headroom to the quantile that the SLO names. Without: whether more in flight still brings more done, within an absolute
 * multiple of the uncongested latency. Cuts fast, raises slowly, and only raises a limit that is really used.
 */
import { quantile } from '../../../src/index.ts'
import type { Controller, ControllerInput, Decision, Reading, SloClass, Why } from '../../../src/index.ts'
import { knobs } from './declares.ts'
import { logSlope, lowerShare, mean, median } from './sample-stats.ts'

export interface LimitState {
  /** Of the open window: ms per unit of work, service ms, ms to first token. */
  readonly unitMs: readonly number[]
  readonly serviceMs: readonly number[]
  readonly ttftMs: readonly number[]
  readonly inFlight: readonly number[]
  readonly sinceMs: number | null
  /** Service times of the last calls, for the round trip. */
  readonly recentMs: readonly number[]
  readonly lastMoveMs: number | null
  readonly lastRejectCutMs: number | null
  /** Settled attempts since the last cut for rejects, and how many of them were turned away. */
  readonly settled: number
  readonly rejected: number
  /** Cuts for rejects since all was well, and the share of rejects that led to the last of them, once enough had settled to tell. */
  readonly rejectCuts: number
  readonly cutAtShare: number | null
  /** Windows in a row that grew. */
  readonly growing: number
  /** The limit that last served a used window well; rejects do not change it: they say when, not how many. */
  readonly goodLimit: number | null
  /** Windows since the last move, without a target. */
  readonly held: number
  /** Without a target: closed windows, oldest first, and the lowest median ms per unit of work. */
  readonly history: readonly { readonly inFlight: number; readonly unitMs: number }[]
  readonly baselineMs: number | null
}

/** A p95 of fewer samples is a maximum. */
const MIN_SAMPLES = 20
/** From so many on the quantile is taken at its word. */
const SURE_SAMPLES = 200
const MAX_SAMPLES = 400
const RECENT = 32
const HISTORY = 6
/** Aim this far inside the target: a quantile is an estimate. */
const AIM = 0.97
/** Of whole-call targets the queue needs a share too. */
const WHOLE_CALL_SHARE = 0.85
const DEAD_BAND = 0.03
const REJECT_CUT = 0.7
const DEEPEST_CUT = 0.8
/** Unless most calls are turned away for certain, so many settle before the next cut: if this much of the rejects is left, the last one was in vain. */
const TELLING = 16
const VAIN_SHARE = 0.7
const MOSTLY = 0.5
/** The limit counts as used from this share of it in flight. */
const USED = 0.8
/** In flight, at this quantile of the window. */
const USUAL = 0.75
const GROWTH = 0.1
const BATCHED_GROWTH = 1.5
/** After three windows of growth with this much headroom the limit is far from where it matters: grow faster. */
const FAR_HEADROOM = 0.2
const FAR_GROWTH = 0.25
/** After rejects: far below what was good, it is doubled back to near there as long as latency has plenty of room. */
const FAR_BELOW = 0.7
const BACK_TO = 0.9
const RECOVERY_SAMPLES = 5
/** Without a target: latency per unit of work may reach this multiple of the uncongested one. Absolute: it does not drift. */
const MAX_SLOWDOWN = 4
/** More in flight must bring at least this share of its own growth in throughput. */
const WORTH = 0.3
/** So much variation of ln(in flight) it takes to tell a slope at all, and to be plain about it. */
const LEAST_SPREAD = 0.03
const PLAIN_SPREAD = 0.25
/** ln of a change in latency that more or fewer in flight do not explain. */
const JUMP = 0.4
const PROBE = 1.1
/** Windows that nothing moved before a probe: each costs a little and may be wrong. */
const PROBE_AFTER = 20
/** Latency that grows this nearly in proportion to what is in flight: throughput is flat. Beyond the second it falls. */
const FLAT = 0.9
const LOSING = 1.15
const BACK = 0.93

const EMPTY: LimitState = { unitMs: [], serviceMs: [], ttftMs: [], inFlight: [], sinceMs: null, recentMs: [], lastMoveMs: null, lastRejectCutMs: null, settled: 0, rejected: 0, rejectCuts: 0, cutAtShare: null, growing: 0, goodLimit: null, held: 0, history: [], baselineMs: null }

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
    inFlight: latest([...state.inFlight, ...inFlight.map(({ y }) => y)], MAX_SAMPLES),
    sinceMs: state.sinceMs ?? nowMs,
    settled: state.settled + points(readings['rejects']).length,
    rejected: state.rejected + points(readings['rejects']).filter(({ y }) => y > 0).length,
    recentMs: latest([...state.recentMs, ...service.map(({ y }) => y)], RECENT),
  }
}

/** The window closes; the next one begins now. */
const fresh = (state: LimitState, nowMs: number, more: Partial<LimitState> = {}): LimitState => ({ ...state, unitMs: [], serviceMs: [], ttftMs: [], inFlight: [], sinceMs: nowMs, ...more })

interface Headroom {
  /** Room left under the target, as a share of it. */
  readonly h: number
  /** The same at the least and at the most, by what the window's own size leaves open about its quantile. */
  readonly least: number
  readonly most: number
  readonly atMs: number
  readonly targetMs: number
  readonly samples: number
}

/** Of the tightest of the targets; undefined without targets, `samples` below MIN_SAMPLES when there are too few to say. */
function headroom(state: LimitState, slo: SloClass | undefined): Headroom | undefined {
  if (!slo) return undefined
  const targets: { targetMs: number; samples: readonly number[] }[] = []
  if (slo.itlMs !== undefined) targets.push({ targetMs: slo.itlMs, samples: state.unitMs })
  if (slo.ttftMs !== undefined) targets.push({ targetMs: slo.ttftMs * WHOLE_CALL_SHARE, samples: state.ttftMs })
  if (slo.e2eMs !== undefined) targets.push({ targetMs: slo.e2eMs * WHOLE_CALL_SHARE, samples: state.serviceMs })
  let tightest: Headroom | undefined
  for (const { targetMs, samples } of targets) {
    const sorted = [...samples].sort((a, b) => a - b)
    const share = (q: number): number => (AIM * targetMs - (sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? Number.NaN)) / targetMs
    // The share of calls below the true quantile varies like a coin with that probability.
    const spread = Math.sqrt((slo.quantile * (1 - slo.quantile)) / Math.max(1, sorted.length))
    const h = share(slo.quantile)
    const found: Headroom = { h, least: share(Math.min(1, slo.quantile + spread)), most: share(slo.quantile - spread), atMs: AIM * targetMs - h * targetMs, targetMs, samples: sorted.length }
    if (!tightest || found.samples < MIN_SAMPLES || (tightest.samples >= MIN_SAMPLES && h < tightest.h)) tightest = found
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
  // Latency was measured with so many in flight; a moment's peak says nothing about it.
  const usual = (facts['maxBatch'] ?? 1) > 1 || state.inFlight.length === 0 ? peak : quantile([...state.inFlight], USUAL)
  // The lane counts whole calls.
  const used = usual >= USED * Math.min(Math.floor(limit), hard)
  // A limit far above what is in flight protects nothing: cuts start from what is.
  const inUse = Math.min(limit, Math.max(1, peak || limit))
  const base = { limit, peak }

  const turn = (to: number, why: Why, more: Partial<LimitState> = {}, extra: { predicted?: number; probe?: boolean } = {}): Decision<LimitState> => {
    const bounded = Math.min(to, hard)
    if (Math.abs(bounded - limit) < 1e-9 || (to > limit && limit >= hard)) return { state: fresh(state, nowMs, { growing: 0 }), moves: [], why: { reason: 'steady', numbers: why.numbers } }
    return { state: fresh(state, nowMs, { lastMoveMs: nowMs, growing: to > limit ? state.growing + 1 : 0, ...more }), moves: [{ knob: knobs.limit.name, to: bounded }], why, ...extra }
  }

  const rejected = cutForRejects(state, input)
  if (rejected) {
    const share = state.rejected / Math.max(1, state.settled)
    const numbers = { ...base, rejects: rejected.count, share, roundTripMs: rejected.roundTripMs }
    const telling = state.settled >= TELLING
    // Nothing was known to be good before the first cut: then what it cut from is where the way back leads.
    const goodLimit = state.goodLimit ?? limit
    const books = { lastRejectCutMs: nowMs, settled: 0, rejected: 0, goodLimit }
    if (state.rejectCuts > 0 && !(telling ? share >= MOSTLY : lowerShare(state.rejected, state.settled) > MOSTLY)) {
      if (!telling) return { state, moves: [], why: { reason: 'learning', numbers } }
      // As many are turned away with fewer in flight: then it is not our number that they are turned away for.
      const inVain = state.cutAtShare !== null && share > VAIN_SHARE * state.cutAtShare
      if (inVain) return turn(Math.max(limit, BACK_TO * goodLimit), { reason: 'not_worth_it', numbers }, { ...books, cutAtShare: Math.max(share, state.cutAtShare ?? 0) })
    }
    return turn(inUse * REJECT_CUT, { reason: 'upstream_rejects', numbers }, { ...books, rejectCuts: state.rejectCuts + 1, cutAtShare: state.rejectCuts > 0 && telling ? share : null })
  }

  const roundTripMs = state.recentMs.length === 0 ? 0 : median(state.recentMs)
  const waited = nowMs - (state.sinceMs ?? nowMs)
  const window = { ...base, samples: state.unitMs.length, roundTripMs }
  const quiet = points(input.readings['rejects']).every(({ y }) => !(y > 0))
  if (quiet && used && state.goodLimit !== null && limit < FAR_BELOW * state.goodLimit && state.unitMs.length >= RECOVERY_SAMPLES && waited >= roundTripMs && hasRoom(state, input.slo)) {
    return turn(Math.min(BACK_TO * state.goodLimit, limit * knobs.limit.maxUp), { reason: 'work_conserving', numbers: { ...window, goodLimit: state.goodLimit } })
  }
  if (state.unitMs.length < MIN_SAMPLES || waited < roundTripMs) return { state, moves: [], why: { reason: 'learning', numbers: window } }

  // Where calls run in batches, latency is the batch size's doing: the limit only guards against rejects, and else stays out of
  // the way (a limit below slots × batch would starve the batches).
  if ((facts['maxBatch'] ?? 1) > 1) {
    if (!used || !quiet) return { state: fresh(state, nowMs), moves: [], why: { reason: used ? 'steady' : 'app_limited', numbers: window } }
    return turn(limit * BATCHED_GROWTH, { reason: 'work_conserving', numbers: window }, { goodLimit: limit, ...(state.rejected === 0 ? { rejectCuts: 0, cutAtShare: null } : {}) })
  }
  const room = headroom(state, input.slo)
  if (room === undefined) return byThroughput(state, input, { limit, hard, used, inUse, window, turn })
  if (room.samples < MIN_SAMPLES) return { state, moves: [], why: { reason: 'learning', numbers: window } }
  const { h, atMs, targetMs } = room
  const numbers = { ...window, headroom: h, least: room.least, most: room.most, atMs, targetMs }
  const sure = room.samples >= SURE_SAMPLES
  const cut = (sure ? h : room.most) < -DEAD_BAND
  const grow = !cut && (sure ? h : room.least) > DEAD_BAND
  const calm = state.rejected === 0 && state.settled >= MIN_SAMPLES ? { rejectCuts: 0, cutAtShare: null } : {}
  const goodLimit = cut ? Math.min(limit, state.goodLimit ?? limit) : used ? limit : state.goodLimit
  if (cut) return turn(inUse * Math.max(DEEPEST_CUT, 1 + h), { reason: 'slo_exceeded', numbers }, { goodLimit }, { predicted: AIM * targetMs })
  // Not sure yet which side of the band it is on: the window stays open.
  if (!grow && !sure) return { state, moves: [], why: { reason: 'steady', numbers }, predicted: atMs }
  if (!grow) return { state: fresh(state, nowMs, { growing: 0, goodLimit, ...calm }), moves: [], why: { reason: 'steady', numbers }, predicted: atMs }
  if (!used) return { state: fresh(state, nowMs, { growing: 0 }), moves: [], why: { reason: 'app_limited', numbers }, predicted: atMs }
  const far = state.growing >= 3 && h > FAR_HEADROOM
  const factor = 1 + Math.min(far ? FAR_GROWTH : GROWTH, h / 2)
  return turn(Math.max(limit * factor, limit + Math.min(knobs.limit.minStep, h)), { reason: 'slo_headroom', numbers }, { goodLimit, ...calm }, { predicted: atMs * Math.min(factor, targetMs / atMs) })
}

/** Even the worst of a few calls is far inside every target. */
function hasRoom(state: LimitState, slo: SloClass | undefined): boolean {
  const room = headroom(state, slo)
  if (room) return room.samples >= RECOVERY_SAMPLES && room.least > FAR_HEADROOM
  return state.baselineMs === null || median(state.unitMs) < 1.5 * state.baselineMs
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
  readonly window: Readonly<Record<string, number>>
  readonly turn: (to: number, why: Why, more?: Partial<LimitState>, extra?: { predicted?: number; probe?: boolean }) => Decision<LimitState>
}

/**
 * No latency target: as many as still bring more done. Throughput is in flight over latency, so what tells is how latency
 * answers to more in flight: not at all below the knee, in proportion past it, more than that when work is thrown away.
 */
function byThroughput(state: LimitState, input: ControllerInput, w: Window): Decision<LimitState> {
  const { nowMs } = input
  const unitMs = median(state.unitMs)
  const inFlight = state.inFlight.length === 0 ? w.inUse : mean(state.inFlight)
  const last = state.history.at(-1)
  // Latency that jumps although about as much is in flight: another backend, as far as the old windows go.
  const jumped = last !== undefined && Math.abs(Math.log(unitMs / last.unitMs)) > JUMP + 2 * Math.abs(Math.log(inFlight / last.inFlight))
  const history = jumped ? [{ inFlight, unitMs }] : latest([...state.history, { inFlight, unitMs }], HISTORY)
  const { slope, spread } = logSlope(history.map((one) => one.inFlight), history.map((one) => one.unitMs))
  const told = history.length >= 4 && spread > LEAST_SPREAD
  // One or two at a time is as uncongested as it gets. And where fewer in flight do not make it faster, it is not congested
  // either: the backend has become slower, and must not be strangled for it.
  const uncongested = inFlight <= 2 || (told && slope < 0.1 && spread > PLAIN_SPREAD)
  const baselineMs = state.baselineMs === null || uncongested ? unitMs : Math.min(state.baselineMs, unitMs)
  const slowdown = unitMs / baselineMs
  const numbers = { ...w.window, unitMs, baselineMs, slowdown, slope: told ? slope : 0, spread }
  const keep = { history, baselineMs, ...(w.used && slowdown < MAX_SLOWDOWN ? { goodLimit: w.limit } : {}) }
  const stay = (reason: 'app_limited' | 'steady'): Decision<LimitState> => ({ state: fresh(state, nowMs, { ...keep, growing: 0, held: state.held + 1 }), moves: [], why: { reason, numbers } })
  if (slowdown > MAX_SLOWDOWN * (1 + DEAD_BAND)) return w.turn(w.inUse * Math.max(DEEPEST_CUT, MAX_SLOWDOWN / slowdown), { reason: 'slo_exceeded', numbers }, keep, { predicted: baselineMs * MAX_SLOWDOWN })
  if (!w.used) return stay('app_limited')
  // Past the knee: more in flight only makes everybody wait, or even loses work. Fewer cost nothing.
  if (told && slope > FLAT && inFlight > 2) return w.turn(w.inUse * (slope > LOSING ? 0.9 : BACK), { reason: 'utilisation_high', numbers }, { ...keep, held: 0 })
  if (slowdown >= MAX_SLOWDOWN) return stay('steady')
  if (!told && history.length < HISTORY) {
    // Not known yet which way is up: below the first multiple of the uncongested latency, up.
    return slowdown < 1.5 ? grow(w, numbers, keep) : stay('steady')
  }
  if (told && 1 - slope > WORTH) return grow(w, numbers, keep)
  // Nothing has varied for a while, so nothing can be concluded. A small step says which way is up.
  if (told || !input.mayProbe || state.held < PROBE_AFTER) return stay('steady')
  return w.turn(w.limit * PROBE, { reason: 'probe', numbers }, { ...keep, history: history.slice(-3), held: 0 }, { probe: true })
}

function grow(w: Window, numbers: Readonly<Record<string, number>>, keep: Partial<LimitState>): Decision<LimitState> {
  return w.turn(Math.max(w.limit * (1 + GROWTH), w.limit + knobs.limit.minStep), { reason: 'work_conserving', numbers }, keep)
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
    // Only their samples are used: no aggregate need be computed.
    service: { signal: 'lane.service_ms', points: true, aggregate: 'last' },
    ttft: { signal: 'lane.ttft_ms', points: true, aggregate: 'last' },
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
