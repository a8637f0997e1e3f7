/** Collects SELF_INSTRUMENTS from a governor: at each scrape, from what is there; one counter at settlement. */
import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { sloMet } from '../core/slo-met.ts'
import { scopeKey } from '../core/scope.ts'
import type { Why } from '../control/controller.ts'
import type { DecisionRecord } from '../control/decision-log.ts'
import type { InstanceView } from '../control/loop.ts'
import type { Governor } from '../governor-contract.ts'
import type { GaugeHandle, InstrumentSet } from './instruments.ts'
import { perCollection } from './per-collection.ts'
import { ARMS, SELF_INSTRUMENTS } from './self-instruments.ts'

/** Which arm a call ended in is looked up at most this often, ms: a walk over all knobs is too much per call. */
const ARM_LOOK_MS = 100

/** How controllers call the number that they watch: `observedMs`, `atMs`, `p95Ms`, `staleUpper`. */
export const OBSERVED_NUMBER = /^(observed|at|p\d+|stale)([A-Z]|$)/
/** How controllers call the number that they steer to. */
export const TARGET_NUMBER = /^(target|budget)([A-Z]|$)/

/** What a loop's gauges tell: its latest conclusion, or it would be gone whenever the next window is open. */
const shownWhy = ({ concluded, why }: InstanceView): Why => concluded ?? why

/** A loop's number of that kind, with its name. */
export function numberNamed(view: InstanceView, kind: RegExp): [name: string, value: number] | undefined {
  return Object.entries(shownWhy(view).numbers).find(([name]) => kind.test(name))
}

const SLO_TARGETS = [['start', 'startMs'], ['ttft', 'ttftMs'], ['itl', 'itlMs'], ['e2e', 'e2eMs']] as const

/** Declares and collects. Returns what takes it all away again. */
export function collectSelf(instruments: InstrumentSet, governor: Governor): () => void {
  const undo: (() => void)[] = []
  const collect = <L extends string>(spec: Parameters<typeof instruments.gauge<L>>[0], fn: Parameters<GaugeHandle<L>['collect']>[0]): void => {
    undo.push(instruments.gauge(spec).collect(fn))
  }
  collectProcess(collect, governor)
  collectPromises(collect, governor)
  collectSignals(collect, governor)
  undo.push(collectLoops(collect, governor))
  undo.push(collectArms(collect, instruments, governor))
  return () => undo.forEach((fn) => fn())
}

type Collect = <L extends string>(spec: Parameters<InstrumentSet['gauge']>[0] & { labels: { readonly [K in L]: unknown } }, fn: Parameters<GaugeHandle<L>['collect']>[0]) => void

function collectProcess(collect: Collect, governor: Governor): void {
  const version = ownVersion()
  const startWallS = (governor.clock.wallMs() - process.uptime() * 1_000) / 1_000
  // Started with the first scrape: a governor that nobody scrapes (a simulation runs thousands) costs no timer.
  let delays: ReturnType<typeof monitorEventLoopDelay> | undefined
  let cpuBefore = { usage: process.cpuUsage(), atMs: governor.clock.monoMs() }
  collect(SELF_INSTRUMENTS.buildInfo, (report) => report(1, { version, node: process.versions.node }))
  collect(SELF_INSTRUMENTS.startTime, (report) => report(startWallS, {}))
  collect(SELF_INSTRUMENTS.eventLoopDelay, (report) => {
    if (!delays) {
      delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
      delays.enable()
    }
    // The histogram holds the time between ticks, in ns; the delay is what goes beyond the resolution asked for.
    const seconds = (ns: number): number => (delays?.count ? Math.max(0, ns / 1e9 - RESOLUTION_MS / 1e3) : 0)
    report(seconds(delays.mean), { stat: 'mean' })
    report(seconds(delays.percentile(99)), { stat: 'p99' })
    report(seconds(delays.max), { stat: 'max' })
    delays.reset()
  })
  collect(SELF_INSTRUMENTS.cpu, (report) => {
    const { user, system } = process.cpuUsage(cpuBefore.usage)
    const atMs = governor.clock.monoMs()
    if (atMs > cpuBefore.atMs) report((user + system) / 1_000 / (atMs - cpuBefore.atMs), {})
    cpuBefore = { usage: process.cpuUsage(), atMs }
  })
  collect(SELF_INSTRUMENTS.memory, (report) => {
    const { rss, heapUsed, external } = process.memoryUsage()
    report(rss, { kind: 'resident' })
    report(heapUsed, { kind: 'heap' })
    report(external, { kind: 'external' })
  })
}

const RESOLUTION_MS = 20

function collectPromises(collect: Collect, governor: Governor): void {
  collect(SELF_INSTRUMENTS.sloObjective, (report) => {
    for (const slo of governor.classes) report(slo.quantile, { class: slo.name })
  })
  collect(SELF_INSTRUMENTS.sloTarget, (report) => {
    for (const slo of governor.classes) {
      for (const [target, key] of SLO_TARGETS) if (slo[key] !== undefined) report(slo[key] / 1_000, { class: slo.name, target })
    }
  })
}

function collectSignals(collect: Collect, governor: Governor): void {
  collect(SELF_INSTRUMENTS.signalStale, (report) => {
    for (const signal of governor.signals.all()) {
      for (const window of signal.instances()) if (window.read({ aggregate: 'last' }).status === 'stale') report(1, { signal: signal.spec.name, scope: window.key })
    }
  })
  collect(SELF_INSTRUMENTS.kvUsed, (report) => {
    for (const signal of governor.signals.all()) {
      if (!signal.spec.name.endsWith('.kv_used')) continue
      for (const window of signal.instances()) {
        const { value, status } = window.read({ aggregate: 'last' })
        if (status !== 'stale' && value !== undefined && window.scope.backend !== undefined) report(value, { backend: window.scope.backend })
      }
    }
  })
}

function collectLoops(collect: Collect, governor: Governor): () => void {
  const stories = new LoopStories((record) => {
    const controller = governor.loop.controllers.find((one) => one.name === record.controller)
    return scopeKey(record.scope, controller?.scope ?? [])
  })
  const stop = governor.decisions.onDecision((record) => stories.tell(record))
  const all = perCollection(() => governor.loopViews())
  const views = (fn: (view: InstanceView, labels: { controller: string; scope: string }) => void): void => {
    for (const view of all()) fn(view, { controller: view.controller, scope: view.key })
  }
  collect(SELF_INSTRUMENTS.loopEvaluations, (report) => views((view, labels) => report(view.decisions, labels)))
  collect(SELF_INSTRUMENTS.loopModeSince, (report) =>
    views((view, labels) => report((governor.clock.wallMs() - (governor.clock.monoMs() - view.modeSinceMs)) / 1_000, labels)))
  collect(SELF_INSTRUMENTS.loopObserved, (report) =>
    views((view, labels) => {
      const controller = governor.loop.controllers.find((one) => one.name === view.controller)
      const reading = controller && view.readings[controller.primary]
      if (reading?.status !== 'fresh') return
      // A controller that works something out of its readings says so by name; else it is the reading itself.
      const value = numberNamed(view, OBSERVED_NUMBER)?.[1] ?? reading.value
      if (value !== undefined && Number.isFinite(value)) report(value, labels)
    }))
  collect(SELF_INSTRUMENTS.loopTarget, (report) =>
    views((view, labels) => {
      const target = numberNamed(view, TARGET_NUMBER)?.[1]
      if (target !== undefined && Number.isFinite(target)) report(target, labels)
    }))
  collect(SELF_INSTRUMENTS.loopNumber, (report) =>
    views((view, labels) => {
      for (const [number, value] of Object.entries(shownWhy(view).numbers)) if (Number.isFinite(value)) report(value, { ...labels, number })
    }))
  collect(SELF_INSTRUMENTS.loopReason, (report) => views((view, labels) => report(1, { ...labels, reason: shownWhy(view).reason })))
  collect(SELF_INSTRUMENTS.loopDecisionTime, (report) => {
    for (const { controller, scope, latest } of stories.loops()) report(latest.wallMs / 1_000, { controller, scope, reason: latest.why.reason })
  })
  collect(SELF_INSTRUMENTS.moveValue, (report) => {
    for (const { move } of stories.knobs()) for (const value of ['from', 'to', 'wish'] as const) report(move[value], { knob: move.knob, scope: move.key, value })
  })
  collect(SELF_INSTRUMENTS.moveTime, (report) => {
    for (const { move, record } of stories.knobs()) {
      report(record.wallMs / 1_000, { knob: move.knob, scope: move.key, controller: record.controller, reason: record.why.reason, bound: move.bound ?? 'none' })
    }
  })
  collect(SELF_INSTRUMENTS.moveAttainment, (report) => {
    for (const { controller, scope, outcome } of stories.reviewed()) {
      if (Number.isFinite(outcome.attainmentBefore)) report(outcome.attainmentBefore, { controller, scope, side: 'before' })
      if (Number.isFinite(outcome.attainmentAfter)) report(outcome.attainmentAfter, { controller, scope, side: 'after' })
    }
  })
  collect(SELF_INSTRUMENTS.moveVerdict, (report) => {
    for (const { controller, scope, outcome } of stories.reviewed()) report(1, { controller, scope, verdict: outcome.verdict, reverted: outcome.reverted ? 'yes' : 'no' })
  })
  return stop
}

type Move = DecisionRecord['moves'][number]

interface LoopStory {
  readonly controller: string
  readonly scope: string
  latest: DecisionRecord
  /** Newest first: a review comes after its move, when newer moves may already be there. */
  moved: DecisionRecord[]
}

/** Moves remembered per loop until one of them is reviewed. */
const MOVES_KEPT = 8
/** Loops and knob instances remembered; both are bounded by their declarations' `maxInstances`, this bounds those. */
const STORIES_KEPT = 1_024

/** The latest of each, per loop and per knob instance. Dry decisions moved nothing and are not told. */
class LoopStories {
  readonly #scopeOf: (record: DecisionRecord) => string
  readonly #loops = new Map<string, LoopStory>()
  readonly #knobs = new Map<string, { move: Move; record: DecisionRecord }>()

  constructor(scopeOf: (record: DecisionRecord) => string) {
    this.#scopeOf = scopeOf
  }

  tell(record: DecisionRecord): void {
    if (record.dry) return
    const scope = this.#scopeOf(record)
    const id = `${record.controller}{${scope}}`
    let story = this.#loops.get(id)
    if (!story) {
      if (this.#loops.size >= STORIES_KEPT) return
      story = { controller: record.controller, scope, latest: record, moved: [] }
      this.#loops.set(id, story)
    }
    story.latest = record
    if (record.moves.length === 0) return
    const reviewed = story.moved.findIndex((one) => one.outcome !== undefined)
    if (reviewed >= 0) story.moved.length = reviewed + 1
    story.moved.unshift(record)
    if (story.moved.length > MOVES_KEPT) story.moved.length = MOVES_KEPT
    for (const move of record.moves) {
      const key = `${move.knob}{${move.key}}`
      if (this.#knobs.has(key) || this.#knobs.size < STORIES_KEPT) this.#knobs.set(key, { move, record })
    }
  }

  loops(): Iterable<LoopStory> {
    return this.#loops.values()
  }

  knobs(): Iterable<{ move: Move; record: DecisionRecord }> {
    return this.#knobs.values()
  }

  *reviewed(): Iterable<{ controller: string; scope: string; outcome: NonNullable<DecisionRecord['outcome']> }> {
    for (const { controller, scope, moved } of this.#loops.values()) {
      const outcome = moved.find((record) => record.outcome !== undefined)?.outcome
      if (outcome) yield { controller, scope, outcome }
    }
  }
}

/** Which arm is on is read off the knobs' layers, so that whoever runs the experiment need not tell. */
function collectArms(collect: Collect, instruments: InstrumentSet, governor: Governor): () => void {
  const calls = instruments.counter(SELF_INSTRUMENTS.armCalls)
  const time = instruments.counter(SELF_INSTRUMENTS.armTime)
  let arm: (typeof ARMS)[number] = 'governed'
  let lookedMs = governor.clock.monoMs()
  function look(): void {
    const now = governor.clock.monoMs()
    if (now > lookedMs) time.add((now - lookedMs) / 1_000, { arm })
    lookedMs = now
    arm = 'governed'
    for (const knob of governor.knobs.all()) for (const instance of knob.instances()) if (instance.layer === 'experiment') arm = 'static'
  }
  // A knob that changes hands says so at once, where its value changes with it; the rest is seen a little later.
  const stopKnobs = governor.knobs.onChange(look)
  const stopCalls = governor.onCallSettled((call) => {
    const { settlement } = call
    if (!settlement || settlement.outcome === 'cancelled') return
    if (governor.clock.monoMs() - lookedMs >= ARM_LOOK_MS) look()
    calls.add(1, { arm, class: call.class, slo: sloMet(call, settlement) ? 'met' : 'missed' })
  })
  collect(SELF_INSTRUMENTS.armOn, (report) => {
    look()
    for (const one of ARMS) report(one === arm ? 1 : 0, { arm: one })
  })
  return () => {
    stopKnobs()
    stopCalls()
  }
}

/** From the package's own package.json, two folders up in the sources and three in `dist`. */
function ownVersion(): string {
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { name?: string; version?: string }
      if (name === 'flyball' && version) return version
    } catch {
      // not here
    }
  }
  return 'unknown'
}
