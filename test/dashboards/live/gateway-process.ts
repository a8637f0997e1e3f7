/**
 * The real gateway as a process of its own, with load, and with faults on command. Arguments: a JSON GatewayOptions.
 * Prints `{"url":…,"declared":…}` once it serves; then one JSON command a line on stdin.
 */
import type { ServerResponse } from 'node:http'
import { createInterface } from 'node:readline'
import { createGovernor, startTelemetry } from '../../../src/index.ts'
import { batching, cache, native, openai, priority, throttle } from '../../../plugins/builtin.ts'
import { MODEL_FILE } from '../../../examples/shop-desk/app.ts'
import { declaredIn } from '../../../src/cli/dashboards.ts'
import { Switchback } from '../../../src/control/switchback.ts'
import { collectUplift } from '../../../src/telemetry/uplift-instruments.ts'
import { listen } from '../../support/listen.ts'
import { SEESAW_KNOB, seesaw, seesawControl, type SeesawControl } from './seesaw.ts'

export interface GatewayOptions {
  readonly models: readonly string[]
  readonly load: boolean
}

export type Command =
  | { readonly do: 'seesaw'; readonly set: Partial<SeesawControl> }
  | { readonly do: 'upstream'; readonly answer: Upstream }
  | { readonly do: 'experiment'; readonly on: boolean }
  | { readonly do: 'pin'; readonly value: number | null }
  | { readonly do: 'exit' }

type Upstream = 'fine' | 'limited' | 'dead'

const { models, load } = JSON.parse(process.argv[2] ?? '{}') as GatewayOptions
let upstreamIs: Upstream = 'fine'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** A provider's budget, as hosted APIs tell it. */
const LIMITS = { 'x-ratelimit-limit-requests': '100000', 'x-ratelimit-remaining-requests': '90000', 'x-ratelimit-reset-requests': '60s' }

/** An OpenAI server: ten tokens, 3 ms apart. */
async function answer(res: ServerResponse, body: { stream?: boolean; model?: string }): Promise<void> {
  const choice = (part: object): string => JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 0, model: body.model, choices: [{ index: 0, ...part }] })
  await sleep(8)
  if (!body.stream) {
    res.writeHead(200, { 'content-type': 'application/json', ...LIMITS })
    return void res.end(JSON.stringify({ id: 'c', object: 'chat.completion', created: 0, model: body.model, choices: [{ index: 0, message: { role: 'assistant', content: 'hello' }, finish_reason: 'stop' }], usage: { prompt_tokens: 20, completion_tokens: 10, total_tokens: 30, prompt_tokens_details: { cached_tokens: 8 } } }))
  }
  res.writeHead(200, { 'content-type': 'text/event-stream', ...LIMITS })
  for (let i = 0; i < 10; i++) {
    res.write(`data: ${choice({ delta: { content: 'word ' }, finish_reason: null })}\n\n`)
    await sleep(3)
  }
  res.end(`data: ${choice({ delta: {}, finish_reason: 'stop' })}\n\ndata: [DONE]\n\n`)
}

const upstream = await listen((req, res) => {
  if (upstreamIs === 'dead') return void res.destroy()
  let text = ''
  req.on('data', (chunk: Buffer) => (text += chunk.toString()))
  req.on('end', () => {
    if (upstreamIs === 'limited' && req.method === 'POST') {
      res.writeHead(429, { 'content-type': 'application/json', 'retry-after-ms': '50' })
      return void res.end('{"error":{"message":"slow down","type":"rate_limit"}}')
    }
    if (req.method !== 'POST') return void res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ object: 'list', data: models.map((id) => ({ id, object: 'model' })) }))
    const body = JSON.parse(text) as { stream?: boolean; model?: string; n?: number }
    if (body.n === 2) return void res.writeHead(500, { 'content-type': 'application/json' }).end('{"error":{"message":"broken"}}')
    void answer(res, body)
  })
})

const telemetry = await startTelemetry({ serviceName: 'flyball-test' })
const governor = createGovernor({
  backends: [openai({ name: 'chat', baseUrl: `${upstream.url}/v1`, models: [...models] }), await native({ name: 'own', model: MODEL_FILE, modelName: 'own' })],
  plugins: [seesaw(), cache({ maxEntries: 24, shadowRate: 0.3 }), throttle(), priority(), batching()],
  classes: [
    { name: 'interactive', priority: 0, startMs: 500, ttftMs: 1_000, itlMs: 200, e2eMs: 1_000, quantile: 0.95 },
    { name: 'batch', priority: 10, startMs: 5_000, quantile: 0.9 },
  ],
})
const pause = governor.knobs.get(SEESAW_KNOB.name).for({ backend: 'engine' })
const engine = governor.wrap<number, number>('engine', async (x) => {
  await sleep(pause.value + 1)
  return x
}, { slots: 256 })
const classify = governor.wrapBatch<string, number>('classify', async (items) => {
  await sleep(20 + items.length)
  return items.map((item) => item.length)
}, { slots: 2, maxBatch: 32 })
const lookup = governor.wrap<string, number>('lookup', async (key) => {
  await sleep(5)
  return key.length
}, { key: (key) => key })

// Blocks of a second: pairs enough for an interval within the test.
const switchback = new Switchback({ clock: governor.clock, knobs: governor.knobs, loop: governor.loop, onCallSettled: (fn) => governor.onCallSettled(fn) }, { share: 0.5, blockMs: 1_000, washoutMs: 200 })
collectUplift(governor.instruments, () => switchback.uplift())

const serve = governor.gateway({ trustHeaders: true } as never)
const metrics = governor.metrics()
const health = governor.health()
const server = await listen((req, res) => {
  if (req.url === '/metrics') return metrics(req, res)
  if (req.url?.startsWith('/v1')) {
    req.url = req.url.slice(3)
    return void serve(req, res, () => res.writeHead(404).end())
  }
  health(req, res, () => res.writeHead(404).end())
})
await governor.start()

const quietly = (promise: Promise<unknown>): void => void promise.then(() => {}, () => {})

async function chat(n: number): Promise<void> {
  const abort = new AbortController()
  // A few callers leave in the middle.
  if (n % 29 === 0) setTimeout(() => abort.abort(), 15)
  const body = { model: n % 97 === 0 ? 'no such model' : models[n % models.length], stream: n % 3 !== 0, ...(n % 31 === 0 ? { n: 2 } : {}), messages: [{ role: 'user', content: `question ${n % 3 === 0 ? n % 40 : n}` }], temperature: n % 3 === 0 ? 0 : 1 }
  const response = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json', ...(n % 4 === 0 ? { 'x-flyball-class': 'batch' } : {}), ...(n % 37 === 0 ? { 'x-flyball-timeout-ms': '1' } : {}) }, body: JSON.stringify(body), signal: abort.signal })
  await response.arrayBuffer()
}

/** The engine in this process: a little of it, it shares two cores with everything else. */
async function own(): Promise<void> {
  const response = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model: 'own', stream: true, max_tokens: 8, messages: [{ role: 'user', content: `What is ${n} + 1?` }] }) })
  await response.arrayBuffer()
}

let n = 0
if (load) {
  setInterval(() => quietly(chat(++n)), 40)
  setInterval(() => quietly(engine(n)), 25)
  setInterval(() => quietly(classify(`text ${n}`, { class: n % 2 ? 'batch' : 'interactive' })), 8)
  setInterval(() => quietly(lookup(`key ${n % 25}`)), 30)
  setInterval(() => quietly(own()), 500)
  setInterval(() => quietly(fetch(`${server.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{' })), 700)
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line) as Command
  if (command.do === 'seesaw') Object.assign(seesawControl, command.set)
  if (command.do === 'upstream') upstreamIs = command.answer
  if (command.do === 'experiment') command.on ? switchback.start() : switchback.stop()
  if (command.do === 'pin') {
    if (command.value === null) governor.knobs.unpin('throttle.limit', { backend: 'chat' })
    else governor.knobs.pin('throttle.limit', { backend: 'chat' }, command.value)
  }
  if (command.do === 'exit') void telemetry.shutdown().finally(() => process.exit(0))
}).on('close', () => process.exit(0))

process.stdout.write(`${JSON.stringify({ url: server.url, declared: declaredIn(governor) })}\n`)
