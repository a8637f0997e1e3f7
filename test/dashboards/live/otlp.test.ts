/**
 * The OTLP way: a real gateway pushes its metrics with the real exporter, and is scraped at `/metrics` as well. The boards
 * of either naming must show the same, and what arrives must be what is declared. (Names that Prometheus's own receiver
 * gives are pinned in generated.test.ts.)
 */
import { afterAll, beforeAll, expect } from 'vitest'
import { generate } from '../../../dashboards/generate.ts'
import { panelsOf, type BoardJson, type Target } from '../../../dashboards/lint.ts'
import { metricName, NAMINGS, type Naming } from '../../../dashboards/naming.ts'
import { need } from '../../support/need.ts'
import { BOARD_NAMES } from '../boards.ts'
import { families } from './exposition.ts'
import { startGateway, type Gateway } from './gateways.ts'
import { fillIn } from './grafana.ts'
import { startOtlpReceiver, type OtlpReceiver } from './otlp-receiver.ts'
import { startPrometheus, type Prometheus } from './prometheus.ts'

const prometheusNeed = need('prometheus')
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const SERVICE = 'flyball-test'
const RANGE_S = 20

prometheusNeed.describe('boards for metrics that take the OTLP way', () => {
  let receiver: OtlpReceiver
  let gateway: Gateway
  let prometheus: Prometheus
  const boards = new Map<Naming, BoardJson[]>()

  beforeAll(async () => {
    receiver = await startOtlpReceiver()
    gateway = await startGateway({ models: ['large', 'small'], load: true }, { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: receiver.endpoint, OTEL_METRIC_EXPORT_INTERVAL: '1000' })
    prometheus = await startPrometheus([
      { name: 'scraped', targets: [{ address: gateway.address, instance: 'scraped:1' }] },
      { name: 'received', targets: [{ address: receiver.address, instance: 'receiver:1' }], honorLabels: true },
    ])
    for (const naming of NAMINGS) {
      const files = generate(gateway.declared, { naming })
      boards.set(naming, BOARD_NAMES.map((name) => JSON.parse(files.get(`${name}.json`) ?? '') as BoardJson))
    }
    await sleep(12_000)
    gateway.tell({ do: 'pin', value: 8 })
    gateway.tell({ do: 'experiment', on: true })
    await sleep(12_000)
  }, 120_000)

  afterAll(async () => {
    await Promise.all([prometheus?.close(), gateway?.close(), receiver?.close()])
  })

  prometheusNeed.it('what arrives is what is declared: names, kinds, labels', () => {
    const page = families(receiver.page())
    const types = { counter: 'counter', up_down_counter: 'gauge', gauge: 'gauge', histogram: 'histogram' } as const
    const specs = new Map(gateway.declared.instruments.map((spec) => [metricName(spec, 'otlp'), spec]))
    expect(page.size).toBeGreaterThan(40)
    for (const [name, { type, labelSets }] of page) {
      const spec = specs.get(name)
      expect(spec, `${name} arrives and is not declared`).toBeDefined()
      if (!spec) continue
      expect([name, type]).toEqual([name, types[spec.kind]])
      for (const labels of labelSets) expect([name, Object.keys(labels).sort()]).toEqual([name, [...Object.keys(spec.labels), 'instance', 'job'].sort()])
    }
  })

  prometheusNeed.it('each process tells its instance, without being told to', async () => {
    const instances = await prometheus.labelValues('instance', `flyball_build_info_ratio{job="${SERVICE}"}`)
    expect(instances).toHaveLength(1)
    expect(instances[0]).not.toBe('')
    const variables = boards.get('otlp')?.[0]?.templating.list.filter(({ type }) => type === 'query') ?? []
    for (const { name, query } of variables) {
      const [, selector = '', label = ''] = /^label_values\((.+),\s*(\w+)\)$/.exec(query ?? '') ?? []
      expect(await prometheus.labelValues(label, filled(selector, SERVICE)), name).not.toEqual([])
    }
  })

  prometheusNeed.it.each(BOARD_NAMES.map((name, i) => [name, i] as const))('%s shows the same, whichever way the numbers came', async (_, i) => {
    const scraped = panelsOf(boards.get('metrics')?.[i] as BoardJson)
    const received = panelsOf(boards.get('otlp')?.[i] as BoardJson)
    const pairs = received.flatMap((panel) => {
      const twin = scraped.find(({ title }) => title === panel.title)
      if (!twin) throw new Error(`${panel.title} is only on the board for OTLP`)
      expect(panel.targets?.length).toBe(twin.targets?.length)
      return (panel.targets ?? []).map((target, t) => ({ panel: panel.title, target, other: twin.targets?.[t] as Target }))
    })
    // What comes and goes may be seen on one side first, or in another second: each way must show, in the end, all that the other has shown.
    const seen = pairs.map(() => [new Set<string>(), new Set<string>()] as const)
    const missing = (from: ReadonlySet<string>, to: ReadonlySet<string>): string[] => [...from].filter((labels) => !to.has(labels))
    let troubles: string[] = []
    for (let tries = 0; tries < 20 && (tries === 0 || troubles.length > 0); tries++) {
      if (tries > 0) await sleep(1_000)
      troubles = (
        await Promise.all(
          pairs.map(async ({ panel, target, other }, at) => {
            const [left, right] = seen[at] as (typeof seen)[0]
            for (const labels of await shown(other, 'scraped')) left.add(labels)
            for (const labels of await shown(target, SERVICE)) right.add(labels)
            const [only, alone] = [missing(left, right), missing(right, left)]
            return only.length + alone.length === 0 ? [] : [`${panel} / ${target.legendFormat}: only scraped ${only.slice(0, 4).join(' ')}, only received ${alone.slice(0, 4).join(' ')}: ${target.expr}`]
          }),
        )
      ).flat()
    }
    expect(troubles).toEqual([])
  }, 60_000)

  prometheusNeed.it('numbers agree', async () => {
    for (const title of ['Offered', 'SLO attainment']) {
      const value = async (naming: Naming, job: string): Promise<number> => {
        const target = panelsOf(boards.get(naming)?.[0] as BoardJson).find((panel) => panel.title === title)?.targets?.[0] as Target
        return (await prometheus.query(filled(target.expr, job)))[0]?.values[0]?.[1] ?? Number.NaN
      }
      const [scraped, received] = await Promise.all([value('metrics', 'scraped'), value('otlp', SERVICE)])
      expect(scraped, title).toBeGreaterThan(0)
      expect(received / scraped, title).toBeGreaterThan(0.8)
      expect(received / scraped, title).toBeLessThan(1.25)
    }
  })

  const filled = (expr: string, job: string): string => fillIn(expr, { choice: { job: [job], instance: 'All', backend: 'All', model: 'All' }, rateInterval: '6s', range: `${RANGE_S}s` })

  /** Label sets of what a query shows, job and instance aside; throws when a number is not finite. */
  async function shown(target: Target, job: string): Promise<string[]> {
    const endS = Date.now() / 1_000
    // Which are the first few differs by the second: all are compared.
    const expr = filled(target.expr.replace(/^topk\(\d+, (.*)\)$/, '$1'), job)
    const results = target.instant ? await prometheus.query(expr) : await prometheus.range(expr, endS - RANGE_S / 2, endS, 1)
    return results.map(({ metric, values }) => {
      for (const [, value] of values) if (!Number.isFinite(value)) throw new Error(`not finite: ${JSON.stringify(metric)} of ${expr}`)
      const { job: _, instance, __name__, ...labels } = metric
      return JSON.stringify(Object.entries(labels).sort())
    }).sort()
  }
})
