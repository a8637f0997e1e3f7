/** A gateway in an Express app, in front of an OpenAI-compatible server. `UPSTREAM` says where, `PORT` where this one listens. */
import express from 'express'
import { createGovernor, startTelemetry } from 'flyball'
import { batching, cache, openai, priority, throttle } from 'flyball/plugins'

await startTelemetry() // unless your app has an OpenTelemetry SDK: flyball uses it then
const governor = createGovernor({
  backends: [openai({ name: 'vllm', baseUrl: process.env['UPSTREAM'] ?? 'http://localhost:8000/v1', models: ['llama-3.1-8b'] })],
  plugins: [cache(), throttle(), priority(), batching()],
  classes: [{ name: 'interactive', priority: 0, startMs: 500, itlMs: 50, quantile: 0.95 }],
})
const app = express()
app.use('/v1', governor.gateway())
app.use('/metrics', governor.metrics())
app.use('/flyball', governor.console()) // a page for people on this machine
app.use(governor.health()) // /startupz, /livez, /readyz
await governor.start() // warms the backends
const server = app.listen(Number(process.env['PORT'] ?? 8787), '127.0.0.1')

process.once('SIGTERM', () => {
  // What runs and waits finishes, new calls are told to go elsewhere.
  governor.drain().then(() => governor.close()).then(() => server.close(), console.error)
})
