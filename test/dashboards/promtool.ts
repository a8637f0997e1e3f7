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

export const checkRules = (...files: string[]): Outcome => promtool(['check', 'rules', ...files])

/** Whether `rules` (the file's text) fires exactly what the case says. */
export function runCase(rules: string, test: RuleCase): Outcome {
  const folder = mkdtempSync(join(tmpdir(), 'flyball-promtool-'))
  try {
    writeFileSync(join(folder, 'rules.yaml'), rulesFor(rules, test))
    const labels = (more: Readonly<Record<string, string>>): string =>
      Object.entries({ alertname: test.alert, alertstate: 'firing', severity: test.severity, ...more }).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(',')
    const document = {
      rule_files: ['rules.yaml'],
      evaluation_interval: test.interval,
      tests: [
        {
          interval: test.interval,
          input_series: test.series,
          promql_expr_test: [
            {
              expr: `ALERTS{alertname=${JSON.stringify(test.alert)},alertstate="firing"}`,
              eval_time: test.at,
              exp_samples: test.firing.map((one) => ({ labels: `ALERTS{${labels(one)}}`, value: 1 })),
            },
          ],
        },
      ],
    }
    writeFileSync(join(folder, 'test.yaml'), stringify(document, { lineWidth: 0, aliasDuplicateObjects: false }))
    return promtool(['test', 'rules', join(folder, 'test.yaml')])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

interface Rule {
  readonly alert?: string
  readonly record?: string
  readonly expr: string
}

/** The alert and what it is made of, evaluated as often as the case has samples: all rules over days would take minutes. */
function rulesFor(rules: string, { alert, interval }: RuleCase): string {
  const { groups } = parse(rules) as { groups: { name: string; interval: string; rules: Rule[] }[] }
  const mine = groups.flatMap((group) => group.rules).filter((rule) => rule.alert === alert)
  const wanted = (rule: Rule): boolean => mine.includes(rule) || (rule.record !== undefined && mine.some(({ expr }) => expr.includes(`${rule.record}{`)))
  return stringify({ groups: groups.map((group) => ({ ...group, interval, rules: group.rules.filter(wanted) })).filter((group) => group.rules.length > 0) }, { lineWidth: 0, aliasDuplicateObjects: false })
}
