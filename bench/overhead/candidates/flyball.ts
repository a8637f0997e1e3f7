/**
 * flyball with everything on: spans into an in-process exporter, metrics, a cache that misses, throttle, priority. Arguments:
 * the upstream, and how much is traced (`full`, `sampled10`, `untraced`); when several are given each has a governor and an
 * address of its own in this one process, so that they share heap, compiler and collector.
 */
import express from 'express'
import { trace, type Tracer } from '@opentelemetry/api'
import { BatchSpanProcessor, ParentBasedSampler, TraceIdRatioBasedSampler, TracerProvider } from '@opentelemetry/sdk-trace'
import { createGovernor, startTelemetry } from '../../../src/index.ts'
import { batching, cache, openai, priority, throttle } from '../../../plugins/builtin.ts'
import { serveCandidate } from '../candidate.ts'

const SHARES: Readonly<Record<string, number>> = { full: 1, sampled10: 0.1, untraced: 0 }
const [upstream, ...given] = process.argv.slice(2) as [string, ...string[]]
const modes = given.length > 0 ? given : ['full']

/** Takes every span and keeps none: what is measured is making them, not a store of them. */
const exporter = {
  export: (_: unknown, done: (result: { code: number }) => void) => done({ code: 0 }),
  shutdown: () => Promise.resolve(),
  forceFlush: () => Promise.resolve(),
}

/** Untraced: what a host without tracing has, the API alone. */
function tracerFor(share: number): Tracer {
  if (share === 0) return trace.getTracer('flyball')
  const root = new TraceIdRatioBasedSampler(share)
  return new TracerProvider({ spanProcessors: [new BatchSpanProcessor({ exporter })], sampler: new ParentBasedSampler({ root }) }).getTracer('flyball')
}

// Metrics for all; no span processor: tracers are handed over one by one.
await startTelemetry({ serviceName: 'bench' })
const app = express()
app.disable('x-powered-by')
for (const mode of modes) {
  const governor = createGovernor({
    backends: [openai({ name: 'mock', baseUrl: `${upstream}/v1`, models: ['mock'] })],
    // Hits are asked for with temperature 0; everything else passes the cache as a miss would.
    plugins: [cache(), throttle(), priority(), batching()],
    // A closed loop on a busy machine would rightly be shed at the default of 500 ms: then refusals would be measured.
    classes: [{ name: 'interactive', priority: 0, startMs: 60_000, quantile: 0.95 }],
    knobs: { 'throttle.limit': 512 },
    tracer: tracerFor(SHARES[mode] as number),
  })
  await governor.start()
  app.use(`${modes.length > 1 ? `/${mode}` : ''}/v1`, governor.gateway())
}
serveCandidate(app)
