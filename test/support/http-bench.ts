/** A gateway over a fake backend on a real socket, closed again after each test. */
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import express, { type Express } from 'express'
import { afterEach } from 'vitest'
import { createGovernor, type Backend, type GatewayOptions, type Governor, type GovernorOptions } from '../../src/index.ts'
import { listen, type Listening } from './listen.ts'

export interface HttpBench {
  readonly governor: Governor
  readonly server: Listening
  readonly app: Express
  readonly url: string
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>
  metrics(): Promise<string>
}

const opened: { governor: Governor; server: Listening }[] = []

afterEach(async () => {
  for (const { governor, server } of opened.splice(0)) {
    await governor.close()
    await server.close()
  }
})

export interface BenchOptions {
  backends?: readonly Backend[]
  governor?: GovernorOptions
  gateway?: GatewayOptions
  /** Before the gateway is mounted. */
  before?: (app: Express, governor: Governor) => void
  /** After it. */
  after?: (app: Express, governor: Governor) => void
}

export async function httpBench(options: BenchOptions = {}): Promise<HttpBench> {
  const exporter = new PrometheusExporter({ preventServerStart: true })
  const meter = new MeterProvider({ readers: [exporter] }).getMeter('test')
  const governor = createGovernor({ meter, ...options.governor, ...(options.backends ? { backends: options.backends } : {}) })
  const app = express()
  options.before?.(app, governor)
  app.use('/v1', governor.gateway(options.gateway))
  app.use(governor.health())
  app.use('/admin', governor.admin())
  app.get('/metrics', governor.metrics({ exporter }))
  options.after?.(app, governor)
  await governor.start()
  const server = await listen(app)
  opened.push({ governor, server })
  return {
    governor,
    server,
    app,
    url: server.url,
    post: (path, body, headers = {}) =>
      fetch(`${server.url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
      }),
    metrics: async () => (await fetch(`${server.url}/metrics`)).text(),
  }
}

export const question = { model: 'fake-model', messages: [{ role: 'user', content: 'hi' }] }
