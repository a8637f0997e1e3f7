/** Every alert: fires when it should, not when it should not, not without traffic, not where its series do not exist. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { describe, expect, it } from 'vitest'
import { declaredBy } from '../../dashboards/declared.ts'
import { findDeclares } from '../../dashboards/find-declares.ts'
import { generate } from '../../dashboards/generate.ts'
import { promqlFacts } from '../../dashboards/promql-facts.ts'
import { panelsOf, specOf } from '../../dashboards/lint.ts'
import { SCRAPE_SERIES } from '../../dashboards/scrape-series.ts'
import { NAMINGS, metricName, type Naming } from '../../dashboards/naming.ts'
import type { InstrumentSpec } from '../../src/telemetry/instrument-spec.ts'
import { CORE_INSTRUMENTS as CORE } from '../../src/telemetry/catalogue.ts'
import { SELF_INSTRUMENTS as SELF } from '../../src/telemetry/self-instruments.ts'
import { need } from '../support/need.ts'
import { BOARD_NAMES, dashboardsFolder, declared, generatedFolder, lintContext, readBoard, readRules } from './boards.ts'
import { checkRules, runCase, runCases, type RuleCase, type Series } from './promtool.ts'

const runbook = readFileSync(join(dashboardsFolder, 'RUNBOOK.md'), 'utf8')

describe.each(NAMINGS)('rules for %s', (naming) => {
  const rules = readRules(naming)
  const records = new Set(rules.flatMap(({ record }) => (record ? [record] : [])))

  it('parse, and name only what is declared or recorded', () => {
    const findings = rules.flatMap(({ expr, alert, record }) => {
      const { errors, selectors } = promqlFacts(expr.replace(/\b(job_class:[\w:]+)/g, (name) => (records.has(name) ? 'up' : name)))
      return [
        ...(errors.length > 0 ? [`${alert ?? record}: does not parse: ${expr}`] : []),
        ...selectors.filter(({ metric }) => !specOf(metric, lintContext(naming))).map(({ metric }) => `${alert ?? record}: ${metric}`),
        ...selectors.flatMap(({ metric, matchers }) => matchers.filter(({ label }) => label !== 'class' && !(label in (specOf(metric, lintContext(naming))?.labels ?? {}))).map(({ label }) => `${alert ?? record}: ${metric} has no label ${label}`)),
      ]
    })
    expect(findings).toEqual([])
  })

  it('alerts carry what whoever is called needs', () => {
    for (const { alert, labels = {}, annotations = {}, for: hold } of rules) {
      if (!alert) continue
      expect(alert).toMatch(/^Flyball([A-Z][a-z]+)+$/)
      expect(['page', 'ticket']).toContain(labels['severity'])
      expect(annotations['summary']).toMatch(/\.$/)
      expect(annotations['description']).toMatch(/\.$/)
      expect(hold).toBeTruthy()
      expect(annotations['runbook_url']).toBe(`dashboards/RUNBOOK.md#${alert.toLowerCase()}`)
      expect(runbook).toContain(`\n## ${alert}\n`)
    }
  })
})

it('the runbook has no section of an alert that is gone', () => {
  const alerts = new Set(readRules().flatMap(({ alert }) => (alert ? [alert] : [])))
  const sections = [...runbook.matchAll(/^## (Flyball\w+)$/gm)].map(([, name]) => name as string)
  expect(sections.filter((name) => !alerts.has(name))).toEqual([])
})

it('the runbook names boards, panels and knobs that there are', () => {
  const boards = BOARD_NAMES.map((name) => readBoard(name))
  const titles = boards.flatMap(panelsOf).map(({ title = '' }) => title)
  const quoted = [...runbook.matchAll(/“([^”]+)”/g)].map(([, name]) => name as string)
  expect(quoted.length).toBeGreaterThan(5)
  expect(quoted.filter((name) => !titles.some((title) => title.includes(name)))).toEqual([])
  const emphasised = [...runbook.matchAll(/(?<!\*)\*([A-Z][^*]+)\*(?!\*)/g)].map(([, name]) => name as string)
  expect(emphasised.filter((name) => !boards.some(({ title }) => title.endsWith(`/ ${name}`)))).toEqual([])
  const knobs = [...runbook.matchAll(/`([a-z]+\.[a-z_]+)`/g)].map(([, name]) => name as string)
  expect(knobs.filter((name) => !declared.knobs.some((knob) => knob.name === name))).toEqual([])
})

const J = { job: 'gateway', instance: 'a:1' }
const labelText = (labels: Readonly<Record<string, string>>): string => `{${Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(',')}}`

/** A test's series, named for the path that the metric takes. */
type Line = readonly [InstrumentSpec | string, Readonly<Record<string, string>>, string]
interface Case extends Omit<RuleCase, 'series'> {
  readonly title: string
  readonly lines: readonly Line[]
  /** The other way to Prometheus has no scrapes to tell of. */
  readonly scraped?: boolean
}

const calls = (values: string, outcome = 'ok', sloClass = 'interactive'): Line => [CORE.calls, { ...J, class: sloClass, operation: 'chat', model: 'm', outcome }, values]
const met = (values: string, sloClass = 'interactive'): Line => [CORE.sloMet, { ...J, class: sloClass, operation: 'chat', model: 'm' }, values]
const LOOP = { controller: 'throttle', scope: 'backend=x' }
const KNOB = { knob: 'throttle.limit', scope: 'backend=x' }
const loop = (spec: InstrumentSpec, values: string, more: Readonly<Record<string, string>> = {}): Line => [spec, { ...J, ...LOOP, ...more }, values]
const served = (values: string): Line => [CORE.attempts, { ...J, backend: 'x', purpose: 'serve', outcome: 'ok' }, values]
const knobMoves = (direction: string, values: string): Line => [CORE.moves, { ...J, ...KNOB, direction, bound: 'none' }, values]
const knobValue = (values: string): Line => [CORE.knobValue, { ...J, ...KNOB }, values]
const burn = { job: 'gateway', class: 'interactive' }

/** `fineSteps`: one and a half short windows, in which all is well again. */
function burnCases(alert: string, severity: 'page' | 'ticket', interval: string, at: string, bad: number, fine: number, steps: number, fineSteps: number): Case[] {
  const badSteps = steps - fineSteps
  const rate = (perStep: number): string => `0+${perStep}x1200`
  const common = { alert, severity, interval, at }
  return [
    { ...common, title: 'burns', lines: [calls(rate(100)), met(rate(100 * (1 - bad)))], firing: [burn] },
    { ...common, title: 'burns, and not one call has ever met its SLO', lines: [calls(rate(100), 'error')], firing: [burn] },
    { ...common, title: 'within budget', lines: [calls(rate(100)), met(rate(100 * (1 - fine)))], firing: [] },
    { ...common, title: 'callers who left are not misses', lines: [calls(rate(100), 'cancelled'), calls(rate(100)), met(rate(100))], firing: [] },
    { ...common, title: 'burnt long ago, fine now', lines: [calls('0+100x1200'), met(`0x${badSteps} 0+100x600`)], firing: [] },
    { ...common, title: 'no traffic', lines: [calls('5x1200'), met('0x1200')], firing: [] },
    { ...common, title: 'hardly any traffic', lines: [calls(`0+${interval === '30s' ? 0.05 : 0.01}x1200`), met('0x1200')], firing: [] },
    { ...common, title: 'absent', lines: [], firing: [] },
  ]
}

/** Steps of 30 s: an hour is 120, five minutes are 10. Where each threshold and each window alone makes the difference. */
const VERY_FAST_CASES: readonly Case[] = [
  { title: 'has only just begun', lines: [calls('0+100x200'), met('0+100x170 17000x30')], firing: [] },
  { title: 'less by now', lines: [calls('0+100x200'), met('0x185 0+70x20')], firing: [] },
  { title: 'for less than two minutes', lines: [calls('0+100x200'), met('0x181 0+100x10 1000x9')], firing: [] },
  { title: 'few calls, all missed', lines: [calls('0+2x1200')], firing: [burn] },
  { title: 'too few calls', lines: [calls('0+0.5x1200')], firing: [] },
  { title: 'too few calls by now', lines: [calls('0+100x170 17000+0.5x400')], firing: [] },
].map((one): Case => ({ ...one, alert: 'FlyballBudgetBurnsVeryFast', severity: 'page', interval: '30s', at: '100m' }))

const swing = (low: number, high: number, steps: number, period: number): string => Array.from({ length: steps }, (_, i) => (i % period < period / 2 ? low : high)).join(' ')

const CASES: readonly Case[] = [
  ...VERY_FAST_CASES,
  ...burnCases('FlyballBudgetBurnsVeryFast', 'page', '30s', '100m', 0.8, 0.2, 200, 15),
  ...burnCases('FlyballBudgetBurnsFast', 'page', '1m', '900m', 0.4, 0.1, 900, 45),
  ...burnCases('FlyballBudgetBurns', 'ticket', '5m', '3500m', 0.2, 0.05, 700, 36),
  ...burnCases('FlyballBudgetBurnsSlowly', 'ticket', '10m', '7100m', 0.08, 0.01, 710, 54),
  ...[
    { title: 'asked nothing for long, though it sees fresh samples', lines: [loop(SELF.loopEvaluations, '7x80'), loop(SELF.loopObserved, '20x80'), served('0+100x80')], firing: [{ ...J, ...LOOP, backend: 'x' }] },
    { title: 'asked now and then', lines: [loop(SELF.loopEvaluations, '0+1x80'), loop(SELF.loopObserved, '20x80'), served('0+100x80')], firing: [] },
    { title: 'idle: sees nothing', lines: [loop(SELF.loopEvaluations, '7x80'), served('0+100x80')], firing: [] },
    { title: 'hardly any traffic', lines: [loop(SELF.loopEvaluations, '7x80'), loop(SELF.loopObserved, '20x80'), served('0+0.1x80')], firing: [] },
    { title: 'some traffic', lines: [loop(SELF.loopEvaluations, '7x80'), loop(SELF.loopObserved, '20x80'), served('0+2x80')], firing: [{ ...J, ...LOOP, backend: 'x' }] },
    { title: 'little traffic', lines: [loop(SELF.loopEvaluations, '7x80'), loop(SELF.loopObserved, '20x80'), served('0+0.5x80')], firing: [] },
    { title: 'asked every eight minutes', lines: [loop(SELF.loopEvaluations, Array.from({ length: 80 }, (_, i) => Math.floor(i / 16)).join(' ')), loop(SELF.loopObserved, '20x80'), served('0+100x80')], firing: [] },
    { title: 'was asked until twenty minutes ago', lines: [loop(SELF.loopEvaluations, '0+1x36 36x60'), loop(SELF.loopObserved, '20x80'), served('0+100x80')], firing: [{ ...J, ...LOOP, backend: 'x' }] },
    { title: 'nothing to do any more', lines: [loop(SELF.loopEvaluations, '7x80'), loop(SELF.loopObserved, '20x80'), served('0+100x40 4000x60')], firing: [] },
    { title: 'only warm-ups', lines: [loop(SELF.loopEvaluations, '7x80'), loop(SELF.loopObserved, '20x80'), [CORE.attempts, { ...J, backend: 'x', purpose: 'warm', outcome: 'ok' }, '0+100x80']] as Line[], firing: [] },
    { title: 'for less than five minutes', lines: [loop(SELF.loopEvaluations, '0+1x54 54x40'), loop(SELF.loopObserved, '20x80'), served('0+100x80')], firing: [] },
    { title: 'absent', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballLoopStalled', severity: 'ticket', interval: '30s', at: '38m' })),
  ...[
    { title: 'both ways, far', lines: [knobValue('8 32 8 32 8 32 8 32x200 '.replace('x200 ', ' ') + Array.from({ length: 120 }, (_, i) => (i % 2 ? 8 : 32)).join(' ')), knobMoves('up', '0+1x130'), knobMoves('down', '0+1x130')], firing: [{ ...J, ...KNOB }] },
    { title: 'both ways, hardly', lines: [knobValue(Array.from({ length: 130 }, (_, i) => (i % 2 ? 30 : 32)).join(' ')), knobMoves('up', '0+1x130'), knobMoves('down', '0+1x130')], firing: [] },
    { title: 'far, one way', lines: [knobValue('1+1x130'), knobMoves('up', '0+1x130'), knobMoves('down', '0x130')], firing: [] },
    { title: 'slowly both ways, ten moves each', lines: [knobValue(swing(8, 32, 130, 20)), knobMoves('up', '0+0.34x130'), knobMoves('down', '0+0.34x130')], firing: [{ ...J, ...KNOB }] },
    { title: 'both ways, by a quarter of its value', lines: [knobValue(swing(8, 10.5, 130, 2)), knobMoves('up', '0+1x130'), knobMoves('down', '0+1x130')], firing: [] },
    { title: 'few moves up', lines: [knobValue(swing(8, 32, 130, 2)), knobMoves('up', '0+0.1x130'), knobMoves('down', '0+1x130')], firing: [] },
    { title: 'few moves down', lines: [knobValue(swing(8, 32, 130, 2)), knobMoves('up', '0+1x130'), knobMoves('down', '0+0.1x130')], firing: [] },
    { title: 'no moves up for half an hour', lines: [knobValue(swing(8, 32, 130, 2)), knobMoves('up', '0+1x60 60x80'), knobMoves('down', '0+1x130')], firing: [] },
    { title: 'no moves down for half an hour', lines: [knobValue(swing(8, 32, 130, 2)), knobMoves('up', '0+1x130'), knobMoves('down', '0+1x60 60x80')], firing: [] },
    { title: 'was far, hardly now', lines: [knobValue(`${swing(8, 32, 60, 2)} 20x80`), knobMoves('up', '0+1x130'), knobMoves('down', '0+1x130')], firing: [] },
    { title: 'for less than a quarter of an hour', lines: [knobValue(`20x99 ${swing(8, 32, 40, 2)}`), knobMoves('up', '0+1x130'), knobMoves('down', '0+1x130')], firing: [] },
    { title: 'at rest', lines: [knobValue('8x130'), knobMoves('up', '5x130'), knobMoves('down', '5x130')], firing: [] },
    { title: 'absent', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballLoopOscillates', severity: 'ticket', interval: '30s', at: '60m' })),
  ...[
    { title: 'in fallback', lines: [loop(CORE.loopMode, '0 1x40', { mode: 'fallback' }), loop(CORE.loopMode, '1 0x40', { mode: 'active' })], firing: [{ ...J, ...LOOP }] },
    { title: 'in hold', lines: [loop(CORE.loopMode, '0x40', { mode: 'fallback' }), loop(CORE.loopMode, '1x40', { mode: 'hold' })], firing: [] },
    { title: 'only briefly', lines: [loop(CORE.loopMode, '0x30 1x20', { mode: 'fallback' })], firing: [] },
    { title: 'absent', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballLoopInFallback', severity: 'ticket', interval: '30s', at: '18m' })),
  ...[
    { title: 'down', lines: [[CORE.backendUp, { ...J, backend: 'x' }, '1x5 0x20'], [CORE.backendUp, { ...J, backend: 'y' }, '1x25']] as Line[], firing: [{ ...J, backend: 'x' }] },
    { title: 'down at one of two instances', lines: [[CORE.backendUp, { ...J, backend: 'x' }, '0x25'], [CORE.backendUp, { ...J, instance: 'b:1', backend: 'x' }, '1x25']] as Line[], firing: [{ ...J, backend: 'x' }] },
    { title: 'down for a moment', lines: [[CORE.backendUp, { ...J, backend: 'x' }, '1x18 0x20']] as Line[], firing: [] },
    { title: 'up, without traffic', lines: [[CORE.backendUp, { ...J, backend: 'x' }, '1x25']] as Line[], firing: [] },
    { title: 'absent', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballBackendDown', severity: 'page', interval: '30s', at: '10m' })),
  ...[
    { title: 'nearly full', lines: [[SELF.kvUsed, { ...J, backend: 'x' }, '0.97x60']] as Line[], firing: [{ ...J, backend: 'x' }] },
    { title: 'half full', lines: [[SELF.kvUsed, { ...J, backend: 'x' }, '0.5x60']] as Line[], firing: [] },
    { title: 'full for a moment', lines: [[SELF.kvUsed, { ...J, backend: 'x' }, '0.5x35 1x6 0.4x20']] as Line[], firing: [] },
    { title: 'absent', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballKvNearlyFull', severity: 'ticket', interval: '30s', at: '21m' })),
  ...[
    { title: 'stale', lines: [[SELF.signalStale, { ...J, signal: 'lane.work_ms', scope: 'backend=x' }, '0x4 1x40']] as Line[], firing: [{ ...J, signal: 'lane.work_ms', scope: 'backend=x' }] },
    { title: 'only just stale', lines: [[SELF.signalStale, { ...J, signal: 'lane.work_ms', scope: 'backend=x' }, '0x25 1x20']] as Line[], firing: [] },
    { title: 'idle', lines: [[SELF.signalStale, { ...J, signal: 'lane.work_ms', scope: 'backend=x' }, '0x40']] as Line[], firing: [] },
    { title: 'absent', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballSignalStale', severity: 'ticket', interval: '30s', at: '15m' })),
  ...[
    { title: 'a job falls silent', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x20 _x80']] as Line[], firing: [{ job: 'gateway' }] },
    { title: 'one of two instances is replaced', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x20 _x80'], [SELF.buildInfo, { ...J, instance: 'b:1', version: '2', node: '24' }, '_x18 1x80']] as Line[], firing: [] },
    { title: 'one of two instances no longer answers', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x20 _x80'], [SELF.buildInfo, { ...J, instance: 'b:1', version: '1', node: '24' }, '1x100'], [SCRAPE_SERIES.up, J, '1x20 0x80'], [SCRAPE_SERIES.up, { ...J, instance: 'b:1' }, '1x100']] as Line[], firing: [{ job: 'gateway' }], scraped: true },
    { title: 'a target that never was one of ours does not answer', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x100'], [SCRAPE_SERIES.up, J, '1x100'], [SCRAPE_SERIES.up, { ...J, instance: 'b:1' }, '0x100']] as Line[], firing: [], scraped: true },
    { title: 'silent for over an hour: it is meant', at: '90m', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x20 _x200']] as Line[], firing: [] },
    { title: 'one of two instances gone for over an hour', at: '90m', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x20 _x200'], [SELF.buildInfo, { ...J, instance: 'b:1', version: '1', node: '24' }, '1x220'], [SCRAPE_SERIES.up, J, '1x20 0x200'], [SCRAPE_SERIES.up, { ...J, instance: 'b:1' }, '1x220']] as Line[], firing: [], scraped: true },
    { title: 'silent for less than five minutes', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x44 _x80']] as Line[], firing: [] },
    { title: 'reports', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x100']] as Line[], firing: [] },
    { title: 'was never there', lines: [], firing: [] },
  ].map((one): Case => ({ at: '30m', ...one, alert: 'FlyballTelemetryGone', severity: 'page', interval: '30s' })),
]

const promtool = need('promtool')

promtool.describe.each(NAMINGS)('promtool on the rules for %s', (naming) => {
  const file = join(generatedFolder(naming), 'rules.yaml')
  const rules = readFileSync(file, 'utf8')

  it('check rules', () => {
    expect(checkRules(file)).toMatchObject({ ok: true })
  })

  it('every alert has cases that fire and cases that do not', () => {
    const alerts = [...new Set(readRules(naming).flatMap(({ alert }) => (alert ? [alert] : [])))]
    for (const alert of alerts) {
      const mine = CASES.filter((one) => one.alert === alert)
      expect([alert, mine.some(({ firing }) => firing.length > 0), mine.some(({ firing }) => firing.length === 0)]).toEqual([alert, true, true])
    }
  })

  // The other path's names differ, its logic does not: there the quick cases that fire say enough.
  it.each(CASES.filter(({ firing, interval, scraped }) => naming === 'metrics' || (firing.length > 0 && interval === '30s' && !scraped)).map((one) => [`${one.alert}: ${one.title}`, one] as const))('%s', (_, one) => {
    expect(runCase(rules, { ...one, series: one.lines.map((line) => seriesOf(line, naming)) })).toEqual({ ok: true, output: expect.any(String) as unknown })
  })
})

function seriesOf([spec, labels, values]: Line, naming: Naming): Series {
  return { series: `${typeof spec === 'string' ? spec : metricName(spec, naming)}${labelText(labels)}`, values }
}

/** Each gives the rule broken in one way at each place where it can be. */
const RULE_MUTATORS: Readonly<Record<string, (rule: RuleText) => readonly RuleText[]>> = {
  'threshold four times as high': (rule) => each(rule, /(?<= >=? )(?!0\b(?!\.))[\d.]+(?=$|\)| and)/g, (value) => String(Number(value) * 4)),
  'threshold a quarter': (rule) => each(rule, /(?<= >=? )(?!0\b(?!\.))[\d.]+(?=$|\)| and)/g, (value) => String(Number(value) / 4)),
  'comparison turned round': (rule) => each(rule, /(?<= )>=?(?= [\d.])/g, () => '<'),
  'other value': (rule) => each(rule, /(?<=== )[01]\b/g, (value) => String(1 - Number(value))),
  'one condition less': (rule) => conditionsLess(rule),
  'window short': (rule) => each(rule, /(?<=\[)\d+[mh](?=\])/g, () => '30s'),
  'window long': (rule) => each(rule, /(?<=\[)\d+[mh](?=\])/g, () => '12h'),
  'other recorded window': (rule) => each(rule, /(?<=:(?:ratio_rate|increase))\d+[mhd](?=\{)/g, (window) => (window === '5m' ? '3d' : '5m')),
  'matcher left out': (rule) => each(rule, /\{\w+="[^"]*"\}/g, () => ''),
  'a label less': (rule) => each(rule, /(?<=\bby \()[^)]+(?=\))/g, (labels) => labels.split(', ').slice(1).join(', ')),
  'at once': (rule) => [{ ...rule, for: '0s' }],
  'much later': (rule) => [{ ...rule, for: '30d' }],
}

const SHOW_NO_MORE = ['burns, and not one call has ever met its SLO', 'callers who left are not misses', 'no traffic', 'hardly any traffic', 'within budget', 'absent']

/** Mutants that say the same in other words, and why. */
const SAME: readonly (readonly [RegExp, string])[] = [
  [/^matcher left out: job_class/, 'conditions are joined by class: one that names it is enough'],
  [/avg_over_time\(flyball_knob_value\[(?:12h|30s)\]/, 'the mean over more or less time is much the same'],
]

interface RuleText {
  readonly alert?: string
  readonly expr: string
  readonly for?: string
}

function each(rule: RuleText, pattern: RegExp, by: (found: string) => string): RuleText[] {
  return [...rule.expr.matchAll(pattern)].map(({ 0: found, index }) => ({ ...rule, expr: rule.expr.slice(0, index) + by(found) + rule.expr.slice(index + found.length) }))
}

/** `a and b unless c`: without each but the first, and without the first. */
function conditionsLess(rule: RuleText): RuleText[] {
  const places = [...topLevel(rule.expr, /^ (?:and on \([^)]*\)|and|unless|or) /)]
  if (places.length === 0) return []
  const ends = [...places.slice(1).map(([start]) => start), rule.expr.length]
  return [
    { ...rule, expr: rule.expr.slice((places[0] as [number, number])[1]) },
    ...places.map(([start], i) => ({ ...rule, expr: rule.expr.slice(0, start) + rule.expr.slice(ends[i]) })),
  ]
}

function* topLevel(expr: string, operator: RegExp): Generator<[number, number]> {
  let depth = 0
  for (let at = 0; at < expr.length; at++) {
    if (expr[at] === '(' || expr[at] === '{') depth++
    if (expr[at] === ')' || expr[at] === '}') depth--
    const [found] = depth === 0 ? (operator.exec(expr.slice(at)) ?? []) : []
    if (found !== undefined) yield [at, at + found.length]
  }
}

promtool.describe('rules broken on purpose', () => {
  const { groups } = parse(readFileSync(join(generatedFolder('metrics'), 'rules.yaml'), 'utf8')) as { groups: { rules: RuleText[] }[] }
  // Classes have rules of their own, alike: the cases are of this one.
  const isMine = ({ alert, expr }: RuleText, name: string): boolean => alert === name && (!expr.includes('{class=') || expr.includes('{class="interactive"}'))
  // The slower burns are the fastest one with other numbers, made by the same code; days of samples would take minutes.
  const alerts = [...new Set(groups.flatMap(({ rules }) => rules).flatMap(({ alert }) => alert ?? []))].filter((alert) => !/^FlyballBudgetBurns(?!VeryFast)/.test(alert))

  it.each(alerts)('no mutant of %s passes its cases', (alert) => {
    // What shows only that the alert exists notices no mutant that the others let pass, and takes as long.
    const cases = CASES.filter((one) => one.alert === alert && !SHOW_NO_MORE.includes(one.title)).map((one) => ({ ...one, series: one.lines.map((line) => seriesOf(line, 'metrics')) }))
    const rule = groups.flatMap(({ rules }) => rules).find((one) => isMine(one, alert)) as RuleText
    const survivors: string[] = []
    for (const [mutator, mutate] of Object.entries(RULE_MUTATORS)) {
      for (const mutant of mutate(rule)) {
        const text = stringify({ groups: groups.map((group) => ({ ...group, rules: group.rules.map((one) => (one === rule ? mutant : one)) })) }, { lineWidth: 0, aliasDuplicateObjects: false })
        const told = `${mutator}: ${mutant.expr} for ${mutant.for}`
        if (!SAME.some(([pattern]) => pattern.test(told)) && runCases(text, cases).ok) survivors.push(told)
      }
    }
    expect(survivors).toEqual([])
  }, 120_000)
})

promtool.describe('rules follow the config', () => {
  it('each class has thresholds of its own, also where 14.4 times the budget is more than all calls', async () => {
    const lax = declaredBy(await findDeclares(), [{ name: 'strict', priority: 0, startMs: 100, quantile: 0.999 }, { name: 'lax', priority: 1, startMs: 100, quantile: 0.5 }])
    const rules = generate(lax, { naming: 'metrics' }).get('rules.yaml') ?? ''
    const lines = (sloClass: string, share: number): Line[] => [calls('0+100x300', 'ok', sloClass), met(`0+${100 * (1 - share)}x300`, sloClass)]
    const common = { alert: 'FlyballBudgetBurnsVeryFast', severity: 'page', interval: '30s', at: '100m' } as const
    const run = (sloClass: string, share: number, fires: boolean) =>
      runCase(rules, { ...common, series: lines(sloClass, share).map((line) => seriesOf(line, 'metrics')), firing: fires ? [{ job: 'gateway', class: sloClass }] : [] })
    expect(run('strict', 0.02, true)).toMatchObject({ ok: true })
    expect(run('strict', 0.01, false)).toMatchObject({ ok: true })
    expect(run('lax', 0.95, true)).toMatchObject({ ok: true })
    expect(run('lax', 0.6, false)).toMatchObject({ ok: true })
  })

  it('windows scale down for tests against a live Prometheus', () => {
    const rules = generate(declared, { naming: 'metrics', timeScale: 120 }).get('rules.yaml') ?? ''
    expect(rules).toContain('[30000ms]')
    expect(rules).not.toContain('[1h]')
  })
})
