/** What is committed is what the declarations say now; whatever is declared next is picked up by itself. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { boardV2 } from '../../dashboards/board-v2.ts'
import { declaredBy } from '../../dashboards/declared.ts'
import { findDeclares } from '../../dashboards/find-declares.ts'
import { generate } from '../../dashboards/generate.ts'
import { lintBoard, panelsOf, uncovered, type BoardJson } from '../../dashboards/lint.ts'
import { differences, generatedFiles, generatedFolder } from '../../dashboards/main.ts'
import { metricName } from '../../dashboards/naming.ts'
import { PromQl, sum } from '../../dashboards/promql.ts'
import { generateDashboards } from '../../src/cli/dashboards.ts'
import { instrument, knob, label } from '../../src/index.ts'
import { CORE_INSTRUMENTS } from '../../src/telemetry/catalogue.ts'
import { lintContext } from './boards.ts'

describe('generated files', () => {
  it('are what the declarations say (else: npm run dashboards)', async () => {
    expect(differences(await generatedFiles(), generatedFolder)).toEqual([])
  })

  it('do not depend on the order in which plugins are found', async () => {
    const found = await findDeclares()
    expect(generate(declaredBy(found.toReversed()), { naming: 'metrics' })).toEqual(generate(declaredBy(found), { naming: 'metrics' }))
  })
})

describe('a plugin of somebody else', () => {
  const theirs = {
    knobs: { depth: knob({ name: 'speculate.depth', default: 2, min: 0, max: 8, integer: true, unit: '{token}', doc: 'Draft tokens per step.', scope: ['backend'] }) },
    instruments: {
      drafts: instrument({ name: 'acme.drafts', kind: 'counter', unit: '{token}', doc: 'Drafted tokens.', labels: { backend: label('Backend.', 8), verdict: label('Taken?', 2, ['kept', 'dropped']) } }),
      lag: instrument({ name: 'acme.lag_seconds', kind: 'histogram', unit: 's', doc: 'Draft time.', labels: {}, buckets: [0.1, 1] }),
      depth: instrument({ name: 'acme.depth', kind: 'gauge', unit: '1', doc: 'Depth.', labels: {}, observed: true }),
    },
  }

  it.each(['metrics', 'otlp'] as const)('gets its panels for %s, and they keep the rules', (naming) => {
    const declared = declaredBy([theirs])
    const files = generate(declared, { naming })
    const boards = ['overview', 'control-loop', 'uplift', 'backends', 'lane', 'self-health'].map((name) => JSON.parse(files.get(`${name}.json`) ?? '') as BoardJson)
    const context = { ...lintContext(naming), instruments: declared.instruments }
    expect(boards.flatMap((board) => lintBoard(board, context))).toEqual([])
    const exprs = boards.flatMap((board) => panelsOf(board).flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)))
    expect(uncovered(exprs, { ...context, instruments: Object.values(theirs.instruments) })).toEqual([])
    const panel = boards.flatMap(panelsOf).find(({ title }) => title === 'Knob speculate.depth')
    expect(panel?.targets?.map(({ legendFormat }) => legendFormat)).toEqual(['{{scope}}', 'lowest', 'highest', 'wished {{scope}}'])
    expect(panel?.targets?.every(({ expr }) => expr.includes('knob="speculate.depth"'))).toBe(true)
  })
})

describe('names', () => {
  // The OTLP names are those that Prometheus's own library gives (github.com/prometheus/otlptranslator v0.0.2).
  it.each([
    ['a.wait_seconds', 'histogram', 's', 'a_wait_seconds', 'a_wait_seconds'],
    ['a.wait', 'histogram', 's', 'a_wait', 'a_wait_seconds'],
    ['a.seconds.wait', 'gauge', 's', 'a_seconds_wait', 'a_seconds_wait'],
    ['a.calls', 'counter', '{call}', 'a_calls_total', 'a_calls_total'],
    ['a.total.x', 'counter', '1', 'a_total_x_total', 'a_x_total'],
    ['a.memory', 'gauge', 'By', 'a_memory', 'a_memory_bytes'],
    ['a.memory', 'up_down_counter', 'By', 'a_memory', 'a_memory_bytes'],
    ['a.share', 'gauge', '1', 'a_share', 'a_share_ratio'],
    ['a.ratio', 'gauge', '1', 'a_ratio', 'a_ratio'],
    ['a.share', 'histogram', '1', 'a_share', 'a_share'],
    ['a.open', 'up_down_counter', '1', 'a_open', 'a_open'],
    ['a.fill', 'gauge', '%', 'a_fill', 'a_fill_percent'],
    ['a.flow', 'gauge', 'By/s', 'a_flow', 'a_flow_bytes_per_second'],
    ['a.flow', 'gauge', '{call}/s', 'a_flow', 'a_flow_per_second'],
    ['a.flow', 'counter', '1/s', 'a_flow_total', 'a_flow_per_second_total'],
    ['a.speed', 'gauge', 'm/s', 'a_speed', 'a_speed_meters_per_second'],
    ['a.pace', 'gauge', 's/{call}', 'a_pace', 'a_pace_seconds'],
    ['a.time', 'counter', 'ms', 'a_time_total', 'a_time_milliseconds_total'],
    ['a.count', 'gauge', 'tokens', 'a_count', 'a_count_tokens'],
    ['a..gap', 'gauge', 'foo bar', 'a__gap', 'a_gap_foo_bar'],
    ['9.lives', 'gauge', '', '9_lives', '_9_lives'],
    ['gen_ai.client.operation.duration', 'histogram', 's', 'gen_ai_client_operation_duration', 'gen_ai_client_operation_duration_seconds'],
  ] as const)('%s (%s, %s) is %s at /metrics and %s by OTLP', (name, kind, unit, metrics, otlp) => {
    expect(metricName({ name, kind, unit }, 'metrics')).toBe(metrics)
    expect(metricName({ name, kind, unit }, 'otlp')).toBe(otlp)
  })
})

/** Compiled with everything else: were one of these to compile, `tsc` would complain of an unused `@ts-expect-error`. */
export function whatDoesNotCompile(q: PromQl): unknown {
  return [
    // @ts-expect-error there is no such instrument
    CORE_INSTRUMENTS.cals,
    // @ts-expect-error a gauge has no rate
    () => q.rate(CORE_INSTRUMENTS.waiting),
    // @ts-expect-error a counter has no value worth showing
    () => q.value(CORE_INSTRUMENTS.calls),
    // @ts-expect-error only histograms have quantiles
    () => q.quantile(0.5, CORE_INSTRUMENTS.calls),
    // @ts-expect-error calls carry no backend
    () => q.rate(CORE_INSTRUMENTS.calls, { backend: 'x' }),
    // @ts-expect-error nor can they be kept apart by one
    () => sum(q.rate(CORE_INSTRUMENTS.calls), ['backend']),
    // @ts-expect-error what a sum has dropped is gone
    () => sum(sum(q.rate(CORE_INSTRUMENTS.calls), ['class']), ['model']),
  ]
}

describe('flyball dashboards --config', () => {
  it('writes boards and rules for what a configuration declares', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'flyball-dashboards-'))
    try {
      const config = join(folder, 'flyball.config.yaml')
      writeFileSync(config, 'backends:\n  up: { type: openai, baseUrl: "http://127.0.0.1:9/v1", models: [m] }\nplugins: [throttle]\nclasses: [{ name: gold, priority: 0, startMs: 100, quantile: 0.99 }]\n')
      const names = await generateDashboards({ config, folder, format: 'classic', naming: 'otlp', runbookUrl: 'https://runbooks.example/flyball' })
      expect(names.toSorted()).toEqual(['backends.json', 'control-loop.json', 'lane.json', 'overview.json', 'rules.yaml', 'self-health.json', 'uplift.json'])
      const board = readFileSync(join(folder, 'control-loop.json'), 'utf8')
      expect(board).toContain('Knob throttle.limit')
      expect(board).not.toContain('Knob cache.ttl_s')
      const rules = readFileSync(join(folder, 'rules.yaml'), 'utf8')
      expect(rules).toContain('{class="gold"} > 0.144')
      expect(rules).toContain('runbook_url: https://runbooks.example/flyball#flyballbackenddown')
      expect(rules).toContain('flyball_backend_up_ratio')

      await generateDashboards({ config, folder, format: 'v2', naming: 'otlp' })
      const inV2 = JSON.parse(readFileSync(join(folder, 'control-loop.json'), 'utf8')) as object
      expect(inV2).toEqual(boardV2(JSON.parse(board) as object))
      expect(readFileSync(join(folder, 'rules.yaml'), 'utf8')).toContain('{class="gold"} > 0.144')
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
