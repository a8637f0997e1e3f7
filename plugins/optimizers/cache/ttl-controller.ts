/**
 * A TTL per cache class, from how often its answers really change: users mind stale answers, not a lower hit rate. Cut at
 * once, raised slowly.
 */
import type { Controller, ControllerInput, Decision, Why } from '../../../src/index.ts'
import { knobs, signals } from './declares.ts'
import { estimateHazard, longestTtlS, staleShare, type ChangeSample } from './hazard.ts'

export interface TtlState {
  /** Oldest first. */
  readonly ages: readonly number[]
  readonly changed: readonly boolean[]
}

const KEEP = 256
/** Fewer samples say too little to raise anything. They may cut. */
const LEARN = 5
/** How far back a change of the change rate is looked for. */
const LOOK_BACK = [6, 12, 24, 48] as const
const DEAD_BAND = 0.05
/** Ages below this share of the TTL are as good as 0: disagreement there is sampling noise. */
const NEW = 0.01
const MIN_NEW = 10

const EMPTY: TtlState = { ages: [], changed: [] }

function samplesOf(state: TtlState): ChangeSample[] {
  return state.ages.map((ageS, i) => ({ ageS, changed: state.changed[i] as boolean }))
}

/** The rate is not for ever: when the latest samples contradict the older ones, the older ones are dropped. */
function withoutThePast(samples: readonly ChangeSample[], noise: number): readonly ChangeSample[] {
  for (const back of LOOK_BACK) {
    if (samples.length < back * 2) break
    const recent = samples.slice(-back)
    const now = estimateHazard(recent, noise)
    const before = estimateHazard(samples.slice(0, -back), noise)
    if (now && before && (now.lowerPerS > before.upperPerS || now.upperPerS < before.lowerPerS)) return recent
  }
  return samples
}

function decide(state: TtlState, input: ControllerInput): Decision<TtlState> {
  const view = input.knobs[knobs.ttlS.name]
  const budget = input.readings['budget']?.value ?? knobs.staleBudget.default
  const fresh = (input.readings['change']?.points ?? []).filter(({ x }) => Number.isFinite(x) && x > 0 && x < 1e12)
  let samples: readonly ChangeSample[] = [...samplesOf(state), ...fresh.map(({ x, y }) => ({ ageS: x, changed: y > 0.5 }))].slice(-KEEP)
  const stay = (why: Why): Decision<TtlState> => ({ state: pack(samples), moves: [], why })
  if (!view || samples.length === 0 || !(budget > 0 && budget < 1)) return stay({ reason: 'learning', numbers: { samples: samples.length } })

  const young = samples.filter(({ ageS }) => ageS <= NEW * view.value)
  const noise = young.length >= MIN_NEW ? Math.min(0.9, young.filter(({ changed }) => changed).length / young.length) : 0
  samples = withoutThePast(samples, noise)
  const hazard = estimateHazard(samples, noise)
  if (!hazard) return stay({ reason: 'learning', numbers: { samples: samples.length } })
  const wanted = Math.min(view.spec.max, Math.max(view.spec.min, longestTtlS(hazard.upperPerS, budget)))
  const predicted = staleShare(hazard.upperPerS, view.value)
  const numbers = { samples: samples.length, changes: hazard.changes, perS: hazard.perS, upperPerS: hazard.upperPerS, noise, budget, staleUpper: predicted, wantedS: wanted }
  const next = pack(samples)
  if (wanted < view.value * (1 - DEAD_BAND)) {
    // With next to nothing known the bound is wide, not the rate high: only a change that was seen cuts then.
    if (samples.length < LEARN && hazard.changes === 0) return { state: next, moves: [], why: { reason: 'learning', numbers } }
    return { state: next, moves: [{ knob: knobs.ttlS.name, to: wanted }], why: { reason: 'stale_budget_exceeded', numbers }, predicted: budget }
  }
  if (samples.length >= LEARN && wanted > view.value * (1 + DEAD_BAND)) {
    const to = Math.min(wanted, view.value * view.spec.maxUp)
    return { state: next, moves: [{ knob: knobs.ttlS.name, to }], why: { reason: 'stale_budget_spare', numbers }, predicted: staleShare(hazard.upperPerS, to) }
  }
  return { state: next, moves: [], why: { reason: samples.length < LEARN ? 'learning' : 'steady', numbers }, predicted }
}

const pack = (samples: readonly ChangeSample[]): TtlState => ({ ages: samples.map(({ ageS }) => ageS), changed: samples.map(({ changed }) => changed) })

function restore(saved: unknown): TtlState {
  if (typeof saved !== 'object' || saved === null) return EMPTY
  const { ages, changed } = saved as Partial<TtlState>
  const fits = Array.isArray(ages) && Array.isArray(changed) && ages.length === changed.length && ages.length <= KEEP && ages.every((age) => Number.isFinite(age) && age > 0) && changed.every((one) => typeof one === 'boolean')
  return fits ? { ages, changed } : EMPTY
}

export const ttlController: Controller<TtlState> = {
  name: 'cache_ttl',
  doc: 'Longest TTL whose share of stale hits stays within the class’s budget, at the upper confidence bound of its change rate.',
  scope: ['class'],
  reads: {
    change: { signal: signals.change.name, points: true },
    budget: { signal: signals.staleBudget.name, aggregate: 'last' },
  },
  primary: 'change',
  turns: [knobs.ttlS.name],
  every: { minSamples: 1, minMs: 1_000 },
  init: restore,
  decide,
}
