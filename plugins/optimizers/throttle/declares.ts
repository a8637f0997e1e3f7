/** Everything that the throttle declares but its controller, once. */
import { instrument, knob, label } from '../../../src/index.ts'

export const knobs = {
  limit: knob({
    name: 'throttle.limit',
    default: 32,
    min: 1,
    max: 10_000,
    unit: '{call}',
    doc: 'Most calls in flight at the backend.',
    scope: ['backend'],
    maxUp: 2,
    maxDown: 0.5,
    minStep: 0.25,
    safeDirection: 'down',
  }),
  utilisationTarget: knob({
    name: 'throttle.utilisation_target',
    default: 0.8,
    min: 0.1,
    max: 1,
    unit: '1',
    doc: 'Share of the limit that less urgent calls may fill while urgent ones come in: the rest is kept free for those.',
    scope: ['backend'],
    tunable: false,
  }),
} as const

const backend = label('Backend that is protected.')

export const SHED_REASONS = ['deadline_infeasible', 'slo_infeasible', 'priority_shed', 'waited_too_long'] as const
export type ShedReason = (typeof SHED_REASONS)[number]

export const instruments = {
  shed: instrument({
    name: 'flyball.throttle_shed',
    kind: 'counter',
    unit: '{call}',
    doc: 'Calls turned away, by the reason.',
    labels: { backend, class: label('SLO class.', 32), reason: label('Why.', SHED_REASONS.length + 1, SHED_REASONS) },
  }),
  delayed: instrument({ name: 'flyball.throttle_delayed', kind: 'counter', unit: '{call}', doc: 'Less urgent calls held back to keep room for urgent ones, or for a provider’s budget.', labels: { backend, class: label('SLO class.', 32) } }),
  utilisation: instrument({ name: 'flyball.throttle_utilisation', kind: 'gauge', unit: '1', doc: 'Work in flight over what the limit allows, or the backend’s own measure where one is named.', labels: { backend }, observed: true }),
  rejectRate: instrument({ name: 'flyball.throttle_reject_rate', kind: 'gauge', unit: '1', doc: 'Share of arrivals that the priority shedder turns away, least urgent first.', labels: { backend }, observed: true }),
  expectedWait: instrument({ name: 'flyball.throttle_expected_wait_seconds', kind: 'gauge', unit: 's', doc: 'Wait that an urgent call arriving now would have.', labels: { backend }, observed: true }),
  budgetLeft: instrument({ name: 'flyball.throttle_budget_left', kind: 'gauge', unit: '1', doc: 'What is left in a provider’s bucket, as a share of what it was seen to hold.', labels: { backend, budget: label('Which budget.', 5, ['requests', 'tokens', 'inputTokens', 'outputTokens']) }, observed: true }),
  gateSeconds: instrument({ name: 'flyball.throttle_gate_seconds', kind: 'gauge', unit: 's', doc: 'Time until the provider may be asked again, as its retry-after said.', labels: { backend }, observed: true }),
} as const
