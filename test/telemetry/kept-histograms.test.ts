import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import { MeterProvider, type MetricProducer } from '@opentelemetry/sdk-metrics'
import { expect, it } from 'vitest'
import { histogramProducer } from '../../src/telemetry/histogram-producer.ts'
import { instrument, label } from '../../src/telemetry/instrument-spec.ts'
import { createInstruments, type HistogramHandle } from '../../src/telemetry/instruments.ts'
import { KeptHistograms } from '../../src/telemetry/kept-histograms.ts'

const spec = instrument({ name: 'test.wait_seconds', kind: 'histogram', unit: 's', doc: 'For this test.', labels: { kind: label('Kind.', 3), end: label('End.', 4, ['ok', 'error']) }, buckets: [0, 0.5, 1, 2.5] })
const unused = instrument({ name: 'test.unused', kind: 'histogram', unit: '1', doc: 'Never recorded.', labels: {}, buckets: [1] })
const nowMs = (): number => Date.UTC(2026, 0, 1)

function rig(metricProducers: MetricProducer[] = []): { meter: ReturnType<MeterProvider['getMeter']>; page(): Promise<string> } {
  const exporter = new PrometheusExporter({ preventServerStart: true, withoutScopeInfo: true, withoutTargetInfo: true, metricProducers })
  const provider = new MeterProvider({ readers: [exporter] })
  const serializer = new PrometheusSerializer(undefined, false, undefined, true, true)
  return {
    meter: provider.getMeter('flyball'),
    async page() {
      const { resourceMetrics, errors } = await exporter.collect()
      expect(errors).toEqual([])
      return serializer.serialize(resourceMetrics)
    },
  }
}

function record(histogram: HistogramHandle<'kind' | 'end'>): void {
  for (const value of [0, 0.25, 0.5, 0.500001, 1, 2.5, 2.6, 1e9, -1, Number.NaN]) {
    for (const kind of ['a', 'b', 'c', 'd', 'e']) histogram.record(value, { kind, end: value > 1 ? 'error' : 'ok' })
  }
}

it('histograms that we keep are, on the page, those that the SDK would have kept', async () => {
  const theirs = rig()
  const kept = new KeptHistograms(nowMs)
  const ours = rig([histogramProducer(kept, 'flyball', nowMs)])
  const sets = [createInstruments(theirs.meter), createInstruments(ours.meter, kept)]
  for (const set of sets) {
    set.histogram(unused)
    record(set.histogram(spec))
  }
  const page = await ours.page()
  expect(page).toBe(await theirs.page())
  expect(page).toContain('test_wait_seconds_bucket{kind="_other",end="error",le="+Inf"}')
  // Read once more after more has come, and again after nothing has.
  for (const set of sets) set.histogram({ ...spec, name: 'test.later_seconds' }).record(1, { kind: 'a', end: 'ok' })
  for (let i = 0; i < 2; i++) expect(await ours.page()).toBe(await theirs.page())
})

it('the governor that takes over after a reload goes on counting', async () => {
  const kept = new KeptHistograms(nowMs)
  const { meter, page } = rig([histogramProducer(kept, 'flyball', nowMs)])
  for (let generation = 0; generation < 2; generation++) createInstruments(meter, kept).histogram(spec).record(1, { kind: 'a', end: 'ok' })
  expect((await page()).match(/^test_wait_seconds_count.*/gm)).toEqual(['test_wait_seconds_count{kind="a",end="ok"} 2'])
})
