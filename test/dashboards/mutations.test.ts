/**
 * Queries broken on purpose: every mutant of every shipped query must be noticed by the rules alone. (Mutants that say
 * something else in good PromQL, `max` for `sum`, are noticed by the check that the JSON is what the source generates.)
 */
import { describe, expect, it } from 'vitest'
import { lintBoard, panelsOf, type BoardJson } from '../../dashboards/lint.ts'
import { BOARD_NAMES, declared, lintContext, readBoard } from './boards.ts'

/** Each gives the query broken in one way, or undefined where there is nothing of the kind in it. */
const MUTATORS: Readonly<Record<string, (expr: string) => string | undefined>> = {
  'metric misspelt': (expr) => changed(expr, /\b(flyball|scrape)_(\w+)\{/, '$1_x$2{'),
  'metric of nobody': (expr) => changed(expr, /\bflyball_\w+\{/, 'vllm_requests{'),
  'without job': (expr) => changed(expr, /job=~"\$job",/, ''),
  'without instance': (expr) => changed(expr, /,instance=~"\$instance"/, ''),
  'not rated': (expr) => changed(expr, /\b(?:rate|increase)\(([^[]+)\[[^\]]+\]\)/, '$1'),
  'fixed window': (expr) => changed(expr, /rate\(([^[]+)\[\$__rate_interval\]/, 'rate($1[1m]'),
  'grouped by what is not there': (expr) => changed(expr, /\bby \(([^)]*)\)/, 'by ($1, zone)'),
  'matched on what is not there': (expr) => changed(expr, /\{job=~/, '{zone="x",job=~'),
  'variable misspelt': (expr) => changed(expr, /"\$instance"/, '"$instanc"'),
  'closed value misspelt': (expr) => closedValue(expr),
  'parenthesis lost': (expr) => changed(expr, /\)(?=[^)]*$)/, ''),
  'brace lost': (expr) => changed(expr, /\}(?=[^}]*$)/, ''),
  'gauge rated': (expr) => gaugeRated(expr),
}

function changed(expr: string, pattern: RegExp, by: string): string | undefined {
  const mutant = expr.replace(pattern, by)
  return mutant === expr ? undefined : mutant
}

const closed = new Set(declared.instruments.flatMap(({ labels }) => Object.entries(labels).filter(([, { values }]) => values).map(([label]) => label)))

function closedValue(expr: string): string | undefined {
  const label = [...closed].find((name) => new RegExp(`[{,]${name}="\\w`).test(expr))
  return label === undefined ? undefined : expr.replace(new RegExp(`([{,]${label}=")(\\w)`), '$1zz$2')
}

function gaugeRated(expr: string): string | undefined {
  const gauge = declared.instruments.find((spec) => spec.kind === 'gauge' && expr.includes(`${spec.name.replaceAll('.', '_')}{`))
  if (!gauge || /_over_time/.test(expr)) return undefined
  return expr.replace(new RegExp(`${gauge.name.replaceAll('.', '_')}\\{[^}]*\\}`), (selector) => `rate(${selector}[$__rate_interval])`)
}

describe.each(BOARD_NAMES)('%s', (name) => {
  const board = readBoard(name)
  const queries = panelsOf(board).flatMap((panel, p) => (panel.targets ?? []).map((target, t) => ({ p, t, expr: target.expr })))

  it('no mutant of a query survives', () => {
    const survivors: string[] = []
    let mutants = 0
    for (const { p, t, expr } of queries) {
      for (const [mutator, mutate] of Object.entries(MUTATORS)) {
        const mutant = mutate(expr)
        if (mutant === undefined) continue
        mutants++
        if (lintOnly(board, p, t, mutant).length === 0) survivors.push(`${mutator}: ${mutant}`)
      }
    }
    expect(survivors).toEqual([])
    expect(mutants).toBeGreaterThan(queries.length * 5)
  })
})

/** The board with only the mutant's panel in it: what the others say is known. */
function lintOnly(board: BoardJson, p: number, t: number, expr: string): string[] {
  const panel = panelsOf(board)[p]
  if (!panel) return []
  const targets = (panel.targets ?? []).map((target, i) => (i === t ? { ...target, expr } : target))
  const alone = { ...board, panels: [{ ...panel, targets }] }
  return lintBoard(alone, lintContext()).filter((finding) => !finding.includes('unused-variable'))
}
