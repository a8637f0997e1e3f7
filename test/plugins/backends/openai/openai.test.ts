import { afterEach, describe, expect, it } from 'vitest'
import { openai, type OpenAiOptions } from '../../../../plugins/backends/openai/openai.ts'
import type { Backend } from '../../../../src/index.ts'
import { readAll, serve, wireCall } from '../backend-calls.ts'
import { httpUpstream, type Received, type Upstream } from '../upstream.ts'
import type { ServerResponse } from 'node:http'

const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const thing of open.splice(0)) await thing.close()
})

async function pair(answer: (request: Received, res: ServerResponse) => void, options: Partial<OpenAiOptions> = {}): Promise<{ upstream: Upstream; backend: Backend }> {
  const upstream = await httpUpstream(answer)
  const backend = openai({ name: 'up', baseUrl: `${upstream.url}/v1`, ...options })
  open.push(backend, upstream)
  return { upstream, backend }
}

const CHAT = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }
const ANSWER = '{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"yo"},"finish_reason":"stop"}],\n "usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}'
const EVENTS = [
  'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
  'data: {"id":"c","choices":[{"index":0,"delta":{"content":"héllo"},"finish_reason":null}]}\n\n',
  'data: {"id":"c","choices":[{"index":0,"delta":{"content":" you"},"finish_reason":null}]}\n\n',
  'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
]
const USAGE_EVENT = 'data: {"id":"c","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}\n\n'
const DONE = 'data: [DONE]\n\n'

const json = (res: ServerResponse, text = ANSWER, status = 200): void => void res.writeHead(status, { 'content-type': 'application/json', 'X-Request-Id': 'req-1' }).end(text)
const events = (res: ServerResponse, list: readonly string[]): void => {
  res.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  for (const event of list) res.write(event)
  res.end()
}

describe('openai backend, pass-through', () => {
  it('sends the exact bytes, the client\'s headers without those of its hop, and its own key', async () => {
    const { upstream, backend } = await pair((_, res) => json(res), { apiKey: 'sk-ours', headers: { 'OpenAI-Organization': 'org' } })
    const rawHeaders = ['Host', 'gateway', 'Content-Type', 'application/json', 'Authorization', 'Bearer theirs', 'X-Api-Key', 'theirs', 'X-Custom', 'a', 'X-Custom', 'b', 'Accept-Encoding', 'br', 'Cookie', 'session=1', 'Connection', 'keep-alive', 'Content-Length', '999', 'x-flyball-priority', '1']
    const call = wireCall('openai', '/chat/completions?api-version=1', CHAT, { rawHeaders })
    const sent = call.wire?.bytes as Uint8Array
    const reply = await serve(backend, call)
    const { bytes } = await readAll(reply)
    const request = upstream.received[0] as Received
    expect(request.path).toBe('/v1/chat/completions?api-version=1')
    expect(request.body).toEqual(sent)
    // A settled call holds no prompt.
    expect([call.input, call.wire, call.canonical]).toEqual([undefined, undefined, undefined])
    const names = request.rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
    expect(names.filter((name) => name === 'x-custom')).toHaveLength(2)
    for (const name of ['cookie', 'accept-encoding', 'x-api-key', 'x-flyball-priority']) expect(names).not.toContain(name)
    const value = (name: string): string | undefined => request.rawHeaders[request.rawHeaders.findIndex((header, i) => i % 2 === 0 && header.toLowerCase() === name) + 1]
    expect(value('authorization')).toBe('Bearer sk-ours')
    expect(value('openai-organization')).toBe('org')
    expect(value('host')).toBe(upstream.url.slice('http://'.length))
    expect(value('content-length')).toBe(String(request.body.length))
    expect(bytes.toString()).toBe(ANSWER)
    expect(reply.rawHeaders).toContain('X-Request-Id')
    expect(reply.complete).toBe(true)
    expect(call.usage).toEqual({ inputTokens: 7, outputTokens: 2 })
    expect(call.settlement?.outcome).toBe('ok')
    expect(call.facts.get('upstream_request_id')).toBe('req-1')
  })

  it('forwards the client\'s credential only where it has none of its own, and not against its word', async () => {
    const rawHeaders = ['authorization', 'Bearer theirs']
    const forwards = await pair((_, res) => json(res))
    await readAll(await serve(forwards.backend, wireCall('openai', '/chat/completions', CHAT, { rawHeaders })))
    expect(forwards.upstream.received[0]?.rawHeaders).toContain('Bearer theirs')
    const keeps = await pair((_, res) => json(res), { forwardCredential: false })
    await readAll(await serve(keeps.backend, wireCall('openai', '/chat/completions', CHAT, { rawHeaders })))
    expect(keeps.upstream.received[0]?.rawHeaders).not.toContain('Bearer theirs')
  })

  it('writes the body anew when another middleware parsed it', async () => {
    const { upstream, backend } = await pair((_, res) => json(res))
    const call = wireCall('openai', '/chat/completions', CHAT, { wire: { protocol: 'openai', method: 'POST', path: '/chat/completions', rawHeaders: ['content-type', 'application/json'] } })
    await readAll(await serve(backend, call))
    expect(JSON.parse((upstream.received[0] as Received).body.toString())).toEqual(CHAT)
  })

  it('streams bytes unchanged, counts tokens by events, and takes usage where it is told', async () => {
    const { backend } = await pair((_, res) => events(res, [...EVENTS, DONE]))
    const call = wireCall('openai', '/chat/completions', { ...CHAT, stream: true })
    const reply = await serve(backend, call)
    expect(reply.stream).toBe(true)
    expect((await readAll(reply)).bytes.toString()).toBe([...EVENTS, DONE].join(''))
    expect(call.usage).toEqual({ inputTokens: 0, outputTokens: 2 })
    expect(call.settlement?.outcome).toBe('ok')
    const told = await pair((_, res) => events(res, [...EVENTS, USAGE_EVENT, DONE]))
    const second = wireCall('openai', '/chat/completions', { ...CHAT, stream: true })
    await readAll(await serve(told.backend, second))
    expect(second.usage).toEqual({ inputTokens: 5, outputTokens: 3 })
  })

  it('with trackUsage asks for usage in the stream and strips the answer again', async () => {
    const { upstream, backend } = await pair((request, res) => events(res, request.body.includes('"include_usage":true') ? [...EVENTS, USAGE_EVENT, DONE] : [...EVENTS, DONE]), { trackUsage: true })
    const call = wireCall('openai', '/chat/completions', { ...CHAT, stream: true })
    expect((await readAll(await serve(backend, call))).bytes.toString()).toBe([...EVENTS, DONE].join(''))
    expect(call.usage).toEqual({ inputTokens: 5, outputTokens: 3 })
    expect(JSON.parse((upstream.received[0] as Received).body.toString())).toEqual({ ...CHAT, stream: true, stream_options: { include_usage: true } })
    const asks = wireCall('openai', '/chat/completions', { ...CHAT, stream: true, stream_options: { include_usage: true } })
    expect((await readAll(await serve(backend, asks))).bytes.toString()).toBe([...EVENTS, USAGE_EVENT, DONE].join(''))
  })

  it('hands upstream\'s errors on as replies, body unchanged', async () => {
    const body = '{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":"rate_limited"}}'
    const { backend } = await pair((_, res) => void res.writeHead(429, { 'content-type': 'application/json', 'retry-after-ms': '1500' }).end(body))
    const call = wireCall('openai', '/chat/completions', CHAT)
    const reply = await serve(backend, call)
    expect(reply.status).toBe(429)
    expect(reply.rawHeaders).toContain('1500')
    expect((await readAll(reply)).bytes.toString()).toBe(body)
    expect(call.settlement).toMatchObject({ outcome: 'error', reason: 'upstream_429' })
  })

  it('answers what health and models say', async () => {
    const { backend, upstream } = await pair((request, res) => json(res, '{"object":"list","data":[{"id":"a"},{"id":"b"},{"object":"odd"}]}', request.path === '/health' ? 503 : 200), { flavor: 'vllm' })
    expect(await backend.listModels?.(AbortSignal.timeout(5_000))).toEqual(['a', 'b'])
    expect(await backend.health?.(AbortSignal.timeout(5_000))).toEqual({ healthy: false, detail: 'answered 503' })
    expect(upstream.received.map(({ path }) => path)).toEqual(['/v1/models', '/health'])
  })

  it('refuses options that cannot work', () => {
    expect(() => openai({ name: 'x', baseUrl: 'ftp://h' })).toThrow(/http or https/)
    expect(() => openai({ name: 'x', baseUrl: 'http://key@h' })).toThrow(/credentials/)
    expect(() => openai({ name: 'x', baseUrl: 'http://h', flavor: 'nope' as 'vllm' })).toThrow(/flavor/)
  })
})
