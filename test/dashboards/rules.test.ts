/** Every alert: fires when it should, not when it should not, not without traffic, not where its series do not exist. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { declaredBy } from '../../dashboards/declared.ts'
import { findDeclares } from '../../dashboards/find-declares.ts'
import { generate } from '../../dashboards/generate.ts'
import { promqlFacts } from '../../dashboards/promql-facts.ts'
import { specOf } from '../../dashboards/lint.ts'
import { NAMINGS, metricName, type Naming } from '../../dashboards/naming.ts'
import type { InstrumentSpec } from '../../src/telemetry/instrument-spec.ts'
import { CORE_INSTRUMENTS as CORE } from '../../src/telemetry/catalogue.ts'
import { SELF_INSTRUMENTS as SELF } from '../../src/telemetry/self-instruments.ts'
import { need } from '../support/need.ts'
import { dashboardsFolder, declared, generatedFolder, lintContext, readRules } from './boards.ts'
import { checkRules, runCase, type RuleCase, type Series } from './promtool.ts'

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

const J = { job: 'gateway', instance: 'a:1' }
const labelText = (labels: Readonly<Record<string, string>>): string => `{${Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(',')}}`

/** A test's series, named for the path that the metric takes. */
type Line = readonly [InstrumentSpec | string, Readonly<Record<string, string>>, string]
interface Case extends Omit<RuleCase, 'series'> {
  readonly title: string
  readonly lines: readonly Line[]
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

const CASES: readonly Case[] = [
  ...burnCases('FlyballBudgetBurnsVeryFast', 'page', '30s', '100m', 0.8, 0.2, 200, 15),
  ...burnCases('FlyballBudgetBurnsFast', 'page', '1m', '900m', 0.4, 0.1, 900, 45),
  ...burnCases('FlyballBudgetBurns', 'ticket', '5m', '3500m', 0.2, 0.05, 700, 36),
  ...burnCases('FlyballBudgetBurnsSlowly', 'ticket', '10m', '7100m', 0.08, 0.01, 710, 54),
  ...[
    { title: 'asked nothing for long, though it sees fresh samples', lines: [loop(SELF.loopEvaluations, '7x80'), loop(SELF.loopObserved, '20x80'), served('0+100x80')], firing: [{ ...J, ...LOOP, backend: 'x' }] },
    { title: 'asked now and then', lines: [loop(SELF.loopEvaluations, '0+1x80'), loop(SELF.loopObserved, '20x80'), served('0+100x80')], firing: [] },
    { title: 'idle: sees nothing', lines: [loop(SELF.loopEvaluations, '7x80'), served('0+100x80')], firing: [] },
    { title: 'hardly any traffic', lines: [loop(SELF.loopEvaluations, '7x80'), loop(SELF.loopObserved, '20x80'), served('0+0.1x80')], firing: [] },
    { title: 'absent', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballLoopStalled', severity: 'ticket', interval: '30s', at: '38m' })),
  ...[
    { title: 'both ways, far', lines: [knobValue('8 32 8 32 8 32 8 32x200 '.replace('x200 ', ' ') + Array.from({ length: 120 }, (_, i) => (i % 2 ? 8 : 32)).join(' ')), knobMoves('up', '0+1x130'), knobMoves('down', '0+1x130')], firing: [{ ...J, ...KNOB }] },
    { title: 'both ways, hardly', lines: [knobValue(Array.from({ length: 130 }, (_, i) => (i % 2 ? 30 : 32)).join(' ')), knobMoves('up', '0+1x130'), knobMoves('down', '0+1x130')], firing: [] },
    { title: 'far, one way', lines: [knobValue('1+1x130'), knobMoves('up', '0+1x130'), knobMoves('down', '0x130')], firing: [] },
    { title: 'at rest', lines: [knobValue('8x130'), knobMoves('up', '5x130'), knobMoves('down', '5x130')], firing: [] },
    { title: 'absent', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballLoopOscillates', severity: 'ticket', interval: '30s', at: '60m' })),
  ...[
    { title: 'in fallback', lines: [loop(CORE.loopMode, '0 1x40', { mode: 'fallback' }), loop(CORE.loopMode, '1 0x40', { mode: 'active' })], firing: [{ ...J, ...LOOP }] },
    { title: 'in hold', lines: [loop(CORE.loopMode, '0x40', { mode: 'fallback' }), loop(CORE.loopMode, '1x40', { mode: 'hold' })], firing: [] },
    { title: 'only briefly', lines: [loop(CORE.loopMode, '0x30 1x4 0x10', { mode: 'fallback' })], firing: [] },
    { title: 'absent', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballLoopInFallback', severity: 'ticket', interval: '30s', at: '18m' })),
  ...[
    { title: 'down', lines: [[CORE.backendUp, { ...J, backend: 'x' }, '1x5 0x20'], [CORE.backendUp, { ...J, backend: 'y' }, '1x25']] as Line[], firing: [{ ...J, backend: 'x' }] },
    { title: 'down at one of two instances', lines: [[CORE.backendUp, { ...J, backend: 'x' }, '0x25'], [CORE.backendUp, { ...J, instance: 'b:1', backend: 'x' }, '1x25']] as Line[], firing: [{ ...J, backend: 'x' }] },
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
    { title: 'idle', lines: [[SELF.signalStale, { ...J, signal: 'lane.work_ms', scope: 'backend=x' }, '0x40']] as Line[], firing: [] },
    { title: 'absent', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballSignalStale', severity: 'ticket', interval: '30s', at: '15m' })),
  ...[
    { title: 'a job falls silent', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x20 _x80']] as Line[], firing: [{ job: 'gateway' }] },
    { title: 'one of two instances is replaced', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x20 _x80'], [SELF.buildInfo, { ...J, instance: 'b:1', version: '2', node: '24' }, '_x18 1x80']] as Line[], firing: [] },
    { title: 'reports', lines: [[SELF.buildInfo, { ...J, version: '1', node: '24' }, '1x100']] as Line[], firing: [] },
    { title: 'was never there', lines: [], firing: [] },
  ].map((one): Case => ({ ...one, alert: 'FlyballTelemetryGone', severity: 'page', interval: '30s', at: '30m' })),
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
  it.each(CASES.filter(({ firing, interval }) => naming === 'metrics' || (firing.length > 0 && interval === '30s')).map((one) => [`${one.alert}: ${one.title}`, one] as const))('%s', (_, one) => {
    expect(runCase(rules, { ...one, series: one.lines.map((line) => seriesOf(line, naming)) })).toMatchObject({ ok: true })
  })
})

function seriesOf([spec, labels, values]: Line, naming: Naming): Series {
  return { series: `${typeof spec === 'string' ? spec : metricName(spec, naming)}${labelText(labels)}`, values }
}

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
