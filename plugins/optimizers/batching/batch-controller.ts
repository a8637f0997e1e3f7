/**
 * Sizes batches from the learned curve, never from end-to-end latency: under overload that is mostly queueing, which larger
 * batches cure, so a controller that shrinks on it makes the overload worse.
 */
import type { Controller, ControllerInput, Decision, Why, Wish } from '../../../src/index.ts'
import { STALE_AFTER, joinSavingMs, learn, restoreCurve, viewOf, type CostCurve, type CurveView } from './cost-curve.ts'
import { knobs } from './declares.ts'

export interface BatchState {
  readonly curve: CostCurve
}

/** Part of the target that is left free: the curve's p95 is itself an estimate. */
const MARGIN = 0.1
/** Smaller differences are noise. */
const DEAD_BAND = 0.1
/** Batches this full say that the size holds calls back, when this share of the calls went in one. */
const FULL = 0.9
const HELD_BACK = 0.25
/** A larger size that was tried must have been this much better per second to be gone back to. */
const WORTH = 1.02
/** A size this much worse than the best known one is past a cliff. */
const CLIFF = 0.9
/** Upward steps, smallest first. */
const STEPS = [1.25, 1.5, 2] as const
const DELAY_BAND = 1.6
/** A join that saves less than this share of a lone call is not worth a delay. */
const REAL_SAVING = 0.25

/** Sums of floating-point numbers differ in their last digits when every duration is scaled; decisions must not. */
const ROUNDING = 1e-9

/** Longest that one run may take, ms: a call waits for up to 1/S of a run of those before it, then runs itself. */
function runBudgetMs(slo: ControllerInput['slo'], slots: number): number {
  const whole = slo?.e2eMs ?? slo?.ttftMs
  const byWhole = whole === undefined ? Number.POSITIVE_INFINITY : (whole * (1 - MARGIN)) / (1 + 1 / slots)
  const byStart = slo?.startMs === undefined ? Number.POSITIVE_INFINITY : slo.startMs * (1 - MARGIN) * slots
  return Math.min(byWhole, byStart)
}

/** Largest whole B in 1..cap with p95 within the budget; the curve is monotone, so halving finds it. */
function largestWithin(curve: CurveView, workPerCall: number, budgetMs: number, cap: number): number {
  let low = 1
  let high = Math.max(1, cap)
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (curve.p95(middle * workPerCall) <= budgetMs * (1 + ROUNDING)) low = middle
    else high = middle - 1
  }
  return low
}

/** The smallest size that is about as good per second as the best one that was seen. */
function bestSeen(curve: CurveView, workPerCall: number, cap: number): { size: number; perMs: number } {
  let best = { size: 1, perMs: 0 }
  const seen = Math.min(cap, Math.max(1, Math.floor(curve.seenWork / workPerCall)))
  for (let size = 1; size <= seen; size = Math.max(size + 1, Math.floor(size * 1.1))) {
    const perMs = size / curve.p50(size * workPerCall)
    if (perMs > best.perMs * WORTH) best = { size, perMs }
  }
  return best
}

function decide(state: BatchState, input: ControllerInput): Decision<BatchState> {
  const { readings, facts } = input
  const hardCap = Math.min(facts['maxBatch'] ?? 1, knobs.maxBatch.max)
  // Nothing to batch: nothing to learn either.
  if (hardCap <= 1) return { state, moves: [], why: { reason: 'steady', numbers: { hardCap } } }
  let { curve } = state
  for (const point of readings['batch']?.points ?? []) curve = learn(curve, point.x, point.y)
  const next: BatchState = { curve }
  const view = viewOf(curve)
  const sizeKnob = input.knobs[knobs.maxBatch.name]
  const delayKnob = input.knobs[knobs.maxDelayMs.name]
  const stay = (why: Why): Decision<BatchState> => ({ state: next, moves: [], why })
  if (!sizeKnob || !delayKnob || !view.known) return stay({ reason: 'learning', numbers: { batches: curve.seq } })

  const sizes = (readings['size']?.points ?? []).filter(({ x, y }) => y >= 1 && y < 1e6 && x >= 1e-6 && x < 1e12)
  if (sizes.length === 0) return stay({ reason: 'learning', numbers: { batches: curve.seq } })
  const calls = sizes.reduce((sum, { y }) => sum + y, 0)
  const meanSize = calls / sizes.length
  const workPerCall = sizes.reduce((sum, { x }) => sum + x, 0) / calls
  const heldBack = sizes.reduce((sum, { y }) => sum + (y >= FULL * sizeKnob.value ? y : 0), 0) / calls
  const slots = Math.max(1, facts['slots'] ?? 1)
  const budgetMs = runBudgetMs(input.slo, slots)
  const envelope = facts['maxBatchWork'] === undefined ? hardCap : Math.max(1, Math.floor(facts['maxBatchWork'] / workPerCall))
  const cap = Math.min(hardCap, envelope)
  const current = Math.min(sizeKnob.value, cap)
  // When even a call alone takes too long, smaller batches cannot help: they would only finish fewer calls.
  const feasible = view.lone(workPerCall) <= budgetMs
  const allowed = feasible ? largestWithin(view, workPerCall, budgetMs, cap) : Math.max(current, bestSeen(view, workPerCall, cap).size)
  const best = bestSeen(view, workPerCall, Math.min(cap, allowed))
  const currentPerMs = current / view.p50(current * workPerCall)
  const numbers = { workPerCall, meanSize, allowed, best: best.size, p95Ms: view.p95(current * workPerCall), ...(Number.isFinite(budgetMs) ? { budgetMs } : {}), slowdown: curve.speed }

  let to = sizeKnob.value
  let why: Why = { reason: 'steady', numbers }
  let probe = false
  if (sizeKnob.value > cap) {
    to = cap
    why = { reason: 'memory_envelope', numbers: { ...numbers, cap } }
  } else if (allowed < current * (1 - DEAD_BAND)) {
    to = allowed
    why = { reason: 'slo_exceeded', numbers }
  } else if (best.size < current && currentPerMs < best.perMs * CLIFF && view.seen(current * workPerCall)) {
    // Only what was measured counts: a size that nobody filled yet, or that lies between two others, is not past a cliff.
    to = best.size
    why = { reason: 'curve_changed', numbers: { ...numbers, perS: currentPerMs * 1_000, bestPerS: best.perMs * 1_000 } }
  } else if (heldBack < HELD_BACK) {
    why = { reason: 'app_limited', numbers }
  } else if (allowed >= Math.max(current + 1, current * (1 + DEAD_BAND))) {
    const step = upwards(view, workPerCall, current, allowed)
    if (step !== undefined) {
      to = step
      why = { reason: 'demand_above_limit', numbers }
    }
  } else if (input.mayProbe && current < cap && isStale(view.batchesSince((current + 1) * workPerCall))) {
    // What holds it back has not been seen for long, and while it holds back nothing new is learned about it.
    to = current + 1
    why = { reason: 'probe', numbers }
    probe = true
  }

  const moves: Wish[] = to === sizeKnob.value ? [] : [{ knob: knobs.maxBatch.name, to }]
  const delay = delayFor(view, workPerCall, Math.max(1, Math.min(meanSize, to)), budgetMs, slots)
  if (delay !== undefined && outsideBand(delay, delayKnob.value)) {
    moves.push({ knob: knobs.maxDelayMs.name, to: delay })
    if (moves.length === 1) why = { reason: delay > delayKnob.value ? 'work_conserving' : 'not_worth_it', numbers: { ...numbers, delayMs: delay } }
  }
  const predicted = view.p95(to * workPerCall)
  return { state: next, moves, why, ...(Number.isFinite(predicted) ? { predicted } : {}), ...(probe ? { probe } : {}) }
}

/** Known once, but not lately. */
const isStale = (batches: number): boolean => batches > STALE_AFTER && Number.isFinite(batches)

/** The largest step before a size that is known to bring no more per second; sizes not seen yet may be tried. */
function upwards(view: CurveView, workPerCall: number, current: number, allowed: number): number | undefined {
  const perMs = (size: number): number => size / view.p50(size * workPerCall)
  let step: number | undefined
  for (const factor of STEPS) {
    const size = Math.min(allowed, Math.max(current + 1, Math.floor(current * factor)))
    if (view.seen(size * workPerCall) && perMs(size) < perMs(current) * WORTH) break
    step = size
  }
  return step
}

/** Longest hold that can pay: until a slot frees anyway, within half of the slack; 0 where joining saves nothing. Undefined: not known yet. */
function delayFor(view: CurveView, workPerCall: number, size: number, budgetMs: number, slots: number): number | undefined {
  if (slots < 2) return 0
  if (view.seenWork <= workPerCall * 1.5) return undefined
  const saving = joinSavingMs(view, size * workPerCall, workPerCall)
  if (saving < REAL_SAVING * view.lone(workPerCall)) return 0
  const runMs = view.p50(size * workPerCall)
  const slack = Number.isFinite(budgetMs) ? Math.max(0, budgetMs - view.p95(size * workPerCall)) / 2 : Number.POSITIVE_INFINITY
  return Math.min(runMs / slots, slack, knobs.maxDelayMs.max)
}

/** A hold is a cap on a rule that decides for itself: half as much again, or none at all, is worth a move. */
function outsideBand(wanted: number, now: number): boolean {
  if (now === 0 || wanted === 0) return wanted !== now
  return wanted > now * DELAY_BAND || wanted < now / DELAY_BAND
}

export const batchController: Controller<BatchState> = {
  name: 'batching',
  doc: 'Largest batch whose p95 run time leaves the SLO intact, on a learned monotone curve; grows only while batches are full.',
  scope: ['backend'],
  reads: {
    batch: { signal: 'lane.batch_ms', points: true, aggregate: 'quantile', quantile: 0.95 },
    size: { signal: 'lane.batch_size', aggregate: 'mean', windowMs: 10_000, points: true },
    offered: { signal: 'lane.offered', aggregate: 'rate' },
  },
  primary: 'batch',
  turns: [knobs.maxBatch.name, knobs.maxDelayMs.name],
  // Slower than the throttle, so that each sees the other as standing still.
  every: { minSamples: 2, minMs: 1_000 },
  init: (saved) => ({ curve: restoreCurve((saved as Partial<BatchState> | undefined)?.curve) }),
  decide,
}
