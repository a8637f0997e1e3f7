/** Runs promtool on rules and on unit tests of rules. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { findNeed } from '../support/needs.ts'

export interface Series {
  readonly series: string
  /** promtool's notation: `0+1x10`. One value every `interval`. */
  readonly values: string
}

export interface RuleCase {
  readonly interval: string
  readonly series: readonly Series[]
  readonly at: string
  readonly alert: string
  /** Labels of each firing alert, without `alertname`, `severity`. */
  readonly firing: readonly Readonly<Record<string, string>>[]
  readonly severity: 'page' | 'ticket'
}

export interface Outcome {
  readonly ok: boolean
  readonly output: string
}

function promtool(args: readonly string[]): Outcome {
  const result = spawnSync(findNeed('promtool') ?? 'promtool', args, { encoding: 'utf8' })
  return { ok: result.status === 0, output: `${result.stdout}${result.stderr}` }
}

/** With the rule files that it names. */
export const checkConfig = (file: string): Outcome => promtool(['check', 'config', file])

export const checkRules = (...files: string[]): Outcome => promtool(['check', 'rules', ...files])

/** Whether `rules` (the file's text) fires exactly what the case says. */
export const runCase = (rules: string, test: RuleCase): Outcome => runCases(rules, [test])

/** Several cases of one alert at once. */
export function runCases(rules: string, cases: readonly RuleCase[]): Outcome {
  const [first] = cases
  if (!first || cases.some(({ alert, interval }) => alert !== first.alert || interval !== first.interval)) throw new TypeError('expected cases of one alert, at one interval')
  const folder = mkdtempSync(join(tmpdir(), 'flyball-promtool-'))
  try {
    const groups = rulesFor(rules, first)
    writeFileSync(join(folder, 'rules.yaml'), stringify({ groups }, { lineWidth: 0, aliasDuplicateObjects: false }))
    // Left to itself promtool takes groups in any order: an alert before its recordings sees those of the step before, and with
    // steps of ten minutes not even those.
    const document = { rule_files: ['rules.yaml'], evaluation_interval: first.interval, group_eval_order: groups.map(({ name }) => name), tests: cases.map(testOf) }
    writeFileSync(join(folder, 'test.yaml'), stringify(document, { lineWidth: 0, aliasDuplicateObjects: false }))
    return promtool(['test', 'rules', join(folder, 'test.yaml')])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function testOf({ interval, series, at, alert, severity, firing }: RuleCase): object {
  const labels = (more: Readonly<Record<string, string>>): string =>
    Object.entries({ alertname: alert, alertstate: 'firing', severity, ...more }).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(',')
  const expr = `ALERTS{alertname=${JSON.stringify(alert)},alertstate="firing"}`
  return { interval, input_series: series, promql_expr_test: [{ expr, eval_time: at, exp_samples: firing.map((one) => ({ labels: `ALERTS{${labels(one)}}`, value: 1 })) }] }
}

interface Rule {
  readonly alert?: string
  readonly record?: string
  readonly expr: string
}

/** The alert and what it is made of, evaluated as often as the case has samples: all rules over days would take minutes. */
function rulesFor(rules: string, { alert, interval }: RuleCase): { name: string; rules: Rule[] }[] {
  const { groups } = parse(rules) as { groups: { name: string; interval: string; rules: Rule[] }[] }
  const mine = groups.flatMap((group) => group.rules).filter((rule) => rule.alert === alert)
  const wanted = (rule: Rule): boolean => mine.includes(rule) || (rule.record !== undefined && mine.some(({ expr }) => expr.includes(`${rule.record}{`)))
  return groups.map((group) => ({ ...group, interval, rules: group.rules.filter(wanted) })).filter((group) => group.rules.length > 0)
}
