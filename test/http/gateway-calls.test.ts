/** What of a request becomes of its call, and what of a reply becomes of its response. */
import { createHash } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { context, trace } from '@opentelemetry/api'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CANONICAL, FlyballError, replyOf, startTelemetry, type Backend, type Chunk, type Reply, type Telemetry } from '../../src/index.ts'
import { fakeChat } from '../support/fake-chat.ts'
import { makeGate } from '../support/gate.ts'
import { httpBench, question } from '../support/http-bench.ts'
import { waitFor } from '../support/wait-for.ts'

const chat = '/v1/chat/completions'

/** A backend that answers with exactly this. */
function answering(reply: () => Reply | Promise<Reply>): Backend {
  return { name: 'scripted', provider: 'test', models: ['fake-model'], limits: { slots: 8, maxBatch: 1, batching: 'internal' }, run: () => [Promise.resolve().then(reply)], async close() {} }
}

describe('callers', () => {
  it('are told apart by a hash of their credential, which is kept nowhere', async () => {
    const backend = fakeChat()
    const bench = await httpBench({ backends: [backend] })
    await bench.post(chat, question, { authorization: 'Bearer sk-one-secret' })
    await bench.post(chat, question, { authorization: 'Bearer sk-two-secret' })
    await bench.post(chat, question, { 'x-api-key': 'sk-one-secret' })
    await bench.post(chat, question)
    const tenants = backend.seen.map(({ tenant }) => tenant)
    expect(new Set(tenants).size).toBe(4)
    expect(tenants[3]).toBe('anonymous')
    expect(JSON.stringify(tenants)).not.toMatch(/secret/)
    const state = await (await fetch(`${bench.url}/admin/state`)).text()
    expect(state + (await bench.metrics())).not.toMatch(/secret/)
  })

  it('cannot be found by hashing a guess: ids are keyed, by a secret that is drawn at start or configured', async () => {
    const ask = async (tenantKey?: string): Promise<string> => {
      const backend = fakeChat()
      const bench = await httpBench({ backends: [backend], governor: tenantKey === undefined ? {} : { tenantKey } })
      await bench.post(chat, question, { authorization: 'Bearer guess' })
      return backend.seen[0]?.tenant as string
    }
    const drawn = await ask()
    const one = await ask('the operator’s first secret')
    const two = await ask('the operator’s other secret')
    expect(new Set([drawn, one, two, createHash('sha256').update('Bearer guess').digest('hex').slice(0, 32)]).size).toBe(4)
    for (const id of [drawn, one, two]) expect(id).toMatch(/^[0-9a-f]{32}$/)
    // The same over restarts and on other machines, where the secret is; and within a process in any case.
    expect(await ask('the operator’s first secret')).toBe(one)
    expect(await ask()).toBe(drawn)
  })

  it('cannot choose tenant, class or priority, unless their headers are trusted', async () => {
    const backend = fakeChat()
    const headers = { 'x-flyball-tenant': 'boss', 'x-flyball-class': 'batch', 'x-flyball-priority': '-100' }
    const open = await httpBench({ backends: [backend] })
    await open.post(chat, question, headers)
    expect(backend.seen[0]).toMatchObject({ tenant: 'anonymous', class: 'interactive', priority: 0 })
    const trusting = await httpBench({ backends: [fakeChat({ name: 'other' })], gateway: { trustHeaders: (req) => req.headers['x-front-end'] === 'yes' } })
    await trusting.post(chat, question, headers)
    await trusting.post(chat, question, { ...headers, 'x-front-end': 'yes' })
    const [untrusted, trusted] = (trusting.governor.backends()[0] as ReturnType<typeof fakeChat>).seen
    expect(untrusted).toMatchObject({ tenant: 'anonymous', class: 'interactive' })
    expect(trusted).toMatchObject({ tenant: 'boss', class: 'batch', priority: -100 })
    expect((await trusting.post(chat, question, { 'x-front-end': 'yes', 'x-flyball-class': 'nobody' })).status).toBe(400)
    expect((await trusting.post(chat, question, { 'x-front-end': 'yes', 'x-flyball-priority': 'high' })).status).toBe(400)
  })

  it('may be mapped by functions of the request', async () => {
    const backend = fakeChat()
    const bench = await httpBench({ backends: [backend], gateway: { tenant: (req) => String(req.headers['x-team']), class: () => 'batch', priority: () => 3, cacheClass: () => 'faq' } })
    await bench.post(chat, question, { 'x-team': 'blue' })
    expect(backend.seen[0]).toMatchObject({ tenant: 'blue', class: 'batch', priority: 3, cacheClass: 'faq' })
  })

  it('say how often they were sent before, as the official SDKs do', async () => {
    const backend = fakeChat()
    const bench = await httpBench({ backends: [backend] })
    for (const said of ['2', '0', 'often', '-1', undefined]) await bench.post(chat, question, said === undefined ? {} : { 'x-stainless-retry-count': said })
    expect(backend.seen.map(({ retries }) => retries)).toEqual([2, 0, 0, 0, 0])
  })

  it('may shorten their own wait', async () => {
    const { gate, open } = makeGate()
    const backend = fakeChat({ slots: 1, gate })
    const bench = await httpBench({ backends: [backend] })
    const first = bench.post(chat, question)
    await waitFor(() => backend.seen.length === 1)
    const late = await bench.post(chat, question, { 'x-flyball-timeout-ms': '30' })
    expect(late.status).toBe(504)
    expect(await late.json()).toMatchObject({ error: { code: 'deadline_exceeded' } })
    open()
    expect((await first).status).toBe(200)
    expect(backend.seen).toHaveLength(1)
  })
})

describe('models as labels', () => {
  it('a name never configured is in no metric', async () => {
    const bench = await httpBench({ backends: [fakeChat()] })
    for (let i = 0; i < 20; i++) expect((await bench.post(chat, { ...question, model: `typo-${i}` })).status).toBe(404)
    await bench.post(chat, question)
    const page = await bench.metrics()
    expect(page).not.toMatch(/typo/)
    expect(page).toMatch(/^flyball_calls_total\{operation="chat",model="_other",class="interactive",outcome="error",reason="model_not_found"\} 20$/m)
    expect(page).toMatch(/^flyball_calls_total\{operation="chat",model="fake-model",class="interactive",outcome="ok",reason=""\} 1$/m)
  })
})

describe('traces', () => {
  const spans = new InMemorySpanExporter()
  let telemetry: Telemetry
  beforeAll(async () => {
    telemetry = await startTelemetry({ spanProcessors: [new SimpleSpanProcessor({ exporter: spans })], env: {} })
  })
  afterAll(() => telemetry.shutdown())

  it('join the client’s, with the attempt below the call', async () => {
    const bench = await httpBench({ backends: [fakeChat()] })
    const traceId = '0af7651916cd43dd8448eb211c80319c'
    await (await bench.post(chat, question, { traceparent: `00-${traceId}-b7ad6b7169203331-01` })).text()
    const mine = spans.getFinishedSpans().filter((span) => span.spanContext().traceId === traceId)
    const call = mine.find((span) => span.parentSpanContext?.spanId === 'b7ad6b7169203331')
    expect(call?.name).toBe('chat fake-model')
    expect(mine.find((span) => span.parentSpanContext?.spanId === call?.spanContext().spanId)?.attributes).toMatchObject({ 'flyball.backend': 'fake', 'flyball.purpose': 'serve' })
    expect(call?.attributes).toMatchObject({ 'flyball.outcome': 'ok', 'gen_ai.usage.output_tokens': 3 })
    expect(JSON.stringify(mine.map(({ attributes }) => attributes))).not.toMatch(/Hello|"hi"/)
  })

  it('hang below a span that the host has open, which stays the host’s to end', async () => {
    const tracer = trace.getTracer('host')
    let hostSpanId = ''
    const bench = await httpBench({
      backends: [fakeChat()],
      before: (app) =>
        app.use((_req, res, next) => {
          const span = tracer.startSpan('host')
          hostSpanId = span.spanContext().spanId
          res.on('close', () => {
            expect(span.isRecording()).toBe(true)
            span.end()
          })
          context.with(trace.setSpan(context.active(), span), next)
        }),
    })
    await (await bench.post(chat, question, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' })).text()
    await waitFor(() => spans.getFinishedSpans().some(({ name }) => name === 'host'))
    expect(spans.getFinishedSpans().some((span) => span.parentSpanContext?.spanId === hostSpanId)).toBe(true)
  })
})

describe('time', () => {
  it('counts from the arrival of the head: a slow middleware shows', async () => {
    const bench = await httpBench({ backends: [fakeChat()], before: (app) => app.use((_req, _res, next) => void setTimeout(next, 60)) })
    const reply = await bench.post(chat, question)
    const beforeMs = Number(/before;dur=([\d.]+)/.exec(reply.headers.get('server-timing') ?? '')?.[1])
    expect(beforeMs).toBeGreaterThan(50)
  })
})

describe('replies', () => {
  it('of the client’s protocol pass byte by byte, raw headers and all but the connection’s', async () => {
    const bytes = Buffer.from('{ "id":"x",\n "choices" : [] , "odd": 1.50 }')
    const bench = await httpBench({
      backends: [
        answering(() =>
          replyOf([{ raw: bytes, tokens: 1 }], {
            protocol: 'openai',
            status: 201,
            rawHeaders: ['Content-Type', 'application/json', 'X-Request-Id', 'abc', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Connection', 'keep-alive, X-Private', 'X-Private', '1', 'Keep-Alive', 'timeout=99', 'Transfer-Encoding', 'chunked'],
          }),
        ),
      ],
    })
    const reply = await bench.post(chat, question)
    expect(reply.status).toBe(201)
    expect(Buffer.from(await reply.arrayBuffer())).toEqual(bytes)
    expect(reply.headers.get('x-request-id')).toBe('abc')
    expect(reply.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    expect(reply.headers.get('x-private')).toBeNull()
    expect(reply.headers.get('keep-alive')).not.toBe('timeout=99')
    expect(reply.headers.get('content-length')).toBe(String(bytes.length))
  })

  it('with an error inside a 200 are errors', async () => {
    const bench = await httpBench({ backends: [answering(() => replyOf([{ deltas: [{ type: 'error', code: 'overloaded', message: 'try later', status: 529 }], tokens: 0 }]))] })
    const reply = await bench.post(chat, question)
    expect(reply.status).toBe(529)
    expect(await reply.json()).toMatchObject({ error: { message: 'try later' } })
  })

  it('with an error status in another protocol keep status, words and retry advice', async () => {
    const bench = await httpBench({
      backends: [answering(() => replyOf([{ deltas: [{ type: 'error', code: 'rate_limit_error', message: 'slow down', status: 429 }], tokens: 0 }], { status: 429, rawHeaders: ['retry-after-ms', '1500'] }))],
    })
    const reply = await bench.post(chat, question)
    expect(reply.status).toBe(429)
    expect(reply.headers.get('retry-after-ms')).toBe('1500')
    expect(await reply.json()).toMatchObject({ error: { message: 'slow down', type: 'rate_limit_error' } })
  })

  it('send their head before their first token', async () => {
    const { gate, open } = makeGate()
    async function* body(): AsyncGenerator<Chunk> {
      await gate
      yield { deltas: [{ type: 'text', index: 0, text: 'late' }], tokens: 1 }
    }
    const bench = await httpBench({ backends: [answering(() => ({ status: 200, rawHeaders: [], protocol: CANONICAL, stream: true, body: body(), cancel() {} }))] })
    const reply = await bench.post(chat, { ...question, stream: true })
    expect(reply.headers.get('content-type')).toMatch(/^text\/event-stream/)
    open()
    expect(await reply.text()).toMatch(/late[\s\S]*data: \[DONE\]/)
  })

  it('go no faster than their reader: back-pressure reaches the backend', async () => {
    const backend = fakeChat({ words: Array.from({ length: 4_000 }, () => 'x'.repeat(16_384)) })
    const bench = await httpBench({ backends: [backend] })
    const heapBefore = process.memoryUsage().arrayBuffers
    const body = JSON.stringify({ ...question, stream: true })
    const req = httpRequest(`${bench.url}${chat}`, { method: 'POST', headers: { 'content-type': 'application/json' } })
    req.end(body)
    const res = await new Promise<import('node:http').IncomingMessage>((resolve) => req.on('response', resolve))
    res.pause()
    await new Promise((resolve) => setTimeout(resolve, 400))
    const pulled = backend.pulled
    await new Promise((resolve) => setTimeout(resolve, 200))
    // 64 MB wait to be sent: only what sockets hold has been taken.
    expect(backend.pulled).toBe(pulled)
    expect(pulled).toBeLessThan(1_500)
    expect(process.memoryUsage().arrayBuffers - heapBefore).toBeLessThan(40 * 1024 * 1024)
    res.destroy()
    await waitFor(() => bench.governor.lane('fake').inFlight === 0)
    expect(backend.abortedAtMs).toHaveLength(1)
  })

  it('are refused while draining, and running ones finish', async () => {
    const { gate, open } = makeGate()
    const backend = fakeChat({ gate })
    const bench = await httpBench({ backends: [backend] })
    const running = bench.post(chat, question)
    await waitFor(() => backend.seen.length === 1)
    const drained = bench.governor.drain()
    const refused = await bench.post(chat, question)
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get('retry-after-ms'))).toBeGreaterThan(0)
    expect((await fetch(`${bench.url}/readyz`)).status).toBe(503)
    open()
    expect((await running).status).toBe(200)
    await drained
  })

  it('never carry a stack trace, whatever a backend throws', async () => {
    const bench = await httpBench({ backends: [answering(() => Promise.reject(new TypeError('secret path /etc/x')))] })
    const text = await (await bench.post(chat, question)).text()
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'backend_failed' } })
    expect(text).not.toMatch(/secret|TypeError|\.ts/)
  })

  it('carry what a plugin of ours threw, as it is', async () => {
    const bench = await httpBench({ backends: [answering(() => Promise.reject(new FlyballError('overloaded', { retryAfterMs: 1_234 })))] })
    const reply = await bench.post(chat, question)
    expect(reply.status).toBe(503)
    expect(reply.headers.get('retry-after-ms')).toBe('1234')
    expect(reply.headers.get('retry-after')).toBe('2')
  })
})
