/**
 * flyball with everything on: spans into an in-process exporter, metrics, a cache that misses, throttle, priority. Under
 * `/full`, `/sampled10` and `/untraced` it is the same governor, and only its tracer another: what differs is tracing alone.
 */
import express from 'express'
import { trace, type Tracer } from '@opentelemetry/api'
import { BatchSpanProcessor, ParentBasedSampler, TraceIdRatioBasedSampler, TracerProvider } from '@opentelemetry/sdk-trace'
import { createGovernor, startTelemetry } from '../../../src/index.ts'
import { batching, cache, openai, priority, throttle } from '../../../plugins/builtin.ts'
import { serveCandidate } from '../candidate.ts'

const [upstream] = process.argv.slice(2) as [string]

/** Takes every span and keeps none: what is measured is making them, not a store of them. */
const exporter = {
  export: (_: unknown, done: (result: { code: number }) => void) => done({ code: 0 }),
  shutdown: () => Promise.resolve(),
  forceFlush: () => Promise.resolve(),
}

function tracerFor(share: number): Tracer {
  const root = new TraceIdRatioBasedSampler(share)
  return new TracerProvider({ spanProcessors: [new BatchSpanProcessor({ exporter })], sampler: new ParentBasedSampler({ root }) }).getTracer('flyball')
}

const full = tracerFor(1)
// Untraced is what a host without tracing has, the API alone.
const tracers = new Map([['/full', full], ['/sampled10', tracerFor(0.1)], ['/untraced', trace.getTracer('flyball')]])
/** Of the calls that come now: the bench loads one address at a time. */
let current = full
const tracer: Tracer = {
  startSpan: (name, options, context) => current.startSpan(name, options, context),
  startActiveSpan: () => {
    throw new TypeError('not used')
  },
}

// Metrics for all; no span processor: the tracer is handed over.
await startTelemetry({ serviceName: 'bench' })
const governor = createGovernor({
  backends: [openai({ name: 'mock', baseUrl: `${upstream}/v1`, models: ['mock'] })],
  // Hits are asked for with temperature 0; everything else passes the cache as a miss would.
  plugins: [cache(), throttle(), priority(), batching()],
  // A closed loop on a busy machine would rightly be shed at the default of 500 ms: then refusals would be measured.
  classes: [{ name: 'interactive', priority: 0, startMs: 60_000, quantile: 0.95 }],
  knobs: { 'throttle.limit': 512 },
  tracer,
})
await governor.start()
const gateway = governor.gateway()
const app = express()
app.disable('x-powered-by')
app.use('/v1', gateway)
for (const [path, chosen] of tracers) {
  app.use(`${path}/v1`, (req, res, next) => {
    current = chosen
    gateway(req, res, next)
  })
}
serveCandidate(app)
