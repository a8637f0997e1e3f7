/** Puts the parts together: backends with their lanes, plugins in their onion, knobs, signals, loops, telemetry. */
import { context as otelContext } from '@opentelemetry/api'
import { ControlLoop } from './control/loop.ts'
import { DecisionLog } from './control/decision-log.ts'
import { keepStates } from './control/keep-states.ts'
import { Switchback } from './control/switchback.ts'
import { forkCall } from './core/attempt.ts'
import type { Backend, BackendHealth } from './core/backend.ts'
import { settleWithBody } from './core/body.ts'
import { LiveCall, type Call } from './core/call.ts'
import { Chain } from './core/chain.ts'
import { systemClock, type Cancel } from './core/clock.ts'
import { FlyballError, toFlyballError } from './core/errors.ts'
import { Lane, type LaneObserver } from './core/lane.ts'
import { compose, type Send } from './core/onion.ts'
import { PHASES, type AttemptOptions, type Declares, type Host, type Logger, type Phase, type Plugin, type PluginParts } from './core/plugin.ts'
import type { Reply } from './core/reply.ts'
import { OVERFLOW, type Scope } from './core/scope.ts'
import { DEFAULT_CLASSES } from './core/slo.ts'
import type { Governor, GovernorOptions } from './governor-contract.ts'
import { knob } from './knobs/knob-spec.ts'
import { KnobRegistry } from './knobs/registry.ts'
import { LANE_SIGNALS, laneSignals } from './signals/lane-signals.ts'
import { SignalRegistry } from './signals/registry.ts'
import { callTelemetry, type CoreHandles } from './telemetry/call-telemetry.ts'
import { CORE_INSTRUMENTS } from './telemetry/catalogue.ts'
import { collectCoreGauges } from './telemetry/core-gauges.ts'
import { createInstruments } from './telemetry/instruments.ts'
import { startedTelemetry } from './telemetry/start.ts'
import { collectUplift } from './telemetry/uplift-instruments.ts'
import { collectSelf } from './telemetry/self-gauges.ts'
import type { InstrumentSpec, InstrumentSpecs } from './telemetry/instrument-spec.ts'

export const CORE_KNOBS = {
  maxQueue: knob({ name: 'lane.max_queue', default: 10_000, min: 0, max: 1_000_000, integer: true, unit: '{call}', doc: 'Most calls waiting in a lane; later ones are turned away at once.', scope: ['backend'], tunable: false }),
} as const

const SILENT: Logger = { debug() {}, info() {}, warn() {}, error() {} }
/** Health is asked this often. */
const HEALTH_MS = 5_000

/** Throws a TypeError, in one clear line, for a configuration that cannot work. */
export function createGovernor(options: GovernorOptions = {}): Governor {
  const clock = options.clock ?? systemClock
  const log = options.log ?? SILENT
  const classes = options.classes ?? DEFAULT_CLASSES
  const classByName = new Map(classes.map((slo) => [slo.name, slo]))
  if (classByName.size < classes.length) throw new TypeError(`classes: expected names of their own, got ${classes.map(({ name }) => name).join(', ')}`)
  const defaultClass = options.defaultClass === undefined ? classes[0] : classByName.get(options.defaultClass)
  if (!defaultClass) throw new TypeError(`defaultClass: expected one of ${[...classByName.keys()].join(', ')}, got ${options.defaultClass}`)

  const knobs = new KnobRegistry({ clock, values: options.knobs ?? {}, env: options.env ?? process.env })
  const signals = new SignalRegistry(clock)
  const instruments = options.meter ? createInstruments(options.meter) : createInstruments(undefined, startedTelemetry()?.histograms)
  const decisions = new DecisionLog()
  const backends = new Map<string, Backend>()
  const lanes = new Map<string, Lane>()
  const models = new Map<string, Backend>()
  const health = new Map<string, BackendHealth>()
  const warmed = new Set<string>()
  const describers = new Map<string, () => unknown>()
  const commands = new Map<string, (args: unknown) => unknown>()
  const declared = new Map<object, unknown>()
  const closers: (() => void | Promise<void>)[] = []
  const settledListeners = new Set<(call: Call) => void>()
  const open = new Chain<LiveCall>()
  const stop = new AbortController()
  let ready = false
  let draining = false
  let drained: (() => void)[] = []

  knobs.declare(CORE_KNOBS.maxQueue)
  const handles = declareInstruments(CORE_INSTRUMENTS) as unknown as CoreHandles
  const modelLabel = (model: string): string => (models.has(model) ? model : OVERFLOW)
  const telemetry = callTelemetry({ handles, modelLabel, ...(options.tracer ? { tracer: options.tracer } : {}) })
  const observer = bothObservers(laneSignals(signals), telemetry.observer)
  const facts = (scope: Scope): Readonly<Record<string, number>> => {
    const backend = scope.backend === undefined ? undefined : backends.get(scope.backend)
    if (!backend) return {}
    const { slots, maxBatch, maxBatchWork } = backend.limits
    return { slots, maxBatch, ...(maxBatchWork === undefined ? {} : { maxBatchWork }) }
  }
  const loop = new ControlLoop({
    clock,
    knobs,
    signals,
    log: decisions,
    classes,
    facts,
    dryRun: options.loops === 'dry',
    attainmentSignal: LANE_SIGNALS.sloMet.name,
    offeredSignal: LANE_SIGNALS.offered.name,
    ...(options.savedStates ? { saved: options.savedStates } : {}),
    onError: (controller, error) => log.error({ controller, err: error }, 'controller failed; its knobs stay where they are'),
  })

  /** Two backends of one kind bring the same records: they share what those stand for. Other records of the same name are refused. */
  function once<S extends object, T>(spec: S, declare: (spec: S) => T): T {
    if (!declared.has(spec)) declared.set(spec, declare(spec))
    return declared.get(spec) as T
  }

  function declareInstruments(specs: InstrumentSpecs): Record<string, unknown> {
    const declare = (spec: InstrumentSpec): unknown =>
      spec.kind === 'histogram' ? instruments.histogram(spec) : spec.kind === 'gauge' ? instruments.gauge(spec) : instruments.counter(spec)
    return Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, once(spec, declare)]))
  }

  function addControllers(controllers: Declares['controllers'] = {}): void {
    for (const controller of Object.values(controllers)) if (!loop.controllers.includes(controller)) loop.add(controller)
  }

  /** Registers everything that a plugin or backend declares, and gives it back by the keys it was declared under. */
  function register(declares: Declares): Pick<Host, 'knobs' | 'signals' | 'instruments'> {
    const mapped = <S, T>(specs: Readonly<Record<string, S>> | undefined, declare: (spec: S) => T): Record<string, T> =>
      Object.fromEntries(Object.entries(specs ?? {}).map(([name, spec]) => [name, declare(spec)]))
    const registered = {
      knobs: mapped(declares.knobs, (spec) => once(spec, (one) => knobs.declare(one))),
      signals: mapped(declares.signals, (spec) => once(spec, (one) => signals.declare(one))),
      instruments: declareInstruments(declares.instruments ?? {}),
    }
    return registered as Pick<Host, 'knobs' | 'signals' | 'instruments'>
  }

  function routeModel(model: string): Backend {
    const backend = models.get(model) ?? [...backends.values()].find((candidate) => candidate.models === '*')
    if (!backend) throw new FlyballError('model_not_found', { param: 'model' })
    return backend
  }

  function laneOf(name: string): Lane {
    const lane = lanes.get(name)
    if (!lane) throw new TypeError(`there is no backend ${name}`)
    return lane
  }

  /** To the backend, past no further plugin: a child call in the backend's lane. */
  function submit(call: Call, attemptOptions: AttemptOptions = {}): Promise<Reply> {
    const chosen = attemptOptions.backend ?? call.backend
    const backend = chosen === undefined ? routeModel(call.model) : backends.get(chosen)
    if (!backend) return Promise.reject(new FlyballError('model_not_found', { message: `There is no backend ${chosen}.` }))
    const purpose = attemptOptions.purpose ?? call.purpose
    const child = forkCall(call, telemetry.startAttemptSpan(call, backend, purpose), clock, attemptOptions)
    for (let served = child.serves; served; served = served.serves) served.note('backend', backend.name)
    telemetry.watchAttempt(child, backend.name, purpose)
    attemptOptions.onChild?.(child)
    return laneOf(backend.name).submit(child)
  }

  /** What a plugin sends meets the handlers inside it, as the call itself would: a retry inside a cache sees its misses. */
  function attempt(inside: Send | undefined, call: Call, attemptOptions: AttemptOptions = {}): Promise<Reply> {
    if (!inside) return submit(call, attemptOptions)
    const branch = forkCall(call, call.span, clock, attemptOptions)
    attemptOptions.onChild?.(branch)
    return settleAfter(branch, inside)
  }

  /** Sends a call and settles it by what comes of it. */
  async function settleAfter(call: LiveCall, to: Send): Promise<Reply> {
    try {
      if (call.abortReason) throw call.abortReason
      return settleWithBody(await to(call), call, clock, options.unreadMs)
    } catch (thrown) {
      const error = toFlyballError(thrown)
      // Once: the call that this one works for fails of the same.
      if (error.code === 'internal' && !call.serves) log.error({ call: call.id, err: error.cause ?? error }, 'a call failed inside the gateway')
      call.settle(error.outcome, error.reason)
      throw error
    }
  }

  function hostFor(name: string, registered: Pick<Host, 'knobs' | 'signals' | 'instruments'>, inside: () => Send | undefined): Host {
    return {
      clock,
      log,
      ...registered,
      signal: (signal) => signals.get(signal),
      knob: (knobName) => knobs.get(knobName),
      classes,
      loops: options.loops ?? 'on',
      get backends() {
        return [...backends.values()]
      },
      route: (call) => (call.backend === undefined ? undefined : backends.get(call.backend)) ?? routeModel(call.model),
      lane: laneOf,
      attempt: (call, attemptOptions) => attempt(inside(), call, attemptOptions),
      describe: (fn) => void describers.set(name, fn),
      command: (verb, fn) => void commands.set(`${name}.${verb}`, fn),
      onClose: (fn) => void closers.push(fn),
    }
  }

  const parts = createPlugins(options.plugins ?? [])
  const send = onionOf(parts) ?? submit

  /** Undefined: there is no handler. */
  function onionOf(layers: readonly PluginParts[]): Send | undefined {
    const handlers = layers.flatMap(({ handler }) => handler ?? [])
    return handlers.length === 0 ? undefined : compose(handlers, (call) => submit(call))
  }

  function createPlugins(plugins: readonly Plugin[]): PluginParts[] {
    checkOrder(plugins)
    // Everything is declared before anything is created: a plugin may read another's signals.
    const registered = plugins.map((plugin) => register(plugin.declares))
    const inside: (Send | undefined)[] = []
    const created = plugins.map((plugin, i) => plugin.create(hostFor(plugin.name, registered[i] as Pick<Host, 'knobs' | 'signals' | 'instruments'>, () => inside[i])))
    for (const i of created.keys()) inside.push(onionOf(created.slice(i + 1)))
    for (const plugin of plugins) addControllers(plugin.declares.controllers)
    return created
  }

  function addBackend(backend: Backend): void {
    if (backends.has(backend.name)) throw new TypeError(`backend ${backend.name} is configured twice`)
    const registered = register(backend)
    const maxQueue = knobs.get(CORE_KNOBS.maxQueue.name).for({ backend: backend.name })
    const lane = new Lane({ backend, clock, policies: [], observer, maxQueue: () => maxQueue.value, ...(options.unreadMs === undefined ? {} : { unreadMs: options.unreadMs }) })
    lanes.set(backend.name, lane)
    backends.set(backend.name, backend)
    if (backend.models !== '*') for (const model of backend.models) if (!models.has(model)) models.set(model, backend)
    backend.attach?.({ clock, log, ...registered, classes, describe: (fn) => void describers.set(backend.name, fn) })
    lane.attach(parts.flatMap((part) => (part.forLane ? [part.forLane(lane)] : [])))
    addControllers(backend.controllers)
  }
  for (const backend of options.backends ?? []) addBackend(backend)
  const unknown = knobs.unknownValues()
  if (unknown.length > 0) throw new TypeError(`knobs: there is no knob ${unknown.join(', ')}`)

  // A raised limit or a shorter hold lets waiting calls go at once.
  closers.push(knobs.onChange(() => { for (const lane of lanes.values()) lane.wake() }))
  closers.push(
    decisions.onDecision((record) => {
      handles.decisions.add(1, { controller: record.controller, reason: record.why.reason })
      if (record.why.reason === 'revert') handles.reverts.add(1, { controller: record.controller })
      if (record.dry) return
      for (const move of record.moves) handles.moves.add(1, { knob: move.knob, scope: move.key, direction: move.to > move.from ? 'up' : 'down', bound: move.bound ?? 'none' })
    }),
  )

  async function warm(backend: Backend, signal: AbortSignal): Promise<void> {
    await backend.warm?.(signal)
    warmed.add(backend.name)
  }

  async function checkHealth(): Promise<void> {
    await Promise.all(
      [...backends.values()].map(async (backend) => {
        if (!backend.health) return
        try {
          health.set(backend.name, await backend.health(stop.signal))
        } catch (thrown) {
          health.set(backend.name, { healthy: false, detail: toFlyballError(thrown).code })
        }
      }),
    )
  }

  let cancelHealth: Cancel = () => {}
  closers.push(() => cancelHealth())
  function healthLater(): void {
    if (stop.signal.aborted) return
    cancelHealth = clock.after(HEALTH_MS, () => void checkHealth().then(healthLater, healthLater))
  }

  const governor: Governor = {
    clock,
    log,
    knobs,
    signals,
    decisions,
    loop,
    classes,
    instruments,
    telemetry,
    get ready() {
      return ready && !draining
    },
    get started() {
      return ready
    },
    get draining() {
      return draining
    },

    async start(signal = stop.signal) {
      if (options.loops !== 'off') loop.start()
      if (options.loops !== 'off' && options.loops !== 'dry') switchback?.start()
      const results = await Promise.allSettled([...backends.values()].map((backend) => warm(backend, signal)))
      results.forEach((result, i) => {
        // A remote backend that is down now may come up later: the gateway serves its errors meanwhile.
        if (result.status === 'rejected') log.warn({ backend: [...backends.keys()][i], err: toFlyballError(result.reason).code }, 'backend did not warm up')
      })
      await checkHealth()
      healthLater()
      ready = true
    },

    call(request) {
      const { class: className, traceContext } = request
      const slo = request.slo ?? (className === undefined ? defaultClass : classByName.get(className))
      if (!slo) throw new FlyballError('invalid_request', { message: `Expected class to be one of ${[...classByName.keys()].join(', ')}.`, param: 'class' })
      const span = telemetry.startCallSpan(request.operation, request.model, traceContext ?? otelContext.active())
      const call = new LiveCall({ ...request, tenant: request.tenant ?? '', work: request.work ?? 1, stream: request.stream ?? false, slo, span }, clock)
      const link = open.add(call)
      telemetry.watchCall(call)
      call.onSettle(() => {
        open.remove(link)
        for (const listener of settledListeners) listener(call)
        if (open.size === 0 && draining) {
          for (const resolve of drained) resolve()
          drained = []
        }
      })
      return call
    },

    send(call) {
      return settleAfter(call, draining ? () => Promise.reject(new FlyballError('draining', { retryAfterMs: 1_000 })) : send)
    },

    addBackend,
    route: routeModel,
    lane: laneOf,
    backends: () => [...backends.values()],
    backendStates: () =>
      [...backends.values()].map((backend) => {
        const lane = laneOf(backend.name)
        return { name: backend.name, provider: backend.provider, models: backend.models, health: health.get(backend.name), ready: warmed.has(backend.name), inFlight: lane.inFlight, waiting: lane.waiting, limit: lane.limit, completionsPerS: lane.completionsPerS }
      }),
    loopViews: () => loop.views(),
    uplift: () => switchback?.uplift(),
    modelLabel,
    pluginStates: () => Object.fromEntries([...describers].map(([name, fn]) => [name, fn()])),
    command(name, args) {
      const fn = commands.get(name)
      if (!fn) throw new FlyballError('not_found', { message: `There is no command ${name}.` })
      return fn(args)
    },
    commands: () => [...commands.keys()],
    onCallSettled(fn) {
      settledListeners.add(fn)
      return () => settledListeners.delete(fn)
    },

    async drain() {
      draining = true
      if (open.size > 0) await new Promise<void>((resolve) => drained.push(resolve))
      await Promise.all([...lanes.values()].map((lane) => lane.drain()))
    },

    async close() {
      draining = true
      loop.stop()
      stop.abort(new FlyballError('draining'))
      for (const call of open.values()) call.abort(new FlyballError('draining'))
      for (const close of closers.splice(0)) await close()
      await Promise.all([...backends.values()].map((backend) => backend.close()))
    },
  }
  closers.push(collectCoreGauges(handles, governor, () => health))
  closers.push(collectSelf(instruments, governor))
  if (options.stateFile !== undefined && options.loops !== 'off') closers.push(keepStates(options.stateFile, { clock, loop, log }))
  const switchback = options.switchback === undefined ? undefined : new Switchback({ clock, knobs, loop, onCallSettled: governor.onCallSettled }, options.switchback)
  if (switchback) closers.push(collectUplift(instruments, () => switchback.uplift()), () => switchback.stop())
  return governor
}

/** `observe` outside `reuse` outside `route`: a cache that stood outside the tracer would hide its hits. */
function checkOrder(plugins: readonly Plugin[]): void {
  const seen = new Set<string>()
  let last: { name: string; phase: Phase } | undefined
  for (const plugin of plugins) {
    if (seen.has(plugin.name)) throw new TypeError(`plugin ${plugin.name} is listed twice`)
    seen.add(plugin.name)
    if (plugin.phase === 'lane') continue
    if (last && PHASES.indexOf(plugin.phase) < PHASES.indexOf(last.phase)) {
      throw new TypeError(`plugins: ${plugin.name} (${plugin.phase}) must be listed before ${last.name} (${last.phase}): the first listed is outermost`)
    }
    last = plugin
  }
}

function bothObservers(first: LaneObserver, second: LaneObserver): LaneObserver {
  return {
    onArrive(call, lane) {
      first.onArrive?.(call, lane)
      second.onArrive?.(call, lane)
    },
    onDispatch(batch, lane) {
      first.onDispatch?.(batch, lane)
      second.onDispatch?.(batch, lane)
    },
    onSettle(call, settlement, batch, lane) {
      first.onSettle?.(call, settlement, batch, lane)
      second.onSettle?.(call, settlement, batch, lane)
    },
  }
}

