/** The core's own instruments, each declared once. Plugins and backends declare theirs beside themselves. */
import { MODES } from '../control/decision-log.ts'
import { REASONS } from '../control/controller.ts'
import { LAYERS } from '../knobs/knob.ts'
import { DURATION_BUCKETS_S, instrument, label } from './instrument-spec.ts'

const backend = label('Backend by its configured name.', 32)
const model = label('Model as configured; `_other` for one that is not.', 32)
const sloClass = label('SLO class.', 16)
const operation = label('What was asked for: chat, embeddings, a wrapped function’s name.', 32)
const outcome = label('How the call ended.', 8, ['ok', 'error', 'cancelled', 'shed', 'expired'])
const reason = label('Why it is not ok: an error code or upstream status.', 48)
const controller = label('Control loop.', 32)
const knob = label('Knob by name.', 64)
const scope = label('Instance of the knob or loop: `backend=…,class=…`.', 128)

const BATCH_BUCKETS = [1, 2, 4, 8, 12, 16, 24, 32, 64, 128]
const ITL_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5]

export const CORE_INSTRUMENTS = {
  calls: instrument({ name: 'flyball.calls', kind: 'counter', unit: '{call}', doc: 'Settled calls as clients see them.', labels: { operation, model, class: sloClass, outcome, reason } }),
  sloMet: instrument({ name: 'flyball.slo_met', kind: 'counter', unit: '{call}', doc: 'Settled calls that met every target of their class.', labels: { operation, model, class: sloClass } }),
  callDuration: instrument({ name: 'flyball.call_duration_seconds', kind: 'histogram', unit: 's', doc: 'Arrival of the request head to settlement.', labels: { operation, model, class: sloClass, outcome }, buckets: DURATION_BUCKETS_S }),
  ttft: instrument({ name: 'flyball.time_to_first_token_seconds', kind: 'histogram', unit: 's', doc: 'Arrival of the request head to the first token (or the whole unary reply).', labels: { operation, model, class: sloClass }, buckets: DURATION_BUCKETS_S }),
  itl: instrument({ name: 'flyball.time_per_output_token_seconds', kind: 'histogram', unit: 's', doc: 'Mean time per output token after the first, per call.', labels: { operation, model, class: sloClass }, buckets: ITL_BUCKETS_S }),
  stageDuration: instrument({
    name: 'flyball.stage_duration_seconds',
    kind: 'histogram',
    unit: 's',
    doc: 'Where the time of settled calls went.',
    labels: { stage: label('Stage of a call’s life.', 8, ['before_handler', 'gateway', 'queue', 'batch_wait', 'upstream_ttft', 'decode', 'backpressure']), class: sloClass },
    buckets: DURATION_BUCKETS_S,
  }),
  tokens: instrument({ name: 'flyball.tokens', kind: 'counter', unit: '{token}', doc: 'Tokens of settled calls.', labels: { operation, model, kind: label('Which tokens.', 4, ['input', 'output', 'cached_input']) } }),
  attempts: instrument({ name: 'flyball.attempts', kind: 'counter', unit: '{call}', doc: 'Attempts at backends, with their purpose and end.', labels: { backend, purpose: label('Why there was an attempt.', 8, ['serve', 'retry', 'hedge', 'refresh', 'shadow', 'warm', 'join']), outcome, reason } }),
  attemptDuration: instrument({ name: 'flyball.attempt_duration_seconds', kind: 'histogram', unit: 's', doc: 'Dispatch to settlement of attempts that reached a backend.', labels: { backend, outcome }, buckets: DURATION_BUCKETS_S }),
  queueWait: instrument({ name: 'flyball.queue_wait_seconds', kind: 'histogram', unit: 's', doc: 'Arrival at the lane to dispatch.', labels: { backend, class: sloClass }, buckets: DURATION_BUCKETS_S }),
  batchSize: instrument({ name: 'flyball.batch_size', kind: 'histogram', unit: '{call}', doc: 'Calls in a dispatched batch.', labels: { backend }, buckets: BATCH_BUCKETS }),
  inFlight: instrument({ name: 'flyball.in_flight', kind: 'gauge', unit: '{call}', doc: 'Calls handed to the backend and not settled.', labels: { backend }, observed: true }),
  waiting: instrument({ name: 'flyball.waiting', kind: 'gauge', unit: '{call}', doc: 'Calls in the lane’s queue.', labels: { backend }, observed: true }),
  limit: instrument({ name: 'flyball.limit', kind: 'gauge', unit: '{call}', doc: 'Limit in force on calls in flight.', labels: { backend }, observed: true }),
  backendUp: instrument({ name: 'flyball.backend_up', kind: 'gauge', unit: '1', doc: '1 while the backend’s last health check was good.', labels: { backend }, observed: true }),
  knobValue: instrument({ name: 'flyball.knob_value', kind: 'gauge', unit: '1', doc: 'Effective value of a knob, in the knob’s own unit.', labels: { knob, scope }, observed: true }),
  knobMin: instrument({ name: 'flyball.knob_min', kind: 'gauge', unit: '1', doc: 'Lower bound of a knob.', labels: { knob }, observed: true }),
  knobMax: instrument({ name: 'flyball.knob_max', kind: 'gauge', unit: '1', doc: 'Upper bound of a knob.', labels: { knob }, observed: true }),
  knobLayer: instrument({ name: 'flyball.knob_layer', kind: 'gauge', unit: '1', doc: '1 for the layer that a knob’s effective value comes from.', labels: { knob, scope, layer: label('Layer.', 8, LAYERS) }, observed: true }),
  signalValue: instrument({ name: 'flyball.signal_value', kind: 'gauge', unit: '1', doc: 'What the loops see, in the signal’s own unit; absent while idle.', labels: { signal: label('Signal by name.', 64), scope }, observed: true }),
  signalAge: instrument({ name: 'flyball.signal_age_seconds', kind: 'gauge', unit: 's', doc: 'Time since the signal’s last sample.', labels: { signal: label('Signal by name.', 64), scope }, observed: true }),
  loopMode: instrument({ name: 'flyball.loop_mode', kind: 'gauge', unit: '1', doc: '1 for the mode that a loop is in.', labels: { controller, scope, mode: label('Mode.', 4, MODES) }, observed: true }),
  loopPredicted: instrument({ name: 'flyball.loop_predicted', kind: 'gauge', unit: '1', doc: 'What a loop expects of the quantity it watches, in that signal’s unit.', labels: { controller, scope }, observed: true }),
  loopDryRun: instrument({ name: 'flyball.loop_dry_run', kind: 'gauge', unit: '1', doc: '1 while the loops decide but turn nothing.', labels: {}, observed: true }),
  decisions: instrument({ name: 'flyball.loop_decisions', kind: 'counter', unit: '{decision}', doc: 'Decisions that moved something or changed mode.', labels: { controller, reason: label('Reason.', 24, REASONS) } }),
  moves: instrument({ name: 'flyball.knob_moves', kind: 'counter', unit: '{move}', doc: 'Moves of knobs by the loops.', labels: { knob, scope, direction: label('Which way.', 2, ['up', 'down']), bound: label('Limit that cut the wish short.', 6, ['none', 'min', 'max', 'max_up', 'max_down']) } }),
  reverts: instrument({ name: 'flyball.knob_reverts', kind: 'counter', unit: '{move}', doc: 'Moves taken back because SLO attainment fell.', labels: { controller } }),
} as const
