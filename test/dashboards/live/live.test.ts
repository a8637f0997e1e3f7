/**
 * Real gateways under load, scraped by a real Prometheus: every variable, annotation and panel query is run as Grafana
 * would run it. What is exported is held against what is declared, both ways. Then things are broken, and the right
 * alerts fire (rules with all windows and waits 60 times shorter).
 */
import { afterAll, beforeAll, expect } from 'vitest'
import type { Declared } from '../../../dashboards/declared.ts'
import { generate } from '../../../dashboards/generate.ts'
import { panelsOf, type BoardJson, type PanelJson, type Target } from '../../../dashboards/lint.ts'
import { metricName } from '../../../dashboards/naming.ts'
import { need } from '../../support/need.ts'
import { BOARD_NAMES } from '../boards.ts'
import { families } from './exposition.ts'
import { startGateway, type Gateway } from './gateways.ts'
import { fillIn, legendText, type Choice, type Shown } from './grafana.ts'
import { startPrometheus, type Prometheus, type SeriesResult } from './prometheus.ts'

/** Every character that means something in a regular expression, in a name that somebody may configure. */
const AWKWARD_MODEL = 'org/mo.del+v1 (beta)|[x]*?{2}^$\\d'
const PLAIN_MODEL = 'plain-model'
const TIME_SCALE = 60
const RANGE_S = 40
/** Scraped series of a gateway with four backends and everything on. */
const SERIES_BUDGET = 3_000

const everything: Choice = { job: 'All', instance: 'All', backend: 'All', model: 'All' }

/** Panels that may show nothing here, and why. */
const MAY_BE_EMPTY: Readonly<Record<string, string>> = {
  'Cache: out of date': 'only once a sample of hits has been fetched again in this window',
  'Stale signals': 'none is stale before the sensor is broken',
  'Moves taken back': 'only after a move that did harm: looked for at the end',
}
/** A loop that is content has never wished for anything, and not every loop names a target or predicts (the seesaw's does); signals are idle now and then. */
const WISHED = /^(?!Knob seesaw|seesaw:).* \/ (wished|wants|expects)|^Signal /

const prometheusNeed = need('prometheus')
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
/** Asks as often as there are new scrapes. */
async function waitFor(condition: () => Promise<boolean>, withinMs: number): Promise<void> {
  const endS = nowS() + withinMs / 1_000
  while (!(await condition())) {
    if (nowS() > endS) throw new Error(`not within ${withinMs} ms: ${condition.toString()}`)
    await sleep(500)
  }
}
const nowS = (): number => Date.now() / 1_000

prometheusNeed.describe('boards against a real Prometheus', () => {
  let busy: Gateway
  let broken: Gateway
  let idle: Gateway
  let prometheus: Prometheus
  let startedS: number
  let declared: Declared
  let boards: BoardJson[]

  beforeAll(async () => {
    const models = [AWKWARD_MODEL, PLAIN_MODEL]
    ;[busy, broken, idle] = await Promise.all([startGateway({ models, load: true }), startGateway({ models, load: true }), startGateway({ models, load: false })])
    startedS = nowS()
    // Boards for what this gateway declares, a third party's plugin included.
    declared = busy.declared
    const files = generate(declared, { naming: 'metrics', timeScale: TIME_SCALE })
    boards = BOARD_NAMES.map((name) => JSON.parse(files.get(`${name}.json`) ?? '') as BoardJson)
    prometheus = await startPrometheus(
      [
        { name: 'gateway', targets: [{ address: busy.address, instance: 'busy:1' }, { address: broken.address, instance: 'broken:1' }] },
        { name: 'quiet', targets: [{ address: idle.address, instance: 'idle:1' }] },
      ],
      files.get('rules.yaml'),
    )
    // A move that does harm is taken back after 15 s of evidence; meanwhile an experiment and a pin.
    await sleep(16_000)
    broken.tell({ do: 'seesaw', set: { mode: 'still', goTo: 1_500 } })
    busy.tell({ do: 'experiment', on: true })
    busy.tell({ do: 'pin', value: 8 })
    await sleep(20_000)
    busy.tell({ do: 'experiment', on: false })
    await sleep(5_000)
  }, 180_000)

  afterAll(async () => {
    await Promise.all([prometheus?.close(), busy?.close(), broken?.close(), idle?.close()])
  })

  const run = async (target: Target, shown: Shown): Promise<SeriesResult[]> => {
    const expr = fillIn(target.expr, shown)
    return target.instant ? prometheus.query(expr) : prometheus.range(expr, nowS() - RANGE_S, nowS(), 2)
  }
  /** A busy machine may miss a scrape, and a missed scrape ends every series for that moment. */
  const runSteadily = async (target: Target, shown: Shown): Promise<SeriesResult[]> => {
    for (let i = 0; i < 5; i++) {
      const results = await run(target, shown)
      if (results.length > 0 || !target.instant) return results
      await sleep(1_000)
    }
    return []
  }

  prometheusNeed.it('scrapes them, well within the budget of series', async () => {
    const targets = async () => (await prometheus.get('targets')) as { activeTargets: { health: string; lastError: string; labels: { instance: string } }[] }
    await waitFor(async () => (await targets()).activeTargets.every(({ health }) => health === 'up'), 20_000)
    const { activeTargets } = await targets()
    expect(activeTargets.map(({ health, lastError, labels }) => [labels.instance, health, lastError]).sort()).toEqual([['broken:1', 'up', ''], ['busy:1', 'up', ''], ['idle:1', 'up', '']])
    const [series] = await prometheus.query('max(scrape_samples_scraped)')
    expect(series?.values[0]?.[1]).toBeGreaterThan(300)
    expect(series?.values[0]?.[1]).toBeLessThan(SERIES_BUDGET)
  })

  prometheusNeed.it('every variable finds its values', async () => {
    const wanted: Record<string, string[]> = { job: ['gateway', 'quiet'], instance: ['broken:1', 'busy:1', 'idle:1'], backend: ['chat', 'classify', 'engine', 'lookup', 'own'], model: [AWKWARD_MODEL, PLAIN_MODEL] }
    for (const board of boards) {
      for (const { name, type, query } of board.templating.list) {
        if (type !== 'query') continue
        const [, selector = '', label = ''] = /^label_values\((.+),\s*(\w+)\)$/.exec(query ?? '') ?? []
        const values = await prometheus.labelValues(label, fillIn(selector, { choice: everything, rateInterval: '4s', range: '40s' }))
        expect(values, `${board.title}: ${name}`).toEqual(expect.arrayContaining(wanted[name] ?? ['?']))
      }
    }
  })

  prometheusNeed.it.each(BOARD_NAMES.map((name, i) => [name, i] as const))('%s: every query answers, with finite numbers and legends of its own', async (_, i) => {
    const board = boards[i] as BoardJson
    const shown: Shown = { choice: { ...everything, job: ['gateway'] }, rateInterval: '4s', range: `${RANGE_S}s` }
    const troubles: string[] = []
    for (const panel of panelsOf(board)) troubles.push(...(await checkPanel(panel, shown)))
    expect(troubles).toEqual([])
  })

  prometheusNeed.it('annotations tell of decisions, pins, starts', async () => {
    const shown: Shown = { choice: { ...everything, job: ['gateway'] }, rateInterval: '4s', range: `${RANGE_S}s` }
    const board = boards[0] as BoardJson
    for (const annotation of board.annotations.list) {
      const results = await prometheus.range(fillIn(annotation.expr, shown), nowS() - RANGE_S, nowS(), 2)
      if (annotation.name === 'Moves taken back') continue
      expect(results.length, annotation.name).toBeGreaterThan(0)
      for (const { metric, values } of results) {
        expect(legendText(annotation.titleFormat ?? '', metric).trim()).not.toBe('')
        if (!(annotation as { useValueForTime?: boolean }).useValueForTime) continue
        for (const [, ms] of values) {
          expect(ms / 1_000).toBeGreaterThan(startedS - 60)
          expect(ms / 1_000).toBeLessThan(nowS() + 2)
        }
      }
    }
  })

  prometheusNeed.it('a model whose name is full of regex metacharacters can be chosen, and only it', async () => {
    const target = panelsOf(boards[0] as BoardJson).find(({ title }) => title === 'Busiest models')?.targets?.[0] as Target
    const chosen = async (model: readonly string[]): Promise<string[]> => (await run(target, { choice: { ...everything, model }, rateInterval: '4s', range: '40s' })).map(({ metric }) => metric['model'] ?? '').sort()
    expect(await chosen([AWKWARD_MODEL])).toEqual([AWKWARD_MODEL])
    expect(await chosen([PLAIN_MODEL])).toEqual([PLAIN_MODEL])
    expect(await chosen([AWKWARD_MODEL, PLAIN_MODEL])).toEqual([AWKWARD_MODEL, PLAIN_MODEL].sort())
  })

  prometheusNeed.it('with two instances, one can be told from the sum of both', async () => {
    const offered = panelsOf(boards[0] as BoardJson).find(({ title }) => title === 'Offered')?.targets?.[0] as Target
    const value = async (instance: Choice[string]): Promise<number> => {
      const [result] = await prometheus.query(fillIn(offered.expr, { choice: { ...everything, job: ['gateway'], instance: instance as 'All' }, rateInterval: '20s', range: '40s' }))
      return result?.values[0]?.[1] ?? Number.NaN
    }
    const [one, other, both] = await Promise.all([value(['busy:1']), value(['broken:1']), value('All')])
    expect(one).toBeGreaterThan(0)
    expect(other).toBeGreaterThan(0)
    expect((one + other) / both).toBeCloseTo(1, 0)
  })

  prometheusNeed.it('says nothing rather than NaN where nobody asks for anything', async () => {
    const shown: Shown = { choice: { ...everything, job: ['quiet'] }, rateInterval: '4s', range: `${RANGE_S}s` }
    for (const board of boards) {
      for (const panel of panelsOf(board)) {
        for (const target of panel.targets ?? []) {
          for (const { values } of await run(target, shown)) for (const [, value] of values) expect(Number.isFinite(value), `${panel.title}: ${target.expr}`).toBe(true)
        }
        expect(panel.fieldConfig?.defaults?.noValue).toBeTruthy()
      }
    }
    const goodput = panelsOf(boards[0] as BoardJson).find(({ title }) => title === 'SLO attainment')?.targets?.[0] as Target
    expect(await run(goodput, shown)).toEqual([])
  })

  prometheusNeed.it('numbers are right: what the boards show is what the gateway counted', async () => {
    const page = families(await (await fetch(`${busy.url}/metrics`)).text())
    expect(page.size).toBeGreaterThan(40)
    const [attained] = await prometheus.query(fillIn((panelsOf(boards[0] as BoardJson).find(({ title }) => title === 'SLO attainment')?.targets?.[0] as Target).expr, { choice: { ...everything, instance: ['busy:1'] }, rateInterval: '4s', range: '30s' }))
    const [met] = await prometheus.query('sum by (class) (increase(flyball_slo_met_total{instance="busy:1",class="interactive"}[30s]))')
    const [all] = await prometheus.query('sum by (class) (increase(flyball_calls_total{instance="busy:1",class="interactive",outcome=~"ok|error|shed|expired"}[30s]))')
    const share = (met?.values[0]?.[1] ?? Number.NaN) / (all?.values[0]?.[1] ?? Number.NaN)
    const shown = (await prometheus.query(fillIn((panelsOf(boards[0] as BoardJson).find(({ title }) => title === 'SLO attainment')?.targets?.[0] as Target).expr, { choice: { ...everything, instance: ['busy:1'] }, rateInterval: '4s', range: '30s' }))).find(({ metric }) => metric['class'] === 'interactive')
    expect(attained).toBeDefined()
    expect(shown?.values[0]?.[1]).toBeCloseTo(share, 1)
  })

  prometheusNeed.it('when things break, panels move and the right alerts fire', async () => {
    const firing = async (alert: string): Promise<Readonly<Record<string, string>>[]> => (await prometheus.alerts()).filter(({ labels, state }) => labels['alertname'] === alert && state === 'firing').map(({ labels }) => labels)
    const showing = async (title: string, want: (results: SeriesResult[]) => boolean): Promise<void> => {
      const target = boards.flatMap(panelsOf).find((panel) => panel.title === title)?.targets?.[0] as Target
      const last = async (): Promise<SeriesResult[]> => prometheus.query(fillIn(target.expr, { choice: { ...everything, instance: ['broken:1'] }, rateInterval: '4s', range: '20s' }))
      await waitFor(async () => want(await last()), 60_000)
    }
    const value = (results: SeriesResult[], labels: Readonly<Record<string, string>>): number => results.find(({ metric }) => Object.entries(labels).every(([name, one]) => metric[name] === one))?.values[0]?.[1] ?? Number.NaN

    // A move that does harm is taken back. On a busy machine the load may have differed too much to tell: then once more.
    const reverted = async (): Promise<boolean> => (await prometheus.query('flyball_knob_reverts_total{instance="broken:1",controller="seesaw"} >= 1')).length === 1
    for (let i = 0; i < 4 && !(await reverted()); i++) {
      broken.tell({ do: 'seesaw', set: { goTo: 4 } })
      await sleep(16_000)
      broken.tell({ do: 'seesaw', set: { goTo: 1_500 } })
      await waitFor(reverted, 20_000).catch(() => {})
    }
    expect(await reverted()).toBe(true)
    await showing('Moves taken back', (results) => results.length > 0)
    broken.tell({ do: 'seesaw', set: { goTo: 4 } })

    broken.tell({ do: 'upstream', answer: 'limited' })
    await showing('Upstream turned away', (results) => value(results, { scope: 'backend=chat' }) > 0.2)
    broken.tell({ do: 'upstream', answer: 'dead' })
    broken.tell({ do: 'seesaw', set: { mode: 'swing', kvUsed: 0.99 } })
    await showing('Health', (results) => value(results, { backend: 'chat' }) === 0)
    await waitFor(async () => (await firing('FlyballBackendDown')).some(({ backend, instance }) => backend === 'chat' && instance === 'broken:1'), 60_000)
    await showing('KV memory in use', (results) => value(results, { backend: 'engine' }) === 0.99)
    await waitFor(async () => (await firing('FlyballKvNearlyFull')).length === 1, 60_000)
    await showing('Swing of each knob', (results) => value(results, { knob: 'seesaw.pause_ms' }) > 0.5)
    await waitFor(async () => (await firing('FlyballLoopOscillates')).some(({ knob }) => knob === 'seesaw.pause_ms'), 90_000)

    broken.tell({ do: 'seesaw', set: { mode: 'fail', kvUsed: 0.3 } })
    await waitFor(async () => (await firing('FlyballLoopStalled')).some(({ controller, instance }) => controller === 'seesaw' && instance === 'broken:1'), 90_000)

    broken.tell({ do: 'seesaw', set: { mode: 'calm', sensorBroken: true } })
    await showing('Stale signals', (results) => value(results, { signal: 'seesaw.calls' }) === 1)
    await waitFor(async () => (await firing('FlyballSignalStale')).some(({ signal }) => signal === 'seesaw.calls'), 60_000)
    await waitFor(async () => (await firing('FlyballLoopInFallback')).some(({ controller }) => controller === 'seesaw'), 120_000)
    await showing('Mode of each loop', (results) => value(results, { controller: 'seesaw' }) === 3)

    idle.tell({ do: 'exit' })
    await waitFor(async () => (await firing('FlyballTelemetryGone')).some(({ job }) => job === 'quiet'), 60_000)
    // Nothing has been said of the healthy one but what is true of it.
    const ofBusy = (await prometheus.alerts()).filter(({ labels, state }) => labels['instance'] === 'busy:1' && state === 'firing').map(({ labels }) => [labels['alertname'], labels['knob'] ?? labels['controller'] ?? ''])
    expect(ofBusy).toEqual([])
  }, 600_000)

  prometheusNeed.it('exports what is declared and nothing else: names, kinds, labels, closed values', async () => {
    const page = families(await (await fetch(`${busy.url}/metrics`)).text())
    const specs = new Map(declared.instruments.map((spec) => [metricName(spec, 'metrics'), spec]))
    const types = { counter: 'counter', up_down_counter: 'gauge', gauge: 'gauge', histogram: 'histogram' } as const
    for (const [name, { type, labelSets }] of page) {
      const spec = specs.get(name)
      expect(spec, `${name} is exported and not declared`).toBeDefined()
      if (!spec) continue
      expect([name, type]).toEqual([name, types[spec.kind]])
      for (const labels of labelSets) {
        expect([name, Object.keys(labels).sort()]).toEqual([name, Object.keys(spec.labels).sort()])
        for (const [label, value] of Object.entries(labels)) {
          const closed = spec.labels[label]?.values
          if (closed) expect(closed.includes(value) || value === '', `${name}: ${label}=${value}`).toBe(true)
        }
      }
    }
    const missing = declared.instruments.map((spec) => metricName(spec, 'metrics')).filter((name) => !page.has(name))
    const brokenPage = families(await (await fetch(`${broken.url}/metrics`)).text())
    expect(missing.filter((name) => !brokenPage.has(name)).filter((name) => NOT_HERE[name] === undefined)).toEqual([])
  })

  async function checkPanel(panel: PanelJson, shown: Shown): Promise<string[]> {
    const troubles: string[] = []
    const legends: string[] = []
    for (const target of panel.targets ?? []) {
      const results = await runSteadily(target, shown).catch((error: Error) => {
        troubles.push(`${panel.title}: ${error.message}`)
        return undefined
      })
      if (!results) continue
      const id = `${panel.title} / ${target.legendFormat}`
      if (results.length === 0 && !WISHED.test(id) && MAY_BE_EMPTY[panel.title ?? ''] === undefined && Object.keys(NOT_HERE).every((name) => !target.expr.includes(name))) troubles.push(`${id}: nothing: ${fillIn(target.expr, shown)}`)
      for (const { metric, values } of results) {
        if (values.length === 0 || values.some(([, value]) => !Number.isFinite(value))) troubles.push(`${id}: not finite: ${JSON.stringify(metric)}`)
        if (panel.type !== 'table') legends.push(legendText(target.legendFormat ?? '', metric).trim())
        for (const [, label] of (target.legendFormat ?? '').matchAll(/\{\{(\w+)\}\}/g)) {
          if (label !== 'scope' && label !== 'reason' && metric[label as string] === undefined) troubles.push(`${id}: a series without ${label}`)
        }
      }
    }
    if (legends.some((legend) => legend === '')) troubles.push(`${panel.title}: a series without a legend`)
    if (new Set(legends).size !== legends.length) troubles.push(`${panel.title}: two series with one legend: ${legends.filter((legend, i) => legends.indexOf(legend) !== i)}`)
    return troubles
  }
})

/** Declared instruments that these gateways need not feed, and why. */
const NOT_HERE: Readonly<Record<string, string>> = {
  flyball_native_preemptions_total: 'its KV memory never runs out here',
}
