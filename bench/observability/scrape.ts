/** A gateway with so many models, everything on, scraped over HTTP from a thread of its own while a probe watches the event loop. */
import { Worker } from 'node:worker_threads'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { batching, cache, priority, throttle } from '../../plugins/builtin.ts'
import { createGovernor } from '../../src/index.ts'

export interface ScrapeCost {
  readonly models: number
  readonly bytes: number
  readonly samples: number
  /** Median over scrapes, ms: from request to the last byte. */
  readonly scrapeMs: number
  /**
   * Longest turn of the event loop during a scrape: median over scrapes, ms of this thread's CPU, so that whoever else
   * works on the machine does not count.
   */
  readonly stallMs: number
  /** The same by the clock on the wall, others' work included. */
  readonly wallStallMs: number
  /** CPU of the process per scrape, ms. */
  readonly cpuMs: number
}

const CALLS_PER_MODEL = 40

/** Fetches when told; a thread, so that reading the page is not counted as serving it. */
const CLIENT = `
const { parentPort } = require('node:worker_threads')
parentPort.on('message', async (url) => {
  const startMs = performance.now()
  const text = await (await fetch(url)).text()
  parentPort.postMessage({ ms: performance.now() - startMs, bytes: Buffer.byteLength(text), samples: text.split('\\n').filter((line) => line && !line.startsWith('#')).length })
})
`

export async function scrapeCost(models: number, scrapes: number): Promise<ScrapeCost> {
  const exporter = new PrometheusExporter({ preventServerStart: true, withoutScopeInfo: true, withoutTargetInfo: true })
  const provider = new MeterProvider({ readers: [exporter] })
  const governor = createGovernor({ meter: provider.getMeter('flyball'), plugins: [cache(), throttle(), priority(), batching()], env: {} })
  const functions = Array.from({ length: models }, (_, i) => governor.wrap<number, number>(`model-${i}`, async (x) => {
    if (x % 20 === 19) throw new Error('now and then')
    return x
  }, { key: (x) => String(x % 7) }))
  await governor.start()
  for (let x = 0; x < CALLS_PER_MODEL; x++) await Promise.allSettled(functions.map((call) => call(x, { class: x % 3 ? 'interactive' : 'batch' })))
  // Long enough for every loop to have decided.
  await new Promise((resolve) => setTimeout(resolve, 1_500))

  const metrics = governor.metrics({ exporter })
  const server = createServer((req, res) => metrics(req, res))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`
  const client = new Worker(CLIENT, { eval: true })
  try {
    const fetched = (): Promise<{ ms: number; bytes: number; samples: number }> => new Promise((resolve) => {
      client.once('message', resolve)
      client.postMessage(url)
    })
    for (let i = 0; i < 3; i++) await fetched()
    const costs: { ms: number; stallMs: number; wallStallMs: number; cpuMs: number; bytes: number; samples: number }[] = []
    for (let i = 0; i < scrapes; i++) {
      const probe = watchLoop()
      const cpuBefore = process.threadCpuUsage()
      const page = await fetched()
      const { user, system } = process.threadCpuUsage(cpuBefore)
      costs.push({ ...page, ...probe.stop(), cpuMs: (user + system) / 1_000 })
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const middle = (pick: (one: (typeof costs)[0]) => number): number => costs.map(pick).sort((a, b) => a - b)[costs.length >> 1] ?? Number.NaN
    return { models, bytes: middle((one) => one.bytes), samples: middle((one) => one.samples), scrapeMs: middle((one) => one.ms), stallMs: middle((one) => one.stallMs), wallStallMs: middle((one) => one.wallStallMs), cpuMs: middle((one) => one.cpuMs) }
  } finally {
    await client.terminate()
    server.closeAllConnections()
    server.close()
    await governor.close()
    await provider.shutdown()
  }
}

/** Turns of the event loop follow one another; the longest is the stall. */
function watchLoop(): { stop(): { stallMs: number; wallStallMs: number } } {
  let stallMs = 0
  let wallStallMs = 0
  let lastMs = performance.now()
  let lastCpuMs = threadCpuMs()
  let running = true
  const turn = (): void => {
    const now = performance.now()
    const cpuMs = threadCpuMs()
    wallStallMs = Math.max(wallStallMs, now - lastMs)
    stallMs = Math.max(stallMs, cpuMs - lastCpuMs)
    lastMs = now
    lastCpuMs = cpuMs
    if (running) setImmediate(turn)
  }
  setImmediate(turn)
  return {
    stop() {
      running = false
      return { stallMs, wallStallMs }
    },
  }
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}
