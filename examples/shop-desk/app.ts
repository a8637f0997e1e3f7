/** The shop's Express app: what a user writes, with flyball in it. Read it top to bottom. */
import { fileURLToPath } from 'node:url'
import express, { type Express } from 'express'
import { createGovernor, systemClock, type Clock, type SwitchbackOptions, type ConsoleOptions, type Governor } from '../../src/index.ts'
import { batching, cache, native, priority, throttle } from '../../plugins/builtin.ts'
import type { Intent } from './classifier-model.ts'
import { startClassifier } from './classifier.ts'
import { kindOf, orderBook, type OrderBook } from './orders.ts'

export const MODEL_FILE = fileURLToPath(new URL('./model/shop-desk-f32.gguf', rootOf(import.meta.url)))

/** Built code lies under `dist/`, the model does not. */
function rootOf(url: string): string {
  return url.replace('/dist/examples/', '/examples/')
}

export interface ShopDesk {
  readonly app: Express
  readonly governor: Governor
  readonly orders: OrderBook
  close(): Promise<void>
}

export interface ShopDeskOptions {
  /** `off`: the knobs stay at their static defaults. */
  loops?: 'on' | 'dry' | 'off'
  knobs?: Readonly<Record<string, number>>
  clock?: Clock
  /** What the page at `/flyball` may do. */
  console?: ConsoleOptions
  /** Speeds up how often orders change. */
  changeRate?: number
  /** Measure what the loops bring: a tenth of the time the knobs hold their static values. */
  switchback?: SwitchbackOptions
}

/** At most this share of cached answers may be stale. */
export const STALE_BUDGET = 0.02

export async function createShopDesk(options: ShopDeskOptions = {}): Promise<ShopDesk> {
  const clock = options.clock ?? systemClock
  const governor = createGovernor({
    backends: [await native({ name: 'shop-desk', model: MODEL_FILE, modelName: 'shop-desk', maxSequences: 64 })],
    plugins: [cache(), throttle(), priority(), batching()],
    classes: [
      { name: 'interactive', priority: 0, startMs: 500, e2eMs: 2_000, quantile: 0.95 },
      { name: 'batch', priority: 10, startMs: 5_000, quantile: 0.95 },
    ],
    ...(options.loops === undefined ? {} : { loops: options.loops }),
    ...(options.switchback === undefined ? {} : { switchback: options.switchback }),
    knobs: { 'cache.stale_budget': STALE_BUDGET, ...options.knobs },
    clock,
  })

  // A slow lookup: cached per order, with a TTL for each kind of order that the loop finds by itself.
  const orders = orderBook({ nowMs: () => clock.monoMs(), sleep: (ms, signal) => clock.sleep(ms, signal), changeRate: options.changeRate ?? 1 })
  const orderStatus = governor.wrap('order-status', (order: string, { signal }) => orders.status(order, signal), { key: (order) => order, cacheClass: kindOf })

  // A function that is much cheaper per item in company: called one by one, run in batches.
  const classifier = startClassifier()
  const intent = governor.wrapBatch<string, Intent>('intent', (texts) => classifier.classify(texts), { maxBatch: 64 })

  const app = express()
  app.disable('x-powered-by')
  app.use('/v1', governor.gateway())
  app.get('/orders/:order', (req, res, next) => {
    orderStatus(req.params.order).then((status) => res.json(status), next)
  })
  app.post('/messages', express.json({ limit: '16kb' }), (req, res, next) => {
    const { text } = (req.body ?? {}) as { text?: unknown }
    if (typeof text !== 'string') return void res.status(400).json({ error: 'expected { "text": "…" }' })
    intent(text).then((name) => res.json({ intent: name }), next)
  })
  app.use('/metrics', governor.metrics())
  app.use(governor.health())
  app.use('/admin', governor.admin())
  app.use('/flyball', governor.console(options.console))
  app.use(governor.errors())

  return {
    app,
    governor,
    orders,
    async close() {
      await governor.close()
      await classifier.close()
    },
  }
}
