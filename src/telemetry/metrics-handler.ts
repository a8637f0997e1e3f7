/** `/metrics` in Prometheus's text format, written piece by piece so that a scrape does not hold up tokens. */
import type { ServerResponse } from 'node:http'
import type { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import type { MetricData, ResourceMetrics } from '@opentelemetry/sdk-metrics'
import type { Clock } from '../core/clock.ts'

/** Serialising lets others in after so long, ms: between pieces, so that one piece more may go by. */
const SLICE_MS = 2
/** Lines of a piece: a quarter of a millisecond or so. */
const PIECE_LINES = 250
/** The `# HELP`, `# UNIT` and `# TYPE` that each piece of a metric comes with; the page has them once. */
const COMMENTS = /^(?:#.*\n)+/

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
    let sliceStartMs = clock.monoMs()
    const { resourceMetrics } = await exporter.collect()
    res.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
    const turnOver = async (): Promise<void> => {
      if (clock.monoMs() - sliceStartMs < SLICE_MS) return
      await clock.sleep(0)
      sliceStartMs = clock.monoMs()
    }
    // Collecting cannot be cut: the SDK asks all callbacks in one turn.
    await turnOver()
    for (const family of familiesOf(resourceMetrics)) {
      let isFirst = true
      for (const piece of piecesOf(family)) {
        if (res.destroyed) return
        const text = serializer.serialize(piece)
        res.write(isFirst ? text : text.replace(COMMENTS, ''))
        isFirst = false
        await turnOver()
      }
    }
    res.end()
  }
}

/** One per metric name: the format wants all series of a name together, whichever scope they come from. */
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

/** A family of many series at once would hold up tokens for as long as it is long. */
function* piecesOf({ resource, scopeMetrics }: ResourceMetrics): Iterable<ResourceMetrics> {
  for (const { scope, metrics } of scopeMetrics) {
    for (const metric of metrics) {
      const points = metric.dataPoints as readonly { value: unknown }[]
      const most = Math.max(1, Math.floor(PIECE_LINES / linesOf(points[0]?.value)))
      for (let from = 0; from < points.length; from += most) {
        yield { resource, scopeMetrics: [{ scope, metrics: [{ ...metric, dataPoints: points.slice(from, from + most) } as MetricData] }] }
      }
    }
  }
}

/** A histogram's series is one line per bucket, and its sum and count. */
function linesOf(value: unknown): number {
  const buckets = (value as { buckets?: { counts: readonly number[] } } | undefined)?.buckets
  return buckets ? buckets.counts.length + 2 : 1
}

/** The SDK cannot forget a gauge's series; what has ended is NaN there, and must not be on the page. */
function withoutEnded(metric: MetricData): MetricData {
  return { ...metric, dataPoints: (metric.dataPoints as { value: unknown }[]).filter(({ value }) => !Number.isNaN(value)) } as MetricData
}
