/** A guard around a handler that was there before. `PORT` says where this one listens. */
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import { createGovernor, flyballSignal, startTelemetry } from 'flyball'
import { cache, priority, throttle } from 'flyball/plugins'

await startTelemetry()
const governor = createGovernor({ plugins: [cache(), throttle(), priority()] })
const app = express()
app.use(express.json())

let runs = 0
const handler: express.RequestHandler = async (req, res) => {
  runs++
  // Stops when nobody waits for the answer any more.
  await sleep(100, undefined, { ref: true, ...signalOf(req) })
  res.json({ id: (req.body as { id: string }).id, score: 0.5, runs })
}

function signalOf(req: express.Request): { signal?: AbortSignal } {
  const signal = flyballSignal(req)
  return signal ? { signal } : {}
}

app.post('/predict', governor.guard({ operation: 'predict', key: (req) => (req.body as { id: string }).id }), handler)

app.use('/metrics', governor.metrics())
app.use(governor.health())
await governor.start()
const server = app.listen(Number(process.env['PORT'] ?? 8787), '127.0.0.1')
process.once('SIGTERM', () => void governor.drain().then(() => governor.close()).then(() => server.close()))
