/** What is shipped keeps the rules; each rule is first shown to catch an offender. */
import { describe, expect, it } from 'vitest'
import { EXEMPT } from '../../dashboards/generate.ts'
import { lintBoard, panelsOf, uncovered, type BoardJson } from '../../dashboards/lint.ts'
import { NAMINGS } from '../../dashboards/naming.ts'
import { BOARD_NAMES, lintContext, readBoard, readRules } from './boards.ts'

describe.each(NAMINGS)('boards for %s', (naming) => {
  it.each(BOARD_NAMES)('%s keeps every rule', (name) => {
    expect(lintBoard(readBoard(name, naming), lintContext(naming))).toEqual([])
  })

  it('have one UID each', () => {
    const uids = BOARD_NAMES.map((name) => readBoard(name, naming).uid)
    expect(new Set(uids).size).toBe(BOARD_NAMES.length)
  })

  it('every declared instrument is on a panel or in a rule, or says why not', () => {
    const boards = BOARD_NAMES.map((name) => readBoard(name, naming))
    const exprs = [...boards.flatMap((board) => panelsOf(board).flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))), ...readRules(naming).map(({ expr }) => expr)]
    expect(uncovered(exprs, lintContext(naming)).filter((name) => EXEMPT[name] === undefined)).toEqual([])
    // An exemption of something that is on a panel is out of date.
    expect(Object.keys(EXEMPT).filter((name) => !uncovered(exprs, lintContext(naming)).includes(name))).toEqual([])
  })
})

describe('each rule catches its offender', () => {
  const base = readBoard('overview')
  type Loose = { [key: string]: unknown } & { panels: Record<string, any>[]; templating: { list: Record<string, any>[] }; annotations: { list: Record<string, any>[] }; links: unknown[] }
  const firstPanel = (board: Loose): Record<string, any> => board.panels.find(({ type }) => type === 'timeseries') as Record<string, any>
  const variable = (board: Loose, name: string): Record<string, any> => board.templating.list.find((one) => one['name'] === name) as Record<string, any>
  const setExpr = (expr: string) => (board: Loose): void => void (firstPanel(board)['targets'][0].expr = expr)
  const T = 'job=~"$job",instance=~"$instance"'

  it.each<[string, (board: Loose) => void]>([
    ['uneditable-dashboard', (board) => void (board['editable'] = true)],
    ['no-id', (board) => void (board['id'] = 7)],
    ['no-inputs', (board) => void (board['__inputs'] = [])],
    ['no-inputs', (board) => void (firstPanel(board)['datasource'].uid = '${DS_PROMETHEUS}')],
    ['uid', (board) => void (board['uid'] = 'Über Board')],
    ['links', (board) => void (board.links = [])],
    ['panel-ids', (board) => void (firstPanel(board)['id'] = 1)],
    ['grid', (board) => void (firstPanel(board)['gridPos'].x = 20)],
    ['grid', (board) => void (firstPanel(board)['gridPos'].h = 30)],
    ['template-datasource', (board) => void (board.templating.list = board.templating.list.filter((one) => one['name'] !== 'tempo_datasource'))],
    ['template-job', (board) => void (variable(board, 'job')['allValue'] = '.*')],
    ['template-instance', (board) => void (variable(board, 'instance')['multi'] = false)],
    ['template-on-time-change-reload', (board) => void (variable(board, 'job')['refresh'] = 1)],
    ['template-label-promql', (board) => void (variable(board, 'job')['query'] = 'label_values(job)')],
    ['label-exists', (board) => void (variable(board, 'model')['query'] = 'label_values(flyball_calls_total, modell)')],
    ['unused-variable', (board) => board.templating.list.push({ ...variable(board, 'job'), name: 'zone' })],
    ['undefined-variable', setExpr(`sum(flyball_waiting{${T},backend=~"$zone"})`)],
    ['panel-title-description', (board) => void delete firstPanel(board)['description']],
    ['panel-datasource', (board) => void (firstPanel(board)['datasource'].uid = 'abc')],
    ['panel-units', (board) => void delete firstPanel(board)['fieldConfig'].defaults.unit],
    ['panel-no-value', (board) => void delete firstPanel(board)['fieldConfig'].defaults.noValue],
    ['panel-no-targets', (board) => void (firstPanel(board)['targets'] = [])],
    ['ref-ids', (board) => firstPanel(board)['targets'].push(firstPanel(board)['targets'][0])],
    ['target-legend', (board) => void (firstPanel(board)['targets'][0].legendFormat = '')],
    ['legend-labels', (board) => void (firstPanel(board)['targets'][0].legendFormat = '{{backend}}')],
    ['state-timeline', (board) => void (firstPanel(board)['type'] = 'state-timeline')],
    ['target-promql', setExpr('sum(rate(')],
    ['metric-exists', setExpr(`sum(rate(flyball_cals_total{${T}}[$__rate_interval]))`)],
    ['metric-exists', setExpr(`sum(flyball_queue_wait_seconds{${T}})`)],
    ['target-job', setExpr('sum(flyball_waiting{instance=~"$instance"})')],
    ['target-instance', setExpr('sum(flyball_waiting{job=~"$job"})')],
    ['target-counter-agg', setExpr(`sum(flyball_calls_total{${T}})`)],
    ['target-counter-agg', setExpr(`histogram_quantile(0.9, sum by (le) (flyball_queue_wait_seconds_bucket{${T}}))`)],
    ['target-gauge-rate', setExpr(`rate(flyball_waiting{${T}}[$__rate_interval])`)],
    ['target-rate-interval', setExpr(`sum(rate(flyball_calls_total{${T}}[1m]))`)],
    ['label-exists', setExpr(`sum by (backend) (rate(flyball_calls_total{${T}}[$__rate_interval]))`)],
    ['label-exists', setExpr(`sum(rate(flyball_calls_total{${T},backend="x"}[$__rate_interval]))`)],
    ['label-value', setExpr(`sum(rate(flyball_calls_total{${T},outcome="okay"}[$__rate_interval]))`)],
    ['label-value', setExpr(`sum(rate(flyball_calls_total{${T},outcome=~"shed|exspired"}[$__rate_interval]))`)],
    ['le-integer', setExpr(`sum(rate(flyball_queue_wait_seconds_bucket{${T},le="1"}[$__rate_interval]))`)],
    ['annotation-labels', (board) => void (board.annotations.list[0]!['textFormat'] = '{{knob}}')],
    ['annotation-target', (board) => void (board.annotations.list[0]!['target'].expr = 'up')],
  ])('%s', (rule, spoil) => {
    const spoilt = structuredClone(base) as unknown as Loose
    spoil(spoilt)
    const findings = lintBoard(spoilt as unknown as BoardJson, lintContext())
    expect(findings.map((finding) => finding.split(': ')[1])).toContain(rule)
  })
})
