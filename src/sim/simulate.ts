/**
 * A run in virtual time: the same governor, lane, policies and loops as in production, a plant in place of the backend.
 * Nothing here reads a real clock, and chance comes from the seed: the same options give the same result, byte for byte.
 */
import { createNoopMeter, INVALID_SPAN_CONTEXT, trace, type Tracer } from '@opentelemetry/api'
import type { DecisionRecord } from '../control/decision-log.ts'
import type { Plugin } from '../core/plugin.ts'
import type { SloClass } from '../core/slo.ts'
import type { Governor } from '../governor-contract.ts'
import { createGovernor } from '../governor.ts'
import { applyFault, faultyPlant, type Fault } from './faults.ts'
import { createPlant, type PlantParameters } from './plants/parameters.ts'
import type { Plant } from './plants/plant.ts'
import { RunMetrics, ratio, type ClassResult, type PhaseResult } from './run-metrics.ts'
import { seededRandom } from './seeded-random.ts'
import { DEFAULT_CLIENT, SimulatedClients, type ClientOptions } from './simulated-client.ts'
import type { TraceRequest } from './simulated-request.ts'
import { settle, type KnobHistory, type Settling } from './settling.ts'
import { virtualClock, type VirtualClock } from './virtual-clock.ts'

export interface SimulationPhase {
  readonly name: string
  readonly fromMs: number
  readonly toMs: number
}

export interface SimulationOptions {
  /** In order of arrival. */
  readonly requests: Iterable<TraceRequest>
  readonly plant: PlantParameters
  /** Made anew for each run: plugins keep state. */
  readonly plugins: readonly Plugin[]
  readonly classes?: readonly SloClass[]
  /** Start values of knobs. */
  readonly knobs?: Readonly<Record<string, number>>
  readonly loops?: 'on' | 'dry' | 'off'
  readonly seed?: number
  readonly faults?: readonly Fault[]
  readonly client?: Partial<ClientOptions>
  readonly phases?: readonly SimulationPhase[]
  readonly savedStates?: Readonly<Record<string, unknown>>
  /** After the last arrival, what is under way gets this long to end, ms of virtual time. */
  readonly drainMs?: number
  /** For tests and tools that want to look inside while it runs: called before the first arrival. */
  readonly watch?: (inside: { governor: Governor; clock: VirtualClock; plant: Plant; metrics: RunMetrics }) => void
}

export interface SimulationResult {
  readonly seed: number
  readonly offered: number
  readonly met: number
  /** Requests within their targets, over offered ones. */
  readonly goodput: number
  /** The same, the wait of earlier attempts included. */
  readonly goodputFromFirst: number
  readonly smoothGoodput: number
  readonly goodputPerS: number
  readonly attempts: number
  readonly classes: Readonly<Record<string, ClassResult>>
  readonly phases: readonly PhaseResult[]
  readonly outcomes: Readonly<Record<string, number>>
  readonly rejects: Readonly<Record<string, number>>
  /** Answers 429 of the provider. */
  readonly provider429s: number
  /** Share of the backend's service, in ms, that went to requests that missed their targets or were abandoned. */
  readonly wastedShare: number
  readonly hitRatio: number
  readonly staleHitShare: number
  readonly cacheClasses: Readonly<Record<string, { lookups: number; hits: number; stale: number }>>
  /** Jain's index against the max-min fair shares. */
  readonly fairness: number
  readonly settling: readonly Settling[]
  readonly movesPerMinute: Readonly<Record<string, number>>
  readonly decisions: readonly DecisionRecord[]
  readonly knobs: Readonly<Record<string, KnobHistory>>
  /** Virtual time from first to last arrival, ms. */
  readonly spanMs: number
  /** Controller states at the end, to start another run from. */
  readonly states: Readonly<Record<string, unknown>>
}

const noSpan = trace.wrapSpanContext(INVALID_SPAN_CONTEXT)
const NO_TRACER: Tracer = { startSpan: () => noSpan, startActiveSpan: (() => undefined) as unknown as Tracer['startActiveSpan'] }
const DRAIN_MS = 120_000
/** Kept in the result: a run of hours moves thousands of times. */
const MAX_DECISIONS = 100_000

export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const seed = options.seed ?? 1
  const clock = virtualClock({ seed })
  const startMs = clock.monoMs()
  const plant = createPlant(options.plant, clock)
  const faulty = faultyPlant(plant, clock)
  const governor = createGovernor({
    backends: [options.faults?.some((fault) => fault.kind === 'refuse' || fault.kind === 'timeouts') ? faulty.backend : plant],
    plugins: options.plugins,
    clock,
    env: {},
    meter: createNoopMeter(),
    tracer: NO_TRACER,
    loops: options.loops ?? 'on',
    ...(options.classes ? { classes: options.classes } : {}),
    ...(options.knobs ? { knobs: options.knobs } : {}),
    ...(options.savedStates ? { savedStates: options.savedStates } : {}),
  })
  const metrics = new RunMetrics(options.phases)
  const version = (plant as { version?: (key: string, changeClass: string) => number }).version
  const clients = new SimulatedClients({
    governor,
    clock,
    random: seededRandom(seed ^ 0x7f4a7c15),
    metrics,
    model: plant.name,
    startMs,
    options: { ...DEFAULT_CLIENT, ...options.client },
    ...(version ? { version } : {}),
  })
  const decisions: DecisionRecord[] = []
  const knobs: Record<string, { atMs: number; value: number }[]> = {}
  governor.decisions.onDecision((record) => {
    if (decisions.length < MAX_DECISIONS) decisions.push(record)
    if (record.dry) return
    for (const move of record.moves) (knobs[move.key === '' ? move.knob : `${move.knob}{${move.key}}`] ??= [{ atMs: 0, value: move.from }]).push({ atMs: record.monoMs - startMs, value: move.to })
  })
  for (const fault of options.faults ?? []) clock.after(fault.atMs, () => applyFault(fault, { clock, plant, faulty, signals: governor.signals }))
  options.watch?.({ governor, clock, plant, metrics })
  await clock.until(governor.start())

  const arrivals = options.requests[Symbol.iterator]()
  let lastMs = 0
  let allArrived = false
  let quietAtMs = Number.POSITIVE_INFINITY
  /** One arrival ahead: the list of events stays short however long the trace is. */
  const next = (): void => {
    const { done, value } = arrivals.next()
    if (done) {
      allArrived = true
      quietAtMs = clock.monoMs() + (options.drainMs ?? DRAIN_MS)
      return
    }
    lastMs = value.atMs
    clock.after(startMs + value.atMs - clock.monoMs(), () => {
      clients.send(value)
      next()
    })
  }
  next()
  await clock.runWhile(() => !allArrived || (clients.open > 0 && clock.monoMs() < quietAtMs))
  const states = governor.loop.states()
  const spanMs = Math.max(1, lastMs)
  clients.end()
  await governor.close()
  await clock.quiet()

  const minutes = spanMs / 60_000
  return {
    seed,
    offered: metrics.offered,
    met: metrics.met,
    goodput: ratio(metrics.met, metrics.offered),
    goodputFromFirst: ratio(metrics.metFromFirst, metrics.offered),
    smoothGoodput: ratio(metrics.smooth, metrics.offered),
    goodputPerS: (metrics.met * 1_000) / spanMs,
    attempts: metrics.attempts,
    classes: metrics.classes(),
    phases: metrics.phases(),
    outcomes: Object.fromEntries([...metrics.outcomes].sort(byName)),
    rejects: Object.fromEntries([...metrics.rejects].sort(byName)),
    provider429s: (plant.refusals ?? 0) + faulty.refusals,
    wastedShare: metrics.serviceMs === 0 ? 0 : 1 - metrics.usefulMs / metrics.serviceMs,
    hitRatio: [...metrics.hitsByClass.values()].reduce((sum, one) => sum + one.lookups, 0) === 0 ? 0 : metrics.hits / [...metrics.hitsByClass.values()].reduce((sum, one) => sum + one.lookups, 0),
    staleHitShare: metrics.hits === 0 ? 0 : metrics.staleHits / metrics.hits,
    cacheClasses: Object.fromEntries([...metrics.hitsByClass].sort(byName)),
    fairness: metrics.fairness(),
    settling: settle(options.phases ?? [], metrics, knobs),
    movesPerMinute: Object.fromEntries(Object.entries(knobs).map(([name, history]) => [name, (history.length - 1) / minutes])),
    decisions,
    knobs,
    spanMs,
    states,
  }
}

const byName = ([a]: [string, unknown], [b]: [string, unknown]): number => (a < b ? -1 : a > b ? 1 : 0)
