/** What the governor tells of itself, read off a real `/metrics` page. */
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { afterEach, describe, expect, it } from 'vitest'
import { createGovernor, instrument, knob, label, type Governor } from '../../src/index.ts'
import { createInstruments } from '../../src/telemetry/instruments.ts'
import { perCollection } from '../../src/telemetry/per-collection.ts'
import { collectUplift } from '../../src/telemetry/uplift-instruments.ts'
import type { Uplift } from '../../src/control/switchback.ts'
import { listen } from '../support/listen.ts'
import { manualClock } from '../support/manual-clock.ts'

const close: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const fn of close.splice(0)) await fn()
})

function rig(options: Parameters<typeof createGovernor>[0] = {}): { governor: ReturnType<typeof createGovernor>; exporter: PrometheusExporter } {
  const exporter = new PrometheusExporter({ preventServerStart: true, withoutScopeInfo: true, withoutTargetInfo: true })
  const provider = new MeterProvider({ readers: [exporter] })
  const governor = createGovernor({ meter: provider.getMeter('flyball'), env: {}, ...options })
  close.push(() => governor.close(), () => provider.shutdown())
  return { governor, exporter }
}

async function pageOf({ governor, exporter }: { governor: ReturnType<typeof createGovernor>; exporter: PrometheusExporter }): Promise<string> {
  const metrics = governor.metrics({ exporter })
  const server = await listen((req, res) => metrics(req, res))
  const page = await (await fetch(server.url)).text()
  await server.close()
  return page
}

const sample = (page: string, series: string): number | undefined => {
  const line = page.split('\n').find((one) => one.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}

describe('gauges that end', () => {
  const spec = instrument({ name: 'a.level', kind: 'gauge', unit: '1', doc: 'x', labels: { of: label('what', 4) }, observed: true })

  it('are NaN to the SDK, which would repeat them for ever, and leave our page', async () => {
    const exporter = new PrometheusExporter({ preventServerStart: true })
    const provider = new MeterProvider({ readers: [exporter] })
    close.push(() => provider.shutdown())
    let there = ['one', 'two']
    createInstruments(provider.getMeter('x')).gauge(spec).collect((report) => there.forEach((of, i) => report(i + 1, { of })))
    const values = async (): Promise<Record<string, unknown>> => {
      const { resourceMetrics } = await exporter.collect()
      return Object.fromEntries((resourceMetrics.scopeMetrics[0]?.metrics[0]?.dataPoints ?? []).map(({ attributes, value }) => [attributes['of'], value]))
    }
    expect(await values()).toEqual({ one: 1, two: 2 })
    there = ['two']
    expect(await values()).toEqual({ one: Number.NaN, two: 1 })
    there = ['one', 'two']
    expect(await values()).toEqual({ one: 1, two: 2 })
    there = []
    const governor = createGovernor({ env: {} })
    close.push(() => governor.close())
    expect(await pageOf({ governor, exporter })).not.toContain('a_level{')
  })

  it('a label past its cap that ends does not take the others of `_other` with it', async () => {
    const exporter = new PrometheusExporter({ preventServerStart: true })
    const provider = new MeterProvider({ readers: [exporter] })
    close.push(() => provider.shutdown())
    let there = ['a', 'b', 'c', 'd', 'e', 'f']
    createInstruments(provider.getMeter('x')).gauge(spec).collect((report) => there.forEach((of) => report(7, { of })))
    await exporter.collect()
    there = ['f']
    const { resourceMetrics } = await exporter.collect()
    const other = resourceMetrics.scopeMetrics[0]?.metrics[0]?.dataPoints.find(({ attributes }) => attributes['of'] === '_other')
    expect(other?.value).toBe(7)
  })
})

describe('what the governor tells', () => {
  it('its build, its promises, its arms', async () => {
    const clock = manualClock()
    const one = rig({ clock, classes: [{ name: 'quick', priority: 0, startMs: 250, e2eMs: 2_000, quantile: 0.99 }] })
    const work = one.governor.wrap<number, number>('work', async (x) => x)
    one.governor.knobs.declare(knob({ name: 'test.size', default: 1, min: 0, max: 9, unit: '1', doc: 'x' }))
    await work(1)
    await clock.advance(3_000)
    one.governor.knobs.setExperiment('test.size', {}, 5)
    await clock.advance(2_000)
    await work(2)
    one.governor.knobs.setExperiment('test.size', {}, undefined)
    const page = await pageOf(one)
    expect(page).toMatch(/^flyball_build_info\{version="\d+\.\d+\.\d+",node="[\d.]+"\} 1$/m)
    expect(sample(page, 'flyball_slo_objective{class="quick"}')).toBe(0.99)
    expect(sample(page, 'flyball_slo_target_seconds{class="quick",target="start"}')).toBe(0.25)
    expect(sample(page, 'flyball_slo_target_seconds{class="quick",target="e2e"}')).toBe(2)
    expect(sample(page, 'flyball_slo_target_seconds{class="quick",target="ttft"}')).toBeUndefined()
    expect(sample(page, 'flyball_arm_calls_total{arm="governed",class="quick",slo="met"}')).toBe(1)
    expect(sample(page, 'flyball_arm_calls_total{arm="static",class="quick",slo="met"}')).toBe(1)
    expect(sample(page, 'flyball_arm_time_seconds_total{arm="governed"}')).toBeCloseTo(3, 5)
    expect(sample(page, 'flyball_arm_time_seconds_total{arm="static"}')).toBeCloseTo(2, 5)
    expect(sample(page, 'flyball_experiment_arm{arm="governed"}')).toBe(1)
    expect(sample(page, 'flyball_memory_bytes{kind="resident"}')).toBeGreaterThan(1e7)
  })

  it('KV memory in use, from whichever signal says so, and staleness only while there is any', async () => {
    const clock = manualClock()
    const one = rig({ clock })
    const signal = one.governor.signals.declare({ name: 'engine.kv_used', unit: '1', doc: 'x', scope: ['backend'], maxInstances: 8, aggregate: 'last', quantile: 0.95, windowMs: 30_000, capacity: 8, staleAfterMs: 1_000 })
    const window = signal.for({ backend: 'x' })
    window.push(0.75)
    expect(sample(await pageOf(one), 'flyball_kv_used{backend="x"}')).toBe(0.75)
    expect(sample(await pageOf(one), 'flyball_signal_stale{signal="engine.kv_used",scope="backend=x"}')).toBeUndefined()
    window.fail()
    const page = await pageOf(one)
    expect(sample(page, 'flyball_kv_used{backend="x"}')).toBeUndefined()
    expect(sample(page, 'flyball_signal_stale{signal="engine.kv_used",scope="backend=x"}')).toBe(1)
  })

  it('the event loop’s delay, once somebody collects', async () => {
    const one = rig()
    await pageOf(one)
    // The monitor starts with its first tick.
    await new Promise((resolve) => setTimeout(resolve, 100))
    const untilMs = performance.now() + 120
    while (performance.now() < untilMs);
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect(sample(await pageOf(one), 'flyball_event_loop_delay_seconds{stat="max"}')).toBeGreaterThan(0.05)
  })

  it('what a switchback has found', async () => {
    const one = rig()
    let uplift: Uplift = { phase: 'governed', pairs: 2, endedEarly: 0, attainment: undefined, goodputPerS: undefined, latencyMs: undefined, cost: undefined }
    const stop = collectUplift((one.governor as Governor).instruments, () => uplift)
    expect(sample(await pageOf(one), 'flyball_uplift_pairs')).toBe(2)
    expect(await pageOf(one)).not.toContain('flyball_uplift{')
    uplift = { ...uplift, pairs: 5, latencyMs: { mean: -20, low: -30, high: -10, pairs: 5 } }
    const page = await pageOf(one)
    expect(sample(page, 'flyball_uplift{measure="latency",bound="mean"}')).toBe(-0.02)
    expect(sample(page, 'flyball_uplift{measure="latency",bound="high"}')).toBe(-0.01)
    stop()
  })

  it('works shared things out once per collection', async () => {
    let times = 0
    const value = perCollection(() => ++times)
    expect([value(), value(), value()]).toEqual([1, 1, 1])
    await Promise.resolve()
    expect([value(), value()]).toEqual([2, 2])
  })
})
