/** What did the loops see, what did they decide, what came of it? */
import type { Controller } from '../../src/control/controller.ts'
import { CORE_INSTRUMENTS as CORE } from '../../src/telemetry/catalogue.ts'
import { SELF_INSTRUMENTS as SELF } from '../../src/telemetry/self-instruments.ts'
import type { Board, Row } from '../board.ts'
import type { Declared } from '../declared.ts'
import { knobPanel } from '../knob-panel.ts'
import { stat, table, timeline, timeseries, type Panel } from '../panels.ts'
import { grafanaUnit } from '../units.ts'
import { avg, BACKEND_SCOPE, countOf, max, raw, sum, topk, type Expr, type PromQl } from '../promql.ts'

/** The more serious, the higher: over several instances the worst is shown. */
const MODE_RANK = { learn: 0, active: 1, hold: 2, fallback: 3 } as const
const MODE_STATES = {
  0: { text: 'learn', color: 'blue' },
  1: { text: 'active', color: 'green' },
  2: { text: 'hold', color: 'orange' },
  3: { text: 'fallback', color: 'red' },
}

const SCOPED = { scope: BACKEND_SCOPE } as const
const NO_LOOPS = 'No loops'
const PER_LOOP = ['controller', 'scope'] as const

/** As a number, by MODE_RANK. */
export function worstMode<L extends 'controller' | 'scope' | 'instance'>(q: PromQl, by: readonly L[]): Expr<L> {
  const ranked = Object.entries(MODE_RANK).map(([mode, rank]) => `${rank} * (${q.value(CORE.loopMode, { ...SCOPED, mode }).text} == 1)`)
  return raw(`max by (${by.join(', ')}) (${ranked.join(' or ')})`, by)
}

export function controlLoop(q: PromQl, declared: Declared): Board {
  return {
    name: 'control-loop',
    title: 'flyball / Control loops',
    description: 'What did the loops see, what did they decide, what came of it?',
    rows: [
      { title: 'What are they doing?', panels: [...nowPanels(q), loopsTable(q)] },
      { title: 'What do they see?', panels: [...declared.controllers.map((controller) => seenPanel(q, controller, declared)), ...signalPanels(q), numbersTable(q)] },
      { title: 'What did they decide, and what came of it?', panels: [movesTable(q), effectsTable(q), ...decisionPanels(q)] },
      ...knobRows(q, declared),
      { title: 'Signals that loops read', collapsed: true, panels: signalsRead(q, declared) },
      { title: 'All signals, now', collapsed: true, panels: [signalsTable(q)] },
    ],
  }
}

function nowPanels(q: PromQl): Panel[] {
  return [
    timeline({
      title: 'Mode of each loop', width: 16, height: 7, unit: 'none', noValue: NO_LOOPS,
      description: 'learn: not enough seen yet. active: turning its knobs. hold: its signals are stale, knobs stay. fallback: blind for too long, knobs at their safe side. Over several instances the most serious is shown.',
      queries: [{ expr: worstMode(q, PER_LOOP), legend: '{{controller}} {{scope}}' }],
      states: MODE_STATES,
    }),
    stat({
      title: 'Dry run', height: 7, unit: 'none', decimals: 0, noValue: 'No governor',
      description: 'Instances whose loops decide but turn nothing.',
      query: { expr: sum(q.value(CORE.loopDryRun)), legend: 'instances' },
      thresholds: [{ value: null, color: 'text' }, { value: 1, color: 'blue' }],
    }),
    stat({
      title: 'In hold or fallback', height: 7, unit: 'none', decimals: 0, noValue: NO_LOOPS,
      description: 'Loops that do not see what they need, over the chosen instances.',
      query: { expr: countOf(sum(q.live(CORE.loopMode, { ...SCOPED, mode: { re: 'hold|fallback' } })), sum(q.live(CORE.loopMode, SCOPED))), legend: 'loops' },
      thresholds: [{ value: null, color: 'green' }, { value: 1, color: 'red' }],
    }),
  ]
}

function loopsTable(q: PromQl): Panel {
  const rows = ['controller', 'scope', 'instance'] as const
  return table({
    title: 'Loops', unit: 'none', noValue: NO_LOOPS, height: 8, rows: [...rows],
    description: 'Each loop: its mode and since when, what it sees and where it wants that to be (times in ms, shares from 0 to 1), and why its latest evaluation went as it did.',
    columns: [
      { title: 'Mode', query: worstMode(q, rows), mappings: MODE_STATES },
      { title: 'In it since', query: raw(`${max(q.live(SELF.loopModeSince, SCOPED), rows).text} * 1000`, rows), unit: 'dateTimeFromNow' },
      { title: 'Sees', query: max(q.live(SELF.loopObserved, SCOPED), rows), unit: 'none', decimals: 2 },
      { title: 'Wants', query: max(q.live(SELF.loopTarget, SCOPED), rows), unit: 'none', decimals: 2 },
      { title: 'Expects', query: max(q.live(CORE.loopPredicted, SCOPED), rows), unit: 'none', decimals: 2 },
      { title: 'Asked', query: max(q.live(SELF.loopEvaluations, SCOPED), rows), unit: 'short' },
      { title: 'Why', query: max(q.live(SELF.loopReason, SCOPED), [...rows, 'reason']), hidden: true },
    ],
  })
}

/** Observed, wanted and expected on one panel: apart, nobody sees them meet. */
function seenPanel(q: PromQl, controller: Controller, declared: Declared): Panel {
  const read = controller.reads[controller.primary]
  const signal = declared.signals.find(({ name }) => name === read?.signal)
  const where = { controller: controller.name, ...SCOPED }
  return timeseries({
    title: `${controller.name}: sees, wants, expects`,
    description: `${controller.doc} It decides on ${read?.signal ?? 'its signal'}${signal ? `: ${signal.doc}` : '.'} Times in ms, shares from 0 to 1; mean over the chosen instances.`,
    unit: 'none',
    queries: [
      { expr: avg(q.live(SELF.loopObserved, where), ['scope']), legend: 'sees {{scope}}' },
      { expr: avg(q.live(SELF.loopTarget, where), ['scope']), legend: 'wants {{scope}}', style: 'target' },
      { expr: avg(q.live(CORE.loopPredicted, where), ['scope']), legend: 'expects {{scope}}', style: 'wish' },
    ],
  })
}

/** One panel for each signal that some loop reads: all on one would be a tangle. */
function signalsRead(q: PromQl, declared: Declared): Panel[] {
  const names = new Set(declared.controllers.flatMap(({ reads }) => Object.values(reads).map(({ signal }) => signal)))
  return declared.signals.filter(({ name }) => names.has(name)).map((spec) =>
    timeseries({
      title: `Signal ${spec.name}`, width: 8, unit: grafanaUnit(spec.unit), noValue: 'Idle',
      description: `${spec.doc} Mean over the chosen instances. A gap: idle.`,
      queries: [{ expr: avg(q.live(CORE.signalValue, { signal: spec.name, ...SCOPED }), ['scope']), legend: spec.scope.length > 0 ? '{{scope}}' : spec.name }],
    }),
  )
}

function signalsTable(q: PromQl): Panel {
  const rows = ['signal', 'scope'] as const
  return table({
    title: 'Signals', unit: 'none', noValue: 'Idle', height: 14, rows: [...rows],
    description: 'All that is measured for loops, each in its own unit; mean over the chosen instances. No value: idle.',
    columns: [
      { title: 'Value', query: avg(q.live(CORE.signalValue, SCOPED), rows), unit: 'none', decimals: 3 },
      { title: 'Age', query: max(q.live(CORE.signalAge, SCOPED), rows), unit: 's', decimals: 1 },
    ],
  })
}

function signalPanels(q: PromQl): Panel[] {
  return [
    timeseries({
      title: 'Age of signals', unit: 's', min: 0,
      description: 'Time since the last sample, of the ten oldest. Old and idle is harmless, old and asked for is stale.',
      queries: [{ expr: topk(10, max(q.live(CORE.signalAge, SCOPED), ['signal', 'scope'])), legend: '{{signal}} {{scope}}' }],
    }),
    timeseries({
      title: 'Stale signals', unit: 'none', min: 0, decimals: 0, noValue: 'None',
      description: 'Signals that somebody waits for and that measure nothing: their loops go to hold, then to fallback.',
      queries: [{ expr: sum(q.live(SELF.signalStale, SCOPED), ['signal']), legend: '{{signal}}' }],
    }),
  ]
}

function numbersTable(q: PromQl): Panel {
  const rows = ['controller', 'scope', 'number'] as const
  return table({
    title: 'Numbers behind the latest evaluation', unit: 'none', noValue: NO_LOOPS, width: 12, rows: [...rows],
    description: 'What each loop reckoned with, units in the names; mean over the chosen instances.',
    columns: [{ title: 'Value', query: avg(q.live(SELF.loopNumber, SCOPED), rows), unit: 'none', decimals: 3 }],
  })
}

function movesTable(q: PromQl): Panel {
  const rows = ['knob', 'scope', 'instance'] as const
  const moved = (value: string): Expr<'knob' | 'scope' | 'instance'> => max(q.live(SELF.moveValue, { ...SCOPED, value }), rows)
  return table({
    title: 'Latest move of each knob', unit: 'none', noValue: 'No moves', rows: [...rows],
    description: 'From where to where, what the loop had wished for, which limit cut the wish short (max_up and max_down: the size of one move), why and when.',
    sortBy: 'Moved',
    columns: [
      { title: 'From', query: moved('from'), unit: 'none', decimals: 2 },
      { title: 'To', query: moved('to'), unit: 'none', decimals: 2 },
      { title: 'Wished', query: moved('wish'), unit: 'none', decimals: 2 },
      { title: 'Moved', query: raw(`${max(q.live(SELF.moveTime, SCOPED), [...rows, 'controller', 'reason', 'bound']).text} * 1000`, [...rows, 'controller', 'reason', 'bound']), unit: 'dateTimeFromNow' },
    ],
  })
}

function effectsTable(q: PromQl): Panel {
  const rows = ['controller', 'scope', 'instance'] as const
  const side = (value: string): Expr<'controller' | 'scope' | 'instance'> => max(q.live(SELF.moveAttainment, { ...SCOPED, side: value }), rows)
  return table({
    title: 'What the latest reviewed move brought', unit: 'percentunit', noValue: 'No move has been reviewed yet', rows: [...rows],
    description: 'SLO attainment per offered call before and after; “worse” at comparable load is taken back. “unknown”: too few calls to tell.',
    columns: [
      { title: 'Before', query: side('before'), unit: 'percentunit', decimals: 1 },
      { title: 'After', query: side('after'), unit: 'percentunit', decimals: 1 },
      { title: 'Verdict', query: max(q.live(SELF.moveVerdict, SCOPED), [...rows, 'verdict', 'reverted']), hidden: true },
    ],
  })
}

function decisionPanels(q: PromQl): Panel[] {
  return [
    table({
      title: 'Latest decision of each loop', unit: 'none', noValue: 'No decisions', width: 12, rows: ['controller', 'scope', 'reason'],
      description: 'The latest that moved something or changed the mode.', sortBy: 'Decided',
      columns: [{ title: 'Decided', query: raw(`${max(q.live(SELF.loopDecisionTime, SCOPED), [...PER_LOOP, 'reason']).text} * 1000`, [...PER_LOOP, 'reason']), unit: 'dateTimeFromNow' }],
    }),
    timeseries({
      title: 'Decisions by reason', unit: 'ops', stacked: true, min: 0, noValue: 'No decisions',
      description: 'Decisions per second that moved something or changed a mode.',
      queries: [{ expr: sum(q.rate(CORE.decisions), ['controller', 'reason']), legend: '{{controller}} {{reason}}' }],
    }),
    timeseries({
      title: 'Moves, up and down', unit: 'ops', min: 0, noValue: 'No moves',
      description: 'Moves per second. Up and down in equal measure for long is hunting: see the next panel.',
      queries: [{ expr: sum(q.rate(CORE.moves, SCOPED), ['knob', 'direction']), legend: '{{knob}} {{direction}}' }],
    }),
    timeseries({
      title: 'Swing of each knob', unit: 'percentunit', min: 0,
      description: 'Highest less lowest value of the last 15 minutes, as a share of the mean. Large together with many moves both ways: the loop oscillates.',
      queries: [{ expr: max(swing(q), ['knob', 'scope']), legend: '{{knob}} {{scope}}' }],
    }),
    timeseries({
      title: 'Wishes cut short', unit: 'ops', stacked: true, min: 0, noValue: 'None',
      description: 'Moves per second that a limit cut short: min and max are the knob’s bounds, max_up and max_down the largest single move.',
      queries: [{ expr: sum(q.rate(CORE.moves, { ...SCOPED, bound: { not: 'none' } }), ['knob', 'bound']), legend: '{{knob}} {{bound}}' }],
    }),
    timeseries({
      title: 'Moves taken back', unit: 'ops', min: 0, noValue: 'None',
      description: 'Moves per second that were undone because SLO attainment had fallen at comparable load.',
      queries: [{ expr: sum(q.rate(CORE.reverts), ['controller']), legend: '{{controller}}' }],
    }),
  ]
}

/** Peak to peak over the mean, of the last 15 minutes. */
function swing(q: PromQl): Expr<'knob' | 'scope' | 'job' | 'instance'> {
  const over = (fn: 'max_over_time' | 'min_over_time' | 'avg_over_time'): string => q.over(fn, CORE.knobValue, '15m', SCOPED).text
  return raw(`(${over('max_over_time')} - ${over('min_over_time')}) / (${over('avg_over_time')} > 0)`, ['knob', 'scope', 'job', 'instance'])
}

function knobRows(q: PromQl, declared: Declared): Row[] {
  const rows = ['knob', 'scope', 'layer', 'instance'] as const
  const ruling = table({
    title: 'Who rules each knob', unit: 'none', rows: [...rows], noValue: 'No knobs',
    description: 'The layer that the value in force comes from: an operator’s pin covers an experiment, that covers the fallback, that covers the controller, that covers the start value.',
    columns: [{ title: 'Value', unit: 'none', decimals: 2, query: raw(`max by (knob, scope, instance) (${q.value(CORE.knobValue, SCOPED).text}) * on (knob, scope, instance) group_left (layer) max by (knob, scope, layer, instance) (${q.value(CORE.knobLayer, SCOPED).text} == 1)`, rows) }],
  })
  const turned = new Set(declared.controllers.flatMap(({ turns }) => turns))
  const byLoops = declared.knobs.filter(({ name }) => turned.has(name))
  const byPeople = declared.knobs.filter(({ name }) => !turned.has(name))
  return [
    { title: 'Knobs that loops turn', panels: [ruling, ...byLoops.map((knob) => knobPanel(q, knob))] },
    { title: 'Knobs that only people turn', collapsed: true, panels: byPeople.map((knob) => knobPanel(q, knob)) },
  ]
}

