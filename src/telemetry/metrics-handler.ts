/** `/metrics` in Prometheus's text format, written metric by metric so that a scrape does not hold up tokens. */
import type { ServerResponse } from 'node:http'
import type { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import type { MetricData, ResourceMetrics } from '@opentelemetry/sdk-metrics'
import type { Clock } from '../core/clock.ts'

/** Longest that serialising holds the event loop at a stretch, ms. */
const SLICE_MS = 4

/** What a scrape needs of an exporter; `PrometheusExporter` has it. */
export type ScrapeSource = Pick<PrometheusExporter, 'collect'>

export function metricsHandler(source: () => ScrapeSource | undefined, clock: Clock): (req: unknown, res: ServerResponse) => void {
  let serializer: PrometheusSerializer | undefined
  return function flyballMetrics(_req, res) {
    const exporter = source()
    if (!exporter) {
      res.writeHead(503, { 'content-type': 'text/plain' })
      res.end('# no metrics here: call startTelemetry() before createGovernor(), or pass the exporter of your own SDK\n')
      return
    }
    scrape(exporter, res).catch(() => {
      // Half a page must not look like a whole one.
      if (res.headersSent) res.destroy()
      else res.writeHead(500, { 'content-type': 'text/plain' }).end('# metrics could not be collected\n')
    })
  }

  async function scrape(exporter: ScrapeSource, res: ServerResponse): Promise<void> {
    // Loaded at the first scrape: it brings the metrics SDK with it, which a library must not make everybody load.
    serializer ??= new (await import('@opentelemetry/exporter-prometheus')).PrometheusSerializer(undefined, false, undefined, true, true)
    const { resourceMetrics } = await exporter.collect()
    res.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
    let sliceStartMs = clock.monoMs()
    for (const family of familiesOf(resourceMetrics)) {
      if (res.destroyed) return
      res.write(serializer.serialize(family))
      if (clock.monoMs() - sliceStartMs < SLICE_MS) continue
      await clock.sleep(0)
      sliceStartMs = clock.monoMs()
    }
    res.end()
  }
}

/** One piece per metric name: the format wants all series of a name together, whichever scope they come from. */
function familiesOf({ resource, scopeMetrics }: ResourceMetrics): Iterable<ResourceMetrics> {
  const families = new Map<string, { resource: typeof resource; scopeMetrics: { scope: (typeof scopeMetrics)[0]['scope']; metrics: MetricData[] }[] }>()
  for (const { scope, metrics } of scopeMetrics) {
    for (const collected of metrics) {
      const metric = withoutEnded(collected)
      if (metric.dataPoints.length === 0) continue
      const family = families.get(metric.descriptor.name)
      if (family) family.scopeMetrics.push({ scope, metrics: [metric] })
      else families.set(metric.descriptor.name, { resource, scopeMetrics: [{ scope, metrics: [metric] }] })
    }
  }
  return families.values()
}

/** The SDK cannot forget a gauge's series; what has ended is NaN there, and must not be on the page. */
function withoutEnded(metric: MetricData): MetricData {
  return { ...metric, dataPoints: (metric.dataPoints as { value: unknown }[]).filter(({ value }) => !Number.isNaN(value)) } as MetricData
}
