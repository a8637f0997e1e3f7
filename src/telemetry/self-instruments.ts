/**
 * What the governor knows of itself, declared once: the process, the loops' stories, the promises, the two arms of an
 * experiment. `self-gauges.ts` collects all of it from what already exists; nothing on the request path.
 */
import { REASONS } from '../control/controller.ts'
import { instrument, label } from './instrument-spec.ts'

const backend = label('Backend by its configured name.', 32)
const controller = label('Control loop.', 32)
const knob = label('Knob by name.', 64)
const scope = label('Instance of the knob or loop: `backend=…,class=…`.', 128)
const sloClass = label('SLO class.', 16)
export const ARMS = ['governed', 'static'] as const
const arm = label('governed: the loops decide; static: an experiment holds the user’s own values.', 2, ARMS)

export const VERDICTS = ['better', 'same', 'worse', 'unknown'] as const

export const SELF_INSTRUMENTS = {
  buildInfo: instrument({ name: 'flyball.build_info', kind: 'gauge', unit: '1', doc: 'Always 1; what is running.', labels: { version: label('Version of flyball.', 4), node: label('Version of Node.', 4) }, observed: true }),
  startTime: instrument({ name: 'flyball.start_time_seconds', kind: 'gauge', unit: 's', doc: 'When the process started, since the Unix epoch.', labels: {}, observed: true }),
  eventLoopDelay: instrument({ name: 'flyball.event_loop_delay_seconds', kind: 'gauge', unit: 's', doc: 'How late timers ran since the last collection.', labels: { stat: label('Which of the delays.', 3, ['mean', 'p99', 'max']) }, observed: true }),
  cpu: instrument({ name: 'flyball.cpu_cores', kind: 'gauge', unit: '{core}', doc: 'Cores kept busy by the process since the last collection.', labels: {}, observed: true }),
  memory: instrument({ name: 'flyball.memory_bytes', kind: 'gauge', unit: 'By', doc: 'Memory of the process.', labels: { kind: label('Which memory.', 3, ['resident', 'heap', 'external']) }, observed: true }),
  sloObjective: instrument({ name: 'flyball.slo_objective', kind: 'gauge', unit: '1', doc: 'Share of calls that must meet their class’s targets, 0-1.', labels: { class: sloClass }, observed: true }),
  sloTarget: instrument({ name: 'flyball.slo_target_seconds', kind: 'gauge', unit: 's', doc: 'A class’s promised latency.', labels: { class: sloClass, target: label('Of what.', 4, ['start', 'ttft', 'itl', 'e2e']) }, observed: true }),
  signalStale: instrument({ name: 'flyball.signal_stale', kind: 'gauge', unit: '1', doc: '1 while somebody asked for what the signal measures and nothing was measured; absent while fresh or idle.', labels: { signal: label('Signal by name.', 64), scope }, observed: true }),
  kvUsed: instrument({ name: 'flyball.kv_used', kind: 'gauge', unit: '1', doc: 'Share of the backend’s KV memory in use, 0-1, from its signal named `*.kv_used`.', labels: { backend }, observed: true }),
  loopEvaluations: instrument({ name: 'flyball.loop_evaluations', kind: 'gauge', unit: '{decision}', doc: 'How often a loop was asked since it exists, moves or none.', labels: { controller, scope }, observed: true }),
  loopModeSince: instrument({ name: 'flyball.loop_mode_since_seconds', kind: 'gauge', unit: 's', doc: 'When the loop entered its mode, since the Unix epoch.', labels: { controller, scope }, observed: true }),
  loopObserved: instrument({ name: 'flyball.loop_observed', kind: 'gauge', unit: '1', doc: 'What a loop sees of the quantity it watches: ms for times, 0-1 for shares; absent while idle.', labels: { controller, scope }, observed: true }),
  loopTarget: instrument({ name: 'flyball.loop_target', kind: 'gauge', unit: '1', doc: 'Where the loop wants that quantity to be; absent for a loop that names none.', labels: { controller, scope }, observed: true }),
  loopNumber: instrument({ name: 'flyball.loop_number', kind: 'gauge', unit: '1', doc: 'The numbers behind the loop’s latest decision; the unit is in each number’s name.', labels: { controller, scope, number: label('Which number.', 48) }, observed: true }),
  loopReason: instrument({ name: 'flyball.loop_reason', kind: 'gauge', unit: '1', doc: '1 for the reason of the loop’s latest conclusion; `learning` before the first.', labels: { controller, scope, reason: label('Reason.', 24, REASONS) }, observed: true }),
  loopDecisionTime: instrument({ name: 'flyball.loop_decision_time_seconds', kind: 'gauge', unit: 's', doc: 'When the loop last moved something or changed mode, since the Unix epoch; absent before.', labels: { controller, scope, reason: label('Why.', 24, REASONS) }, observed: true }),
  moveValue: instrument({ name: 'flyball.knob_move_value', kind: 'gauge', unit: '1', doc: 'The knob’s latest move by a loop, in the knob’s unit.', labels: { knob, scope, value: label('Where from, where to, and what the loop had wished for.', 3, ['from', 'to', 'wish']) }, observed: true }),
  moveTime: instrument({ name: 'flyball.knob_move_time_seconds', kind: 'gauge', unit: 's', doc: 'When and why the knob was last moved by a loop, since the Unix epoch.', labels: { knob, scope, controller, reason: label('Why.', 24, REASONS), bound: label('Limit that cut the wish short.', 6, ['none', 'min', 'max', 'max_up', 'max_down']) }, observed: true }),
  moveAttainment: instrument({ name: 'flyball.move_attainment', kind: 'gauge', unit: '1', doc: 'SLO attainment per offered call around the loop’s latest reviewed move, 0-1.', labels: { controller, scope, side: label('Before or after the move.', 2, ['before', 'after']) }, observed: true }),
  moveVerdict: instrument({ name: 'flyball.move_verdict', kind: 'gauge', unit: '1', doc: '1 for what the review of the loop’s latest reviewed move found.', labels: { controller, scope, verdict: label('What came of it.', 4, VERDICTS), reverted: label('Was it taken back?', 2, ['yes', 'no']) }, observed: true }),
  armCalls: instrument({ name: 'flyball.arm_calls', kind: 'counter', unit: '{call}', doc: 'Settled calls by the arm of the experiment in which they ended; cancelled ones are left out.', labels: { arm, class: sloClass, slo: label('Whether the call met its class’s targets.', 2, ['met', 'missed']) } }),
  armTime: instrument({ name: 'flyball.arm_time_seconds', kind: 'counter', unit: 's', doc: 'Time spent in each arm.', labels: { arm } }),
  armOn: instrument({ name: 'flyball.experiment_arm', kind: 'gauge', unit: '1', doc: '1 for the arm that is on.', labels: { arm }, observed: true }),
} as const
