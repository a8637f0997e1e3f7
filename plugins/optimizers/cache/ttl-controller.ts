/**
 * A TTL per cache class, from how often its answers really change: users mind stale answers, not a lower hit rate. Cut at
 * once, raised slowly.
 */
import type { Controller, ControllerInput, Decision, Sample, Why } from '../../../src/index.ts'
import { knobs, signals } from './declares.ts'
import { estimateHazard, longestTtlS, staleShare, surprise, type ChangeGroup } from './hazard.ts'

export interface TtlState {
  /** The latest observations one by one, oldest first. */
  readonly ages: readonly number[]
  readonly changed: readonly boolean[]
  /** All before them, by age: as good as one by one, and bounded. */
  readonly past: readonly ChangeGroup[]
}

/** How far back a change of the change rate is looked for. */
const LOOK_BACK = [6, 12, 24, 48] as const
const RECENT = 48
/** So many of the latest are heard on their own. */
const EARLY = 24
/** So unlikely must the latest observations be under the older ones for these to be dropped: every observation is a test. */
const CONTRADICTION = 5e-4
/** Past observations are halved in weight when they are this many: about the last thousands count. */
const PAST = 4_000
/** Ages within a fifth of each other are one. */
const GROUPS_PER_OCTAVE = 4
/** Fewer observations say too little to raise anything. They may cut. */
const LEARN = 5
const DEAD_BAND = 0.05
/** The rest of the budget pays for the time until a change of the change rate is noticed. */
const AIM = 0.75
/** Ages below this share of the TTL are as good as 0: disagreement there is sampling noise. */
const NEW = 0.01
const MIN_NEW = 10
/** Anything else is a broken sensor, s. */
const MIN_AGE = 1e-6
const MAX_AGE = 1e10

const EMPTY: TtlState = { ages: [], changed: [], past: [] }

const stepOf = (ageS: number): number => Math.round(GROUPS_PER_OCTAVE * Math.log2(ageS))

function observe(state: TtlState, points: readonly Sample[]): TtlState {
  let { past } = state
  const ages = [...state.ages]
  const changed = [...state.changed]
  for (const { x, y } of points) {
    if (!(x >= MIN_AGE && x <= MAX_AGE)) continue
    ages.push(x)
    changed.push(y > 0.5)
    if (ages.length > RECENT) past = addToPast(past, ages.shift() as number, changed.shift() as boolean)
  }
  return { ages, changed, past }
}

function addToPast(past: readonly ChangeGroup[], ageS: number, changed: boolean): readonly ChangeGroup[] {
  const step = stepOf(ageS)
  let found = false
  let total = 1
  const next = past.map((group) => {
    total += group.count
    if (stepOf(group.ageS) !== step) return group
    found = true
    return { ageS: (group.ageS * group.count + ageS) / (group.count + 1), count: group.count + 1, changed: group.changed + (changed ? 1 : 0) }
  })
  if (!found) next.push({ ageS, count: 1, changed: changed ? 1 : 0 })
  return total > PAST ? next.map((group) => ({ ...group, count: group.count / 2, changed: group.changed / 2 })).filter(({ count }) => count > 0.01) : next
}

const recentGroups = (state: TtlState, from = 0): ChangeGroup[] => state.ages.slice(from).map((ageS, i) => ({ ageS, count: 1, changed: state.changed[from + i] ? 1 : 0 }))

/** The rate is not for ever: when the latest observations contradict the older ones, the older ones are dropped. */
function withoutThePast(state: TtlState, noise: number): TtlState {
  for (const back of LOOK_BACK) {
    const from = state.ages.length - back
    if (from < 0) break
    const before = estimateHazard([...state.past, ...recentGroups(state).slice(0, from)], noise)
    if (!before) continue
    const latest = recentGroups(state, from)
    const seen = latest.reduce((sum, { changed }) => sum + changed, 0)
    // Against the bound on its own side: what is only not known well is no contradiction.
    const rate = seen === 0 || seen < expectedChanges(latest, before.perS, noise) ? before.lowerPerS : before.upperPerS
    const expected = expectedChanges(latest, rate, noise)
    const contradicts = rate === before.lowerPerS ? seen < expected : seen > expected
    if (contradicts && surprise(seen, expected) < CONTRADICTION) return { ages: state.ages.slice(from), changed: state.changed.slice(from), past: [] }
  }
  return state
}

const expectedChanges = (groups: readonly ChangeGroup[], perS: number, noise: number): number => groups.reduce((sum, { ageS }) => sum + 1 - (1 - noise) * Math.exp(-perS * ageS), 0)

function decide(previous: TtlState, input: ControllerInput): Decision<TtlState> {
  const view = input.knobs[knobs.ttlS.name]
  const budget = input.readings['budget']?.value ?? knobs.staleBudget.default
  const observed = observe(previous, input.readings['change']?.points ?? [])
  if (!view || observed.ages.length === 0 || !(budget > 0 && budget < 1)) return { state: observed, moves: [], why: { reason: 'learning', numbers: { observations: observed.ages.length } } }

  const young = [...observed.past, ...recentGroups(observed)].filter(({ ageS }) => ageS <= NEW * view.value)
  const newCount = young.reduce((sum, { count }) => sum + count, 0)
  const noise = newCount >= MIN_NEW ? Math.min(0.9, young.reduce((sum, { changed }) => sum + changed, 0) / newCount) : 0
  const state = withoutThePast(observed, noise)
  const groups = [...state.past, ...recentGroups(state)]
  const hazard = estimateHazard(groups, noise)
  if (!hazard) return { state, moves: [], why: { reason: 'learning', numbers: { observations: state.ages.length } } }
  const observations = groups.reduce((sum, { count }) => sum + count, 0)
  // Before a contradiction is certain: what the latest alone say at the least is believed already.
  const latest = estimateHazard(recentGroups(state, Math.max(0, state.ages.length - EARLY)), noise)
  const rate = Math.max(hazard.upperPerS, latest?.lowerPerS ?? 0)
  const wanted = Math.min(view.spec.max, Math.max(view.spec.min, longestTtlS(rate, AIM * budget)))
  const predicted = staleShare(rate, view.value)
  const numbers = { observations, changes: hazard.changes, perS: hazard.perS, upperPerS: rate, noise, budget, staleUpper: predicted, wantedS: wanted }
  const why = (reason: Why['reason']): Why => ({ reason, numbers })
  if (wanted < view.value * (1 - DEAD_BAND)) {
    // Nothing was ever seen to change: the bound is wide, not the rate high. A cut for that would cost a class that never
    // changes its hits, and raising again takes long; the first change that is seen cuts at once.
    if (hazard.changes === 0) return { state, moves: [], why: why(observations < LEARN ? 'learning' : 'steady') }
    return { state, moves: [{ knob: knobs.ttlS.name, to: wanted }], why: why('stale_budget_exceeded'), predicted: budget }
  }
  if (observations >= LEARN && wanted > view.value * (1 + DEAD_BAND)) {
    const to = Math.min(wanted, view.value * view.spec.maxUp)
    return { state, moves: [{ knob: knobs.ttlS.name, to }], why: why('stale_budget_spare'), predicted: staleShare(rate, to) }
  }
  return { state, moves: [], why: why(observations < LEARN ? 'learning' : 'steady'), predicted }
}

function restore(saved: unknown): TtlState {
  if (typeof saved !== 'object' || saved === null) return EMPTY
  const { ages, changed, past } = saved as Partial<TtlState>
  const soundAge = (age: unknown): boolean => typeof age === 'number' && age >= MIN_AGE && age <= MAX_AGE
  const fits =
    Array.isArray(ages) && Array.isArray(changed) && Array.isArray(past) && ages.length === changed.length && ages.length <= RECENT && ages.every(soundAge) && changed.every((one) => typeof one === 'boolean') &&
    past.length <= 1_000 && past.every((group: ChangeGroup) => soundAge(group?.ageS) && group.count > 0 && group.changed >= 0 && group.changed <= group.count)
  return fits ? { ages, changed, past } : EMPTY
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
