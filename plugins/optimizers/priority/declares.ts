/** Everything that the priority plugin declares, once. */
import { instrument, knob, label } from '../../../src/index.ts'

export const knobs = {
  floor: knob({
    name: 'priority.floor',
    default: 0.1,
    min: 0,
    max: 0.5,
    unit: '1',
    doc: 'Least share of the work that a class gets while its calls wait, whatever more urgent classes ask for.',
    scope: ['class'],
    tunable: false,
  }),
  agingS: knob({
    name: 'priority.aging_s',
    default: 30,
    min: 0.1,
    max: 3_600,
    unit: 's',
    doc: 'A class whose next call has waited this long has its floor doubled, at twice that tripled, up to a quarter of the work.',
    tunable: false,
  }),
} as const

export const instruments = {
  waiting: instrument({
    name: 'flyball.priority_waiting',
    kind: 'gauge',
    unit: '{call}',
    doc: 'Calls that wait, by class.',
    labels: { backend: label('Backend whose lane they wait in.'), class: label('SLO class.', 32) },
    observed: true,
  }),
  tenants: instrument({
    name: 'flyball.priority_tenants',
    kind: 'gauge',
    unit: '{tenant}',
    doc: 'Tenants whose service is counted.',
    labels: { backend: label('Backend whose lane counts them.') },
    observed: true,
  }),
  tenantGap: instrument({
    name: 'flyball.priority_tenant_gap',
    kind: 'gauge',
    unit: '{token}',
    doc: 'Between the waiting tenants that had most and least: how far apart their weighted service is.',
    labels: { backend: label('Backend whose lane counts them.') },
    observed: true,
  }),
} as const
