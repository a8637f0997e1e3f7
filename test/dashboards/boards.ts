/** The generated boards as tests need them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { declaredBy } from '../../dashboards/declared.ts'
import { findDeclares } from '../../dashboards/find-declares.ts'
import type { BoardJson, LintContext } from '../../dashboards/lint.ts'
import type { Naming } from '../../dashboards/naming.ts'
import { SCRAPE_SERIES } from '../../dashboards/scrape-series.ts'
import { repositoryRoot } from '../support/data.ts'

export const BOARD_NAMES = ['overview', 'control-loop', 'uplift', 'backends', 'lane', 'self-health'] as const
export type BoardName = (typeof BOARD_NAMES)[number]

export const dashboardsFolder = join(repositoryRoot, 'dashboards')
export const declared = declaredBy(await findDeclares())

export const generatedFolder = (naming: Naming): string => join(dashboardsFolder, 'generated', naming === 'otlp' ? 'otlp' : '')

export const readBoard = (name: string, naming: Naming = 'metrics'): BoardJson => JSON.parse(readFileSync(join(generatedFolder(naming), `${name}.json`), 'utf8')) as BoardJson

export interface RuleJson {
  readonly alert?: string
  readonly record?: string
  readonly expr: string
  readonly for?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

export const readRules = (naming: Naming = 'metrics'): RuleJson[] =>
  (parse(readFileSync(join(generatedFolder(naming), 'rules.yaml'), 'utf8')) as { groups: { rules: RuleJson[] }[] }).groups.flatMap(({ rules }) => rules)

export const lintContext = (naming: Naming = 'metrics'): LintContext => ({ instruments: declared.instruments, naming, others: Object.values(SCRAPE_SERIES) })
