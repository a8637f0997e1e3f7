/** flyball with everything on: spans into an in-process exporter, metrics, a cache that misses, throttle, priority. */
import express from 'express'
import { BatchSpanProcessor, TraceIdRatioBasedSampler } from '@opentelemetry/sdk-trace'
import { createGovernor, startTelemetry } from '../../../src/index.ts'
import { batching, cache, openai, priority, throttle } from '../../../plugins/builtin.ts'
import { serveCandidate } from '../candidate.ts'

const [upstream, mode = 'full'] = process.argv.slice(2) as [string, string?]
const sampling = mode === 'untraced' ? 0 : mode === 'sampled10' ? 0.1 : 1
/** Takes every span and keeps none: what is measured is making them, not a store of them. */
const exporter = {
  export: (_: unknown, done: (result: { code: number }) => void) => done({ code: 0 }),
  shutdown: () => Promise.resolve(),
  forceFlush: () => Promise.resolve(),
}
await startTelemetry({
  serviceName: 'bench',
  ...(mode === 'untraced' ? {} : { spanProcessors: [new BatchSpanProcessor({ exporter })], sampler: new TraceIdRatioBasedSampler(sampling) }),
})
const governor = createGovernor({
  backends: [openai({ name: 'mock', baseUrl: `${upstream}/v1`, models: ['mock'] })],
  // Hits are asked for with temperature 0; everything else passes the cache as a miss would.
  plugins: [cache(), throttle(), priority(), batching()],
  // A closed loop on a busy machine would rightly be shed at the default of 500 ms: then refusals would be measured.
  classes: [{ name: 'interactive', priority: 0, startMs: 60_000, quantile: 0.95 }],
  knobs: { 'throttle.limit': 512 },
})
await governor.start()
const app = express()
app.disable('x-powered-by')
app.use('/v1', governor.gateway())
serveCandidate(app)
