import type { ServerResponse } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { anthropic, type AnthropicOptions } from '../../../../plugins/backends/anthropic/anthropic.ts'
import { readRateLimits, systemClock, type Backend } from '../../../../src/index.ts'
import { readAll, serve, wireCall } from '../backend-calls.ts'
import { httpUpstream, type Received, type Upstream } from '../upstream.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const thing of opened.splice(0)) await thing.close()
})

async function pair(answer: (request: Received, res: ServerResponse) => void, options: Partial<AnthropicOptions> = {}): Promise<{ upstream: Upstream; backend: Backend }> {
  const upstream = await httpUpstream(answer)
  const backend = anthropic({ name: 'claude', baseUrl: `${upstream.url}/v1`, ...options })
  opened.push(backend, upstream)
  return { upstream, backend }
}

const ASK = { model: 'm', max_tokens: 10, messages: [{ role: 'user', content: 'hi' }] }
const askCall = (body: object = ASK, init = {}) => wireCall('anthropic', '/messages', body, { operation: 'messages', ...init })
const event = (type: string, rest: object): string => `event: ${type}\ndata: ${JSON.stringify({ type, ...rest })}\n\n`
const header = (request: Received | undefined, name: string): string | undefined => request?.rawHeaders[(request.rawHeaders.findIndex((text, i) => i % 2 === 0 && text.toLowerCase() === name) ?? 0) + 1]
const names = (request: Received | undefined): string[] => (request?.rawHeaders ?? []).filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())

describe('anthropic backend', () => {
  it('sends the exact bytes with its own key and a version', async () => {
    const { upstream, backend } = await pair((_, res) => void res.writeHead(200, { 'content-type': 'application/json', 'request-id': 'req_1' }).end('{"type":"message","content":[],"stop_reason":"end_turn","usage":{"input_tokens":3,"cache_read_input_tokens":2,"cache_creation_input_tokens":1,"output_tokens":4}}'), { apiKey: 'sk-ours' })
    const call = askCall(ASK, { rawHeaders: ['x-api-key', 'theirs', 'authorization', 'Bearer theirs', 'anthropic-beta', 'tools-2026', 'content-type', 'application/json'] })
    // A settled call has let go of them.
    const sent = call.wire?.bytes
    await readAll(await serve(backend, call))
    const [request] = upstream.received
    expect(request?.path).toBe('/v1/messages')
    expect(request?.body).toEqual(sent)
    expect(header(request, 'x-api-key')).toBe('sk-ours')
    expect(names(request)).not.toContain('authorization')
    expect(header(request, 'anthropic-version')).toBe('2023-06-01')
    expect(header(request, 'anthropic-beta')).toBe('tools-2026')
    expect(call.usage).toEqual({ inputTokens: 6, outputTokens: 4, cachedInputTokens: 2, cacheWriteTokens: 1 })
    expect(call.facts.get('upstream_request_id')).toBe('req_1')
  })

  it('leaves the client\'s version as it is', async () => {
    const { upstream, backend } = await pair((_, res) => void res.writeHead(200, { 'content-type': 'application/json' }).end('{}'))
    await readAll(await serve(backend, askCall(ASK, { rawHeaders: ['Anthropic-Version', '2024-01-01'] })))
    expect(upstream.received[0]?.rawHeaders.filter((text) => text.toLowerCase() === 'anthropic-version')).toHaveLength(1)
    expect(header(upstream.received[0], 'anthropic-version')).toBe('2024-01-01')
  })

  it('keeps the input tokens of a stream that the client left', async () => {
    const { backend } = await pair((_, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write(event('message_start', { message: { id: 'x', usage: { input_tokens: 100, cache_read_input_tokens: 50, output_tokens: 1 } } }))
      res.write(event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'a' } }) + event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'b' } }))
    })
    const call = askCall({ ...ASK, stream: true })
    const body = (await serve(backend, call)).body[Symbol.asyncIterator]()
    let tokens = 0
    while (tokens < 2) tokens += ((await body.next()).value as { tokens: number }).tokens
    call.abort()
    expect(call.usage).toMatchObject({ inputTokens: 150, outputTokens: 2, cachedInputTokens: 50 })
    expect(call.settlement?.outcome).toBe('cancelled')
  })

  it('passes an error event through, and settles as one', async () => {
    const stream = event('message_start', { message: { id: 'x', usage: { input_tokens: 1, output_tokens: 1 } } }) + 'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n'
    const { backend } = await pair((_, res) => void res.writeHead(200, { 'content-type': 'text/event-stream' }).end(stream))
    const call = askCall({ ...ASK, stream: true })
    expect((await readAll(await serve(backend, call))).bytes.toString()).toBe(stream)
    expect(call.settlement).toMatchObject({ outcome: 'error', reason: 'in_band_529' })
  })

  it('passes 529 and its limits on as a reply', async () => {
    const body = '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    const { backend } = await pair((_, res) => void res.writeHead(529, { 'content-type': 'application/json', 'anthropic-ratelimit-requests-remaining': '0', 'anthropic-ratelimit-requests-limit': '50', 'retry-after': '2' }).end(body))
    const call = askCall()
    const reply = await serve(backend, call)
    expect(reply.status).toBe(529)
    expect(readRateLimits(reply.rawHeaders, systemClock)).toEqual({ requests: { limit: 50, remaining: 0 }, retryAfterMs: 2_000 })
    expect((await readAll(reply)).bytes.toString()).toBe(body)
    expect(call.settlement).toMatchObject({ outcome: 'error', reason: 'upstream_529' })
  })

  it('fails a stream that stops without its stop', async () => {
    const { backend } = await pair((_, res) => void res.writeHead(200, { 'content-type': 'text/event-stream' }).end(event('message_start', { message: { id: 'x' } })))
    await expect(readAll(await serve(backend, askCall({ ...ASK, stream: true })))).rejects.toMatchObject({ code: 'upstream_invalid', reason: 'broken_stream' })
  })

  it('counts tokens', async () => {
    const { upstream, backend } = await pair((_, res) => void res.writeHead(200, { 'content-type': 'application/json' }).end('{"input_tokens":42}'))
    const call = wireCall('anthropic', '/messages/count_tokens', { model: 'm', messages: ASK.messages }, { operation: 'count_tokens' })
    expect((await readAll(await serve(backend, call))).bytes.toString()).toBe('{"input_tokens":42}')
    expect(upstream.received[0]?.path).toBe('/v1/messages/count_tokens')
    expect(call.usage).toEqual({ inputTokens: 42, outputTokens: 0 })
  })
})
