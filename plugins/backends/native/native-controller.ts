/**
 * The batching loop for an engine that batches by itself: how many sequences decode together, and how many tokens a forward
 * pass may hold. Both trade each call's pace for the whole's: they are turned by the pace that the SLO names.
 */
import type { Controller, ControllerInput, Decision, Why, Wish } from '../../../src/index.ts'
import { NATIVE_KNOBS } from './native-declares.ts'

/** Nothing is carried over: pace and occupancy are in the signals. */
export type NativeState = Readonly<Record<string, never>>

/** Room that is left below the target. */
const MARGIN = 0.03
/** Smaller differences are noise. */
const DEAD_BAND = 0.03
/** One cut takes at most this much: the pace of sequences under way follows with a delay. */
const MAX_CUT = 0.8
const MAX_RAISE = 0.1
/** Fuller than this, the number of sequences is what holds calls back. */
const FULL = 0.8

function decide(state: NativeState, input: ControllerInput): Decision<NativeState> {
  const pace = input.readings['pace']?.value
  const targetMs = input.slo?.itlMs
  const waiting = input.readings['waiting']?.value ?? 0
  const running = input.readings['running']?.value ?? 0
  const kvUsed = input.readings['kvUsed']?.value ?? 0
  const sequences = input.knobs[NATIVE_KNOBS.maxSequences.name]
  const tokens = input.knobs[NATIVE_KNOBS.tokensPerStep.name]
  if (!sequences || !tokens || pace === undefined) return { state, moves: [], why: { reason: 'learning', numbers: { waiting, running } } }
  const numbers = { paceMs: pace, waiting, running, kvUsed, ...(targetMs === undefined ? {} : { targetMs }) }
  const stay = (reason: Why['reason']): Decision<NativeState> => ({ state, moves: [], why: { reason, numbers } })
  // No promised pace: more together is more per second, up to what memory holds.
  if (targetMs === undefined) return stay('steady')
  const headroom = ((1 - MARGIN) * targetMs - pace) / targetMs
  if (headroom < -DEAD_BAND) {
    const factor = Math.max(MAX_CUT, 1 + headroom)
    // Long prompts beside decodes first: a shorter pass costs the whole nothing but a little overhead.
    const moves: Wish[] = tokens.value > 4 * Math.max(1, running) ? [{ knob: NATIVE_KNOBS.tokensPerStep.name, to: tokens.value * factor }] : [{ knob: NATIVE_KNOBS.maxSequences.name, to: Math.min(sequences.value, Math.max(1, running)) * factor }]
    return { state, moves, why: { reason: 'slo_exceeded', numbers: { ...numbers, headroom } }, predicted: pace * factor }
  }
  if (headroom > DEAD_BAND) {
    const factor = 1 + Math.min(MAX_RAISE, headroom / 2)
    const moves: Wish[] = []
    if (waiting > 0 && running >= FULL * sequences.value && kvUsed < 0.9) moves.push({ knob: NATIVE_KNOBS.maxSequences.name, to: Math.ceil(sequences.value * factor) })
    else if (tokens.value < tokens.spec.default) moves.push({ knob: NATIVE_KNOBS.tokensPerStep.name, to: Math.min(tokens.spec.default, Math.ceil(tokens.value * factor)) })
    if (moves.length > 0) return { state, moves, why: { reason: waiting > 0 ? 'demand_above_limit' : 'slo_headroom', numbers: { ...numbers, headroom } }, predicted: pace * factor }
    return stay(running < FULL * sequences.value ? 'app_limited' : 'steady')
  }
  return stay('steady')
}

export const nativeController: Controller<NativeState> = {
  name: 'native_batching',
  doc: 'Sequences and tokens of the native engine’s forward passes, from the pace per token that the SLO names; still without one.',
  scope: ['backend'],
  reads: {
    pace: { signal: 'lane.itl_ms', aggregate: 'quantile', quantile: 'slo', windowMs: 10_000 },
    step: { signal: 'native.step_ms', aggregate: 'quantile', quantile: 0.95, windowMs: 10_000 },
    waiting: { signal: 'native.waiting', windowMs: 5_000 },
    running: { signal: 'native.running', windowMs: 5_000 },
    kvUsed: { signal: 'native.kv_used', windowMs: 5_000 },
  },
  primary: 'step',
  turns: [NATIVE_KNOBS.maxSequences.name, NATIVE_KNOBS.tokensPerStep.name],
  every: { minSamples: 4, minMs: 2_000 },
  init: () => ({}),
  decide,
}
