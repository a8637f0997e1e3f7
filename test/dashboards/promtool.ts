/** Runs promtool on rules and on unit tests of rules. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
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
    // Rules are evaluated as often as the case has samples: days at every 30 s would take minutes.
    writeFileSync(join(folder, 'rules.yaml'), rules.replace(/^( +interval: ).*$/gm, `$1${test.interval}`))
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
