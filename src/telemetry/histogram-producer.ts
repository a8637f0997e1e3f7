/** Our histograms as the SDK's readers take them. Loaded with the SDK, on demand. */
import { ValueType, type HrTime } from '@opentelemetry/api'
import { emptyResource } from '@opentelemetry/resources'
import { AggregationTemporality, DataPointType, type HistogramMetricData, type MetricProducer } from '@opentelemetry/sdk-metrics'
import type { KeptHistogram, KeptHistograms } from './kept-histograms.ts'

export function histogramProducer(kept: KeptHistograms, scope: string, nowMs: () => number): MetricProducer {
  return {
    collect() {
      const endTime = hrTime(nowMs())
      const metrics = [...kept.all()].map((histogram) => metricOf(histogram, endTime)).filter(({ dataPoints }) => dataPoints.length > 0)
      // A reader takes the resource from the SDK's own metrics.
      return Promise.resolve({ resourceMetrics: { resource: emptyResource(), scopeMetrics: metrics.length === 0 ? [] : [{ scope: { name: scope }, metrics }] }, errors: [] })
    },
  }
}

function metricOf(histogram: KeptHistogram, endTime: HrTime): HistogramMetricData {
  const { name, doc, unit } = histogram.spec
  return {
    descriptor: { name, description: doc, unit, valueType: ValueType.DOUBLE },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
    dataPointType: DataPointType.HISTOGRAM,
    dataPoints: Array.from(histogram.cells(), ({ attributes, startMs, counts, count, sum, min, max }) => ({
      attributes,
      startTime: hrTime(startMs),
      endTime,
      // A copy: an exporter may still be writing when the next call ends.
      value: { buckets: { boundaries: [...histogram.boundaries], counts: [...counts] }, count, sum, ...(count > 0 ? { min, max } : {}) },
    })),
  }
}

const hrTime = (ms: number): HrTime => [Math.trunc(ms / 1_000), Math.round((ms % 1_000) * 1e6)]
