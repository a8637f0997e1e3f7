/**
 * Runs the controllers: reads signals, asks, turns knobs, writes the log. Beside the request path, never in it.
 * Modes per controller instance: learn → active → hold → fallback. Idle changes nothing.
 */
import type { Cancel, Clock } from '../core/clock.ts'
import { scopeKey, type Scope } from '../core/scope.ts'
import type { SloClass } from '../core/slo.ts'
import type { KnobRegistry } from '../knobs/registry.ts'
import type { SignalRegistry } from '../signals/registry.ts'
import type { Reading } from '../signals/signal-spec.ts'
import type { SignalWindow } from '../signals/signal-window.ts'
import type { Controller, ControllerInput, Decision, FactSource, SignalRead, Why } from './controller.ts'
import type { DecisionLog, DecisionRecord, Mode, Move } from './decision-log.ts'
import { MIN_REVIEW_SAMPLES, reviewMove, snapshotOf, type LoadSnapshot } from './move-review.ts'

/** How often the loop looks; controllers decide when their own windows close. */
export const TICK_MS = 250
/** Blind for this long in `hold`: fall back. */
export const HOLD_MS = 60_000
/** A move is reviewed once this much time and enough settled calls have passed. */
export const REVIEW_MS = 15_000
/** A review that never gets enough calls is given up. */
const REVIEW_GIVE_UP_MS = 10 * 60_000

export interface ControlLoopOptions {
  clock: Clock
  knobs: KnobRegistry
  signals: SignalRegistry
  log: DecisionLog
  classes: readonly SloClass[]
  facts: FactSource
  /** Decide and log, turn nothing. */
  dryRun?: boolean
  /** Share of offered calls that met their SLO (1 or 0 each), by backend. */
  attainmentSignal: string
  offeredSignal: string
  /** States from an earlier process, by `controller{key}`. */
  saved?: Readonly<Record<string, unknown>>
  onError?: (controller: string, error: unknown) => void
}

interface Instance {
  readonly controller: Controller
  readonly scope: Scope
  readonly key: string
  readonly primary: SignalWindow
  state: unknown
  mode: Mode
  modeSinceMs: number
  /** Sample counts at the last decision, by read. */
  seen: Record<string, number>
  lastDecisionMs: number
  lastWhy: Why
  concluded: Why | undefined
  decisions: number
  predicted: number | undefined
}

interface Review {
  readonly record: DecisionRecord
  readonly scope: Scope
  readonly before: LoadSnapshot
  readonly startMs: number
  readonly firstSample: number
}

export interface InstanceView {
  readonly controller: string
  readonly key: string
  readonly scope: Scope
  readonly mode: Mode
  readonly modeSinceMs: number
  readonly why: Why
  /** The latest that came of a closed window: numbers to show between two of them, where `why` mostly says `learning`. */
  readonly concluded: Why | undefined
  readonly decisions: number
  readonly predicted: number | undefined
  readonly readings: Readonly<Record<string, Reading>>
}

export class ControlLoop {
  readonly #options: ControlLoopOptions
  readonly #controllers: Controller[] = []
  readonly #instances = new Map<string, Instance>()
  readonly #reviews = new Map<string, Review>()
  #probe: string | undefined
  #frozen = false
  #timer: Cancel | undefined
  dryRun: boolean

  constructor(options: ControlLoopOptions) {
    this.#options = options
    this.dryRun = options.dryRun ?? false
  }

  /** Throws when a signal or knob does not exist, or another controller turns the same knob. */
  add(controller: Controller): void {
    if (this.#controllers.some((other) => other.name === controller.name)) throw new TypeError(`controller ${controller.name} is declared twice`)
    for (const read of Object.values(controller.reads)) this.#options.signals.get(read.signal)
    if (!controller.reads[controller.primary]) throw new TypeError(`controller ${controller.name}: primary ${controller.primary} is not one of its reads`)
    for (const knob of controller.turns) this.#options.knobs.claim(knob, controller.name)
    this.#controllers.push(controller)
  }

  get controllers(): readonly Controller[] {
    return this.#controllers
  }

  start(): void {
    if (this.#timer) return
    const again = (): void => {
      this.#timer = this.#options.clock.after(TICK_MS, () => {
        this.tick()
        again()
      })
    }
    again()
  }

  stop(): void {
    this.#timer?.()
    this.#timer = undefined
  }

  /** While frozen (an experiment's static arm) nothing is decided and states stay as they are. */
  freeze(frozen: boolean): void {
    this.#frozen = frozen
    if (!frozen) for (const instance of this.#instances.values()) this.#markSeen(instance)
  }

  tick(): void {
    if (this.#frozen) return
    for (const controller of this.#controllers) {
      const read = controller.reads[controller.primary] as SignalRead
      for (const window of this.#options.signals.get(read.signal).instances()) this.#step(this.#instance(controller, window))
    }
    this.#review()
  }

  views(): InstanceView[] {
    return [...this.#instances.values()].map((instance) => ({
      controller: instance.controller.name,
      key: instance.key,
      scope: instance.scope,
      mode: instance.mode,
      modeSinceMs: instance.modeSinceMs,
      why: instance.lastWhy,
      concluded: instance.concluded,
      decisions: instance.decisions,
      predicted: instance.predicted,
      readings: this.#readings(instance, false),
    }))
  }

  /** Serialisable states by `controller{key}`, to be given back as `saved`. */
  states(): Record<string, unknown> {
    // What was saved and has seen no call yet is still what is known: a restart that serves nothing must not forget it.
    const ours = new Set(this.#controllers.map(({ name }) => name))
    const waiting = Object.entries(this.#options.saved ?? {}).filter(([id]) => ours.has(id.slice(0, id.indexOf('{'))))
    return Object.fromEntries([...waiting, ...[...this.#instances].map(([id, instance]): [string, unknown] => [id, instance.state])])
  }

  #instance(controller: Controller, window: SignalWindow): Instance {
    const key = scopeKey(window.scope, controller.scope)
    const id = `${controller.name}{${key}}`
    let instance = this.#instances.get(id)
    if (!instance) {
      instance = {
        controller,
        scope: window.scope,
        key,
        primary: window,
        state: controller.init(this.#options.saved?.[id]),
        mode: 'learn',
        modeSinceMs: this.#options.clock.monoMs(),
        seen: {},
        lastDecisionMs: this.#options.clock.monoMs(),
        lastWhy: { reason: 'learning', numbers: {} },
        concluded: undefined,
        decisions: 0,
        predicted: undefined,
      }
      this.#instances.set(id, instance)
    }
    return instance
  }

  #step(instance: Instance): void {
    const { clock } = this.#options
    const now = clock.monoMs()
    // Asked every tick: only whether there is news, which the last sample tells.
    const { status } = this.#read(instance, { ...(instance.controller.reads[instance.controller.primary] as SignalRead), aggregate: 'last' })
    if (status === 'stale') return this.#blind(instance, now)
    if (instance.mode === 'hold' || instance.mode === 'fallback') {
      if (status !== 'fresh') return
      this.#seeAgain(instance)
    }
    if (status !== 'fresh') return
    const primarySeen = instance.seen[instance.controller.primary] ?? 0
    const { every } = instance.controller
    if (instance.primary.count - primarySeen < every.minSamples || now - instance.lastDecisionMs < every.minMs) return
    this.#decide(instance, now)
  }

  #decide(instance: Instance, now: number): void {
    const { controller } = instance
    const input: ControllerInput = {
      nowMs: now,
      scope: instance.scope,
      slo: this.#sloOf(instance.scope),
      readings: this.#readings(instance, true),
      knobs: Object.fromEntries(controller.turns.map((knob) => [knob, this.#options.knobs.controllerView(knob, instance.scope)])),
      facts: this.#options.facts(instance.scope),
      mayProbe: !this.dryRun && (this.#probe === undefined || this.#probe === this.#id(instance)),
    }
    const stateBefore = instance.state
    let decision: Decision<unknown>
    try {
      decision = controller.decide(stateBefore, input)
    } catch (error) {
      // A controller that throws must not take the request path or the other loops with it.
      this.#options.onError?.(controller.name, error)
      this.#markSeen(instance)
      instance.lastDecisionMs = now
      return
    }
    instance.state = decision.state
    instance.lastDecisionMs = now
    instance.lastWhy = decision.why
    instance.decisions++
    if (decision.why.reason !== 'learning') {
      instance.concluded = decision.why
      instance.predicted = decision.predicted
    }
    this.#markSeen(instance)
    if (instance.mode === 'learn' && decision.why.reason !== 'learning') this.#enter(instance, 'active')
    if (decision.probe) this.#probe = this.#id(instance)
    else if (this.#probe === this.#id(instance)) this.#probe = undefined
    const moves = decision.moves.map((wish) => this.#turn(instance, wish.knob, wish.to))
    const changed = moves.filter((move) => move.refused === undefined)
    if (changed.length === 0) return
    const record = this.#append(instance, changed, decision.why, { input, stateBefore, predicted: decision.predicted })
    if (!this.dryRun) this.#watch(instance, record)
  }

  #turn(instance: Instance, knob: string, to: number, ignoreCooldown = false): Move {
    const result = this.#options.knobs.move(knob, instance.scope, to, { dry: this.dryRun, ignoreCooldown })
    return {
      knob,
      key: this.#options.knobs.get(knob).for(instance.scope).key,
      from: result.from,
      to: result.value,
      wish: to,
      ...(result.bound === undefined ? {} : { bound: result.bound }),
      ...(result.refused === undefined ? {} : { refused: result.refused }),
    }
  }

  #append(instance: Instance, moves: readonly Move[], why: Why, more: { input?: ControllerInput; stateBefore?: unknown; predicted?: number | undefined } = {}): DecisionRecord {
    return this.#options.log.append({
      monoMs: this.#options.clock.monoMs(),
      wallMs: this.#options.clock.wallMs(),
      controller: instance.controller.name,
      scope: instance.scope,
      mode: instance.mode,
      dry: this.dryRun,
      moves,
      why,
      ...(more.predicted === undefined ? {} : { predicted: more.predicted }),
      ...(more.input === undefined ? {} : { input: more.input, stateBefore: more.stateBefore }),
    })
  }

  #blind(instance: Instance, now: number): void {
    if (instance.mode === 'active' || instance.mode === 'learn') {
      this.#enter(instance, 'hold')
      this.#append(instance, [], { reason: 'signals_stale', numbers: { ageMs: now - instance.lastDecisionMs } })
      return
    }
    if (instance.mode !== 'hold' || now - instance.modeSinceMs < HOLD_MS) return
    this.#enter(instance, 'fallback')
    const moves: Move[] = []
    for (const knob of instance.controller.turns) {
      const view = this.#options.knobs.controllerView(knob, instance.scope)
      const safe = this.#options.knobs.get(knob).spec.default
      if (!this.dryRun && this.#options.knobs.setFallback(knob, instance.scope, safe)) {
        moves.push({ knob, key: instance.key, from: view.value, to: safe, wish: safe })
      }
    }
    this.#append(instance, moves, { reason: 'signals_stale', numbers: { heldMs: now - instance.modeSinceMs } })
  }

  /** No jump on return: the controller goes on from where the fallback had put the knob. */
  #seeAgain(instance: Instance): void {
    const was = instance.mode
    this.#enter(instance, 'active')
    const moves: Move[] = []
    if (was === 'fallback' && !this.dryRun) {
      for (const knob of instance.controller.turns) {
        const view = this.#options.knobs.controllerView(knob, instance.scope)
        const { layer, value } = this.#options.knobs.get(knob).for(instance.scope)
        this.#options.knobs.setFallback(knob, instance.scope, undefined)
        if (layer !== 'fallback') continue
        this.#options.knobs.move(knob, instance.scope, value, { ignoreCooldown: true })
        moves.push({ knob, key: instance.key, from: view.value, to: this.#options.knobs.get(knob).for(instance.scope).value, wish: value })
      }
    }
    this.#markSeen(instance)
    this.#append(instance, moves, { reason: 'signals_back', numbers: {} })
  }

  #watch(instance: Instance, record: DecisionRecord): void {
    const { attainment, offered } = this.#load(instance.scope)
    const before = snapshotOf(attainment.read({ windowMs: REVIEW_MS }), offered.read({ windowMs: REVIEW_MS }))
    // A newer move of the same controller supersedes: its effects can no longer be told apart.
    this.#reviews.set(this.#id(instance), { record, scope: instance.scope, before, startMs: this.#options.clock.monoMs(), firstSample: attainment.count })
  }

  #review(): void {
    const now = this.#options.clock.monoMs()
    for (const [id, review] of this.#reviews) {
      const elapsed = now - review.startMs
      const { attainment, offered } = this.#load(review.scope)
      if (elapsed < REVIEW_MS || (attainment.count - review.firstSample < MIN_REVIEW_SAMPLES && elapsed < REVIEW_GIVE_UP_MS)) continue
      this.#reviews.delete(id)
      const after = snapshotOf(attainment.read({ windowMs: REVIEW_MS }), offered.read({ windowMs: REVIEW_MS }))
      const verdict = reviewMove(review.before, after)
      const instance = this.#instances.get(id)
      // A cut in the safe direction is never taken back by a review: what it protects may not show in attainment.
      const riskable = review.record.moves.filter((move) => {
        const { safeDirection } = this.#options.knobs.get(move.knob).spec
        return safeDirection === 'none' || safeDirection !== (move.to < move.from ? 'down' : 'up')
      })
      const reverted = verdict.verdict === 'worse' && verdict.comparableLoad && riskable.length > 0 && instance !== undefined && instance.mode === 'active'
      review.record.outcome = { ...verdict, reverted }
      if (!reverted) continue
      const moves = riskable.map((move) => this.#turn(instance, move.knob, move.from, true))
      this.#append(instance, moves, {
        reason: 'revert',
        numbers: { of: review.record.seq, attainmentBefore: verdict.attainmentBefore, attainmentAfter: verdict.attainmentAfter },
      })
    }
  }

  #load(scope: Scope): { attainment: SignalWindow; offered: SignalWindow } {
    return { attainment: this.#options.signals.get(this.#options.attainmentSignal).for(scope), offered: this.#options.signals.get(this.#options.offeredSignal).for(scope) }
  }

  #readings(instance: Instance, points: boolean): Record<string, Reading> {
    const readings: Record<string, Reading> = {}
    for (const [name, read] of Object.entries(instance.controller.reads)) readings[name] = this.#read(instance, read, points ? name : undefined)
    return readings
  }

  #read(instance: Instance, read: SignalRead, pointsFor?: string): Reading {
    const window = this.#options.signals.get(read.signal).for(instance.scope)
    const quantile = read.quantile === 'slo' ? (this.#sloOf(instance.scope)?.quantile ?? 0.95) : read.quantile
    return window.read({
      ...(read.aggregate === undefined ? {} : { aggregate: read.aggregate }),
      ...(quantile === undefined ? {} : { quantile }),
      ...(read.windowMs === undefined ? {} : { windowMs: read.windowMs }),
      ...(read.points && pointsFor !== undefined ? { points: true, since: instance.seen[pointsFor] ?? 0 } : {}),
    })
  }

  #markSeen(instance: Instance): void {
    for (const [name, read] of Object.entries(instance.controller.reads)) {
      instance.seen[name] = this.#options.signals.get(read.signal).for(instance.scope).count
    }
  }

  #sloOf(scope: Scope): SloClass | undefined {
    const { classes } = this.#options
    return classes.find((slo) => slo.name === scope.class) ?? [...classes].sort((a, b) => a.priority - b.priority)[0]
  }

  #enter(instance: Instance, mode: Mode): void {
    instance.mode = mode
    instance.modeSinceMs = this.#options.clock.monoMs()
  }

  #id(instance: Instance): string {
    return `${instance.controller.name}{${instance.key}}`
  }
}
