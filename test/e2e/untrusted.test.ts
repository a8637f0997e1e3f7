/** What strangers may try, on real sockets: web pages that reach for a local gateway, smuggled requests, borrowed tenants, secrets that might leak. */
import { connect } from 'node:net'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace'
import { describe, expect, it } from 'vitest'
import { batching, cache, genai, openai, priority, throttle, usage } from '../../plugins/builtin.ts'
import { TenantLedger } from '../../plugins/optimizers/priority/tenant-ledger.ts'
import { startTelemetry, type Logger } from '../../src/index.ts'
import { httpUpstream, type Upstream } from '../plugins/backends/upstream.ts'
import { fakeChat } from '../support/fake-chat.ts'
import { httpBench, question } from '../support/http-bench.ts'

const chat = '/v1/chat/completions'

/** Bytes as they are; the whole answer until the server closes or says nothing more. */
function raw(url: string, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(bytes))
    let text = ''
    socket.on('data', (piece) => (text += piece.toString('latin1')))
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
    socket.setTimeout(300, () => socket.destroy())
  })
}

describe('a web page that reaches for a gateway on its visitor’s machine', () => {
  it('cannot ask without a preflight: a body must say that it is JSON', async () => {
    const backend = fakeChat()
    const bench = await httpBench({ backends: [backend] })
    // What `fetch(url, { mode: 'no-cors', body: new Blob([json]) })` sends.
    const body = JSON.stringify(question)
    const answer = await raw(bench.url, `POST ${chat} HTTP/1.1\r\nhost: x\r\norigin: https://evil.example\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
    expect(answer).toMatch(/^HTTP\/1\.1 415 /)
    expect(backend.seen).toHaveLength(0)
    const preflight = await fetch(bench.url + chat, { method: 'OPTIONS', headers: { origin: 'https://evil.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' } })
    expect(preflight.headers.get('access-control-allow-origin')).toBeNull()
    expect(preflight.ok).toBe(false)
  })

  it('has no way into the admin API: not by its own name, not across sites', async () => {
    const bench = await httpBench({ backends: [fakeChat()] })
    const ask = (headers: string, method = 'GET', path = '/admin/state'): Promise<string> => raw(bench.url, `${method} ${path} HTTP/1.1\r\n${headers}connection: close\r\ncontent-length: 0\r\n\r\n`)
    expect(await ask('host: localhost\r\n')).toMatch(/ 200 /)
    expect(await ask('host: evil.example\r\n')).toMatch(/ 403 /)
    expect(await ask('host: localhost\r\norigin: null\r\n', 'POST', '/admin/drain')).toMatch(/ 403 /)
    expect(await ask('host: localhost\r\norigin: https://evil.example\r\n', 'POST', '/admin/drain')).toMatch(/ 403 /)
    // Some browsers leave `Origin` out of a form's post to another site; this header they all send.
    expect(await ask('host: localhost\r\nsec-fetch-site: cross-site\r\n', 'POST', '/admin/drain')).toMatch(/ 403 /)
    expect(await ask('host: localhost\r\nsec-fetch-site: same-origin\r\n')).toMatch(/ 200 /)
    // Typed into the address bar.
    expect(await ask('host: localhost\r\nsec-fetch-site: none\r\n')).toMatch(/ 200 /)
    expect(bench.governor.draining).toBe(false)
  })

  it('nor has whoever comes through a proxy that hides itself: a bare `proxy_pass` of nginx asks in HTTP/1.0, under our own name', async () => {
    const bench = await httpBench({ backends: [fakeChat()] })
    const { port } = new URL(bench.url)
    expect(await raw(bench.url, `GET /admin/state HTTP/1.0\r\nhost: 127.0.0.1:${port}\r\nconnection: close\r\n\r\n`)).toMatch(/ 403 /)
    expect(await raw(bench.url, `GET /readyz HTTP/1.0\r\nhost: 127.0.0.1:${port}\r\nconnection: close\r\n\r\n`)).toMatch(/ 200 /)
  })
})

describe('requests inside requests', () => {
  async function behind(): Promise<{ url: string; upstream: Upstream }> {
    const upstream = await httpUpstream((_, res) => void res.writeHead(200, { 'content-type': 'application/json' }).end('{"choices":[],"object":"chat.completion"}'))
    const bench = await httpBench({ backends: [openai({ name: 'up', baseUrl: `${upstream.url}/v1`, models: ['fake-model'] })] })
    return { url: bench.url, upstream }
  }
  const posts = ({ received }: Upstream) => received.filter(({ method }) => method === 'POST')

  it.each([
    ['a length and chunks', (body: string) => `content-length: ${body.length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${body}`],
    ['two lengths', (body: string) => `content-length: 3\r\ncontent-length: ${body.length}\r\n\r\n${body}`],
    ['chunks in disguise', (body: string) => `transfer-encoding: xchunked\r\ncontent-length: ${body.length}\r\n\r\n${body}`],
    ['a bare line feed', (body: string) => `content-length: ${body.length}\r\nx: y\nz: w\r\n\r\n${body}`],
  ])('%s are refused', async (_name, framing) => {
    const { url, upstream } = await behind()
    const inner = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}`
    expect(await raw(url, `POST ${chat} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${framing(inner)}`)).toMatch(/^HTTP\/1\.1 400 /)
    expect(posts(upstream)).toHaveLength(0)
    await upstream.close()
  })

  it('the body is framed anew, and no header of the client’s can frame it otherwise', async () => {
    const { url, upstream } = await behind()
    const body = JSON.stringify(question)
    const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\nx-trailer: 1\r\n\r\n`
    const answer = await raw(url, `POST ${chat}?a=b%0d%0aevil:%201 HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close, content-length, content-type\r\ntransfer-encoding: chunked\r\ntrailer: x-trailer\r\nexpect: 100-continue\r\n\r\n${chunked}`)
    expect(answer).toMatch(/HTTP\/1\.1 200 /)
    const [got] = posts(upstream)
    const names = got?.rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase()) ?? []
    expect(names.filter((name) => ['content-length', 'transfer-encoding', 'trailer', 'expect', 'evil'].includes(name))).toEqual(['content-length'])
    expect(got?.body.toString()).toBe(body)
    expect(got?.path).toBe('/v1/chat/completions?a=b%0d%0aevil:%201')
    await upstream.close()
  })
})

describe('tenants', () => {
  it('are told apart by every credential that a request carries, not by the first', async () => {
    const backend = fakeChat()
    const bench = await httpBench({ backends: [backend], governor: { plugins: [cache({ shadowRate: 0 })] } })
    // One front end's own credential before everybody's, and each one's key beside it.
    const ask = (key: string) => bench.post(chat, { ...question, temperature: 0 }, { authorization: 'Bearer front-end', 'x-api-key': key })
    expect((await ask('a')).headers.get('x-flyball-cache')).toBe('miss')
    expect((await ask('b')).headers.get('x-flyball-cache')).toBe('miss')
    expect((await ask('a')).headers.get('x-flyball-cache')).toBe('hit')
  })

  it('have no weight by a name that every object has', () => {
    const ledger = new TenantLedger({ weights: { big: 2 }, maxTenants: 10 })
    for (const name of ['constructor', '__proto__', 'toString']) expect(ledger.account(name).weight).toBe(1)
    expect(ledger.account('big').weight).toBe(2)
  })
})

it('what was asked, answered or used to get in is in no log, span, metric, state, decision or error', async () => {
  const SECRET = 'Zq9-marker'
  const logs: string[] = []
  const note = (fields: object, message: string): void => void logs.push(`${message} ${JSON.stringify(fields, (_key, value: unknown) => (value instanceof Error ? { message: value.message, stack: value.stack, cause: value.cause } : value))}`)
  const log: Logger = { debug: note, info: note, warn: note, error: note }
  const exporter = new InMemorySpanExporter()
  const telemetry = await startTelemetry({ spanProcessors: [new SimpleSpanProcessor({ exporter })], env: {} })
  let answer: { status: number; body: string; type?: string } = { status: 200, body: '' }
  const upstream = await httpUpstream((_, res) => void res.writeHead(answer.status, { 'content-type': answer.type ?? 'application/json', 'x-request-id': 'r1' }).end(answer.body))
  const boom = fakeChat({ name: 'boom', models: ['boom'] })
  const bench = await httpBench({
    backends: [openai({ name: 'up', baseUrl: `${upstream.url}/v1`, apiKey: `sk-${SECRET}`, models: ['m'] }), { ...boom, run: () => { throw new Error(`failed on ${SECRET}`) } }],
    governor: { log, plugins: [genai(), usage(), cache({ shadowRate: 0 }), throttle(), priority(), batching()] },
    before: (app, governor) => void app.use('/flyball', governor.console()),
  })
  const ask = async (body: object, path = chat): Promise<string> => (await bench.post(path, body, { authorization: `Bearer ${SECRET}`, cookie: `s=${SECRET}`, 'user-agent': SECRET, 'x-request-id': SECRET })).text()
  const said: string[] = []
  const good = { model: 'm', temperature: 0, messages: [{ role: 'user', content: SECRET }] }
  const CHOICE = { id: 'c', object: 'chat.completion', choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: SECRET } }], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } }
  answer = { status: 200, body: JSON.stringify(CHOICE) }
  await ask(good)
  await ask(good)
  answer = { status: 200, body: `{"choices": ${SECRET}` }
  said.push(await ask({ ...good, seed: 1 }))
  answer = { status: 200, type: 'text/event-stream', body: `data: {"choices":[{"index":0,"delta":{"content":"${SECRET}"}}]}\n\ndata: {${SECRET}\n\n` }
  await ask({ ...good, stream: true })
  answer = { status: 500, body: JSON.stringify({ error: { message: SECRET } }) }
  await ask({ ...good, seed: 2 })
  await ask({ model: 'm', messages: [{ role: 'user', content: SECRET }], max_tokens: 5, metadata: { a: SECRET } }, '/v1/messages')
  said.push(await ask({ ...good, model: 'boom' }))
  said.push(await (await bench.post(chat, `{"model":"m","messages":[{"role":"user","content":"${SECRET}"`, {})).text())
  said.push(await (await bench.post(chat, `{"model":"m","messages":[{"role":"${SECRET}","content":1}]}`, {})).text())
  await ask({ ...good, model: `${SECRET}-model` })
  await fetch(`${bench.url}/v1/${SECRET}?x=${SECRET}`, { method: 'POST' })
  await fetch(`${bench.url}/admin/knobs/throttle.limit/pin`, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ value: 4, scope: { backend: 'up' } }) })
  const pages = await Promise.all(['/metrics', '/admin/state', '/admin/decisions?inputs=true&limit=1000', '/readyz'].map(async (path) => (await fetch(bench.url + path)).text()))
  const inspected = await (await bench.post('/admin/commands/cache.inspect', {})).text()
  const events = await raw(bench.url, `GET /flyball/events HTTP/1.1\r\nhost: localhost\r\n\r\n`)
  await upstream.close()
  const spans = exporter.getFinishedSpans().map(({ name, attributes, events: happened, status, links }) => JSON.stringify({ name, attributes, happened, status, links }))
  await telemetry.shutdown()
  expect(spans.length).toBeGreaterThan(8)
  expect(inspected).toContain('"hits"')
  expect(events).toContain('event:')
  expect(logs.length).toBeGreaterThan(0)
  for (const [where, texts] of Object.entries({ spans, logs, pages, inspected: [inspected], events: [events], said })) for (const text of texts) expect(text, where).not.toContain(SECRET)
})
