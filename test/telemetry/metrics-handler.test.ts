/** `/metrics`: one valid page, whatever its size, and others get their turn while it is written. */
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { metricsHandler } from '../../src/telemetry/metrics-handler.ts'
import { listen } from '../support/listen.ts'

const close: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const fn of close.splice(0)) await fn()
})

/** So many series of each kind, from two scopes. */
function exporterOf(series: number): PrometheusExporter {
  const exporter = new PrometheusExporter({ preventServerStart: true, withoutScopeInfo: true, withoutTargetInfo: true })
  const provider = new MeterProvider({ readers: [exporter] })
  close.push(() => provider.shutdown())
  for (const scope of ['one', 'two']) {
    const meter = provider.getMeter(scope)
    const counter = meter.createCounter('things.done', { description: 'Things that were done.', unit: '{thing}' })
    const histogram = meter.createHistogram('things.time', { description: 'How long they took.', unit: 's', advice: { explicitBucketBoundaries: [0.1, 1, 10] } })
    const gauge = meter.createObservableGauge('things.now', { description: 'Things there are.\nNow.' })
    gauge.addCallback((result) => { for (let i = 0; i < series; i++) result.observe(i, { scope, of: `#${i}\n# TYPE x` }) })
    for (let i = 0; i < series; i++) {
      counter.add(i, { scope, of: String(i) })
      histogram.record(i / 10, { scope, of: String(i) })
    }
  }
  return exporter
}

async function pageOf(exporter: PrometheusExporter): Promise<string> {
  const metrics = metricsHandler(() => exporter, systemClock)
  const server = await listen((req, res) => metrics(req, res))
  close.push(() => server.close())
  return (await fetch(server.url)).text()
}

const sorted = (lines: readonly string[]): string[] => lines.filter((line) => line !== '').toSorted()

describe('/metrics', () => {
  it.each([1, 3, 1_000])('says, in pieces, what one serialisation of all says: %i series', async (series) => {
    const exporter = exporterOf(series)
    const { resourceMetrics } = await exporter.collect()
    const whole = new PrometheusSerializer(undefined, false, undefined, true, true).serialize(resourceMetrics)
    const page = await pageOf(exporter)
    expect(sorted(page.split('\n'))).toEqual(sorted(whole.split('\n')))
  })

  it('keeps the series of a name together, under one heading', async () => {
    const page = await pageOf(exporterOf(1_000))
    const names = page.split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.replace(/[{ ].*/, '').replace(/_(bucket|sum|count)$/, ''))
    expect(names.filter((name, i) => name !== names[i - 1])).toEqual(['things_done_total', 'things_time', 'things_now'])
    expect(page.match(/^# TYPE /gm)).toHaveLength(3)
    expect(page.match(/^# HELP /gm)).toHaveLength(3)
  })

  it('lets others in between the pieces of one metric', async () => {
    const exporter = exporterOf(2_000)
    let turns = 0
    let running = true
    const turn = (): void => {
      turns++
      if (running) setImmediate(turn)
    }
    const metrics = metricsHandler(() => exporter, systemClock)
    const writes: number[] = []
    const server = await listen((req, res) => {
      const write = res.write.bind(res) as (chunk: string) => boolean
      res.write = ((chunk: string) => (writes.push(turns), write(chunk))) as typeof res.write
      metrics(req, res)
    })
    close.push(() => server.close())
    setImmediate(turn)
    await (await fetch(server.url)).text()
    running = false
    // Three metrics of 32,000 lines: were each written at a stretch, there would be three turns.
    expect(new Set(writes).size).toBeGreaterThan(4)
  })
})
