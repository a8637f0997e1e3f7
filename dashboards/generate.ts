/** All that is generated, as text by file name: same declarations and options, same bytes. */
import type { InstrumentSpec } from '../src/telemetry/instrument-spec.ts'
import { boardJson, type Board } from './board.ts'
import { backends } from './boards/backends.ts'
import { controlLoop } from './boards/control-loop.ts'
import { lane } from './boards/lane.ts'
import { overview } from './boards/overview.ts'
import { selfHealth } from './boards/self-health.ts'
import { uplift } from './boards/uplift.ts'
import type { Declared } from './declared.ts'
import { declaredPanel } from './declared-panel.ts'
import { metricName, type Naming } from './naming.ts'
import { PromQl } from './promql.ts'
import { alertRules, type RuleOptions } from './rules/rules.ts'
import { rulesYaml } from './rules/rules-yaml.ts'

export interface GenerateOptions extends RuleOptions {
  readonly naming: Naming
}

/** What plugins measure at a backend's lane is theirs, not the backend's own. */
const OF_THE_LANE = /^flyball\.(batching|cache|priority|throttle|warmups|http)/

/** Instruments that are on no panel and in no rule, and why. */
export const EXEMPT: Readonly<Record<string, string>> = {}

export function generateBoards(declared: Declared, naming: Naming): Board[] {
  const q = new PromQl(naming, 'panel')
  const curated = [overview(q), controlLoop(q, declared), uplift(q), backends(q, []), lane(q, declared, []), selfHealth(q)]
  const left = notOn(curated, declared, naming)
  // A backend tells of itself under its own name; the rest are plugins'.
  const ofBackends = left.filter((spec) => 'backend' in spec.labels && !OF_THE_LANE.test(spec.name))
  const ofPlugins = left.filter((spec) => !ofBackends.includes(spec))
  const panels = (specs: readonly InstrumentSpec[]) => specs.map((spec) => declaredPanel(q, spec))
  return curated.map((board) => (board.name === 'backends' ? backends(q, panels(ofBackends)) : board.name === 'lane' ? lane(q, declared, panels(ofPlugins)) : board))
}

/** Declared instruments that no panel names. */
function notOn(boards: readonly Board[], declared: Declared, naming: Naming): InstrumentSpec[] {
  const text = JSON.stringify(boards.map(({ rows }) => rows.map(({ panels }) => panels.map(({ targets }) => targets))))
  return declared.instruments.filter((spec) => !new RegExp(`\\b${metricName(spec, naming)}(_bucket|_count|_sum)?\\b`).test(text))
}

export function generate(declared: Declared, options: GenerateOptions): Map<string, string> {
  const q = new PromQl(options.naming, 'panel')
  const files = new Map<string, string>()
  for (const board of generateBoards(declared, options.naming)) files.set(`${board.name}.json`, `${JSON.stringify(boardJson(board, q), null, 2)}\n`)
  files.set('rules.yaml', rulesYaml(alertRules(declared, options)))
  return files
}
