/** Client, gateway and upstream on real sockets: the same protocol on both sides. */
import OpenAI from 'openai'
import { afterEach, describe, expect, it } from 'vitest'
import { openai, throttle } from '../../plugins/builtin.ts'
import { fakeUpstream, UNARY, type FakeUpstream, type FakeUpstreamOptions } from '../support/fake-upstream.ts'
import { httpBench, type HttpBench } from '../support/http-bench.ts'
import { quickest } from '../support/quickest.ts'
import { waitFor } from '../support/wait-for.ts'

const upstreams: FakeUpstream[] = []
afterEach(async () => {
  for (const upstream of upstreams.splice(0)) await upstream.close()
})

async function chain(options: FakeUpstreamOptions = {}, slots = 8): Promise<{ bench: HttpBench; upstream: FakeUpstream; client: OpenAI }> {
  const upstream = await fakeUpstream(options)
  upstreams.push(upstream)
  const bench = await httpBench({ backends: [openai({ name: 'up', baseUrl: `${upstream.url}/v1`, apiKey: 'sk-upstream', slots })] })
  return { bench, upstream, client: new OpenAI({ baseURL: `${bench.url}/v1`, apiKey: 'sk-client', maxRetries: 0 }) }
}

const question = { model: 'm', messages: [{ role: 'user' as const, content: 'hi' }] }

describe('through an OpenAI-compatible upstream', () => {
  it('passes the request and the answer byte by byte, with our key instead of the client’s', async () => {
    const { bench, upstream } = await chain()
    const body = '{"model":"m",  "messages":[{"role":"user","content":"hi"}], "unknown": [1.0]}'
    const reply = await bench.post('/v1/chat/completions', body, { authorization: 'Bearer sk-client', 'x-trace': 'kept' })
    expect(await reply.text()).toBe(UNARY)
    expect(reply.headers.get('x-upstream')).toBe('yes')
    const seen = upstream.requests.find(({ path }) => path === '/v1/chat/completions')
    expect(seen?.body).toBe(body)
    expect(seen?.headers).toMatchObject({ authorization: 'Bearer sk-upstream', 'x-trace': 'kept' })
  })

  it('serves the official client, unary and streaming with usage', async () => {
    const { client, bench } = await chain()
    expect((await client.chat.completions.create(question)).choices[0]?.message.content).toBe('Hello there.')
    const stream = await client.chat.completions.create({ ...question, stream: true, stream_options: { include_usage: true } })
    let text = ''
    let usage: OpenAI.CompletionUsage | null | undefined
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      usage = chunk.usage ?? usage
    }
    expect(text).toBe('Hello there.')
    expect(usage?.total_tokens).toBe(10)
    const page = await bench.metrics()
    expect(page).toMatch(/^flyball_tokens_total\{operation="chat",model="[^"]+",kind="output"\} 6$/m)
  })

  it('a client that leaves mid-stream: upstream is cut within 50 ms', async () => {
    const { client, upstream, bench } = await chain({ words: Array.from({ length: 2_000 }, () => ' x'), gapMs: 5 })
    const tookMs = await quickest(50, async () => {
      const before = upstream.cutAtMs.length
      const stream = await client.chat.completions.create({ ...question, stream: true })
      let seen = 0
      let leftMs = 0
      for await (const _ of stream) {
        if (++seen < 3) continue
        leftMs = performance.now()
        break
      }
      await waitFor(() => upstream.cutAtMs.length > before && bench.governor.lane('up').inFlight === 0)
      return (upstream.cutAtMs[before] as number) - leftMs
    })
    expect(tookMs).toBeLessThan(50)
  })

  it('a client that leaves before the head: the same', async () => {
    const { client, upstream, bench } = await chain({ headMs: 5_000 })
    const tookMs = await quickest(50, async () => {
      const before = upstream.cutAtMs.length
      const abort = new AbortController()
      const call = client.chat.completions.create(question, { signal: abort.signal })
      await waitFor(() => upstream.open === 1)
      const leftMs = performance.now()
      abort.abort()
      await expect(call).rejects.toThrow(OpenAI.APIUserAbortError)
      await waitFor(() => upstream.cutAtMs.length > before && bench.governor.lane('up').inFlight === 0)
      return (upstream.cutAtMs[before] as number) - leftMs
    })
    expect(tookMs).toBeLessThan(50)
  })

  it('a client that leaves while queued never reaches upstream', async () => {
    const { client, upstream, bench } = await chain({ headMs: 300 }, 1)
    const first = client.chat.completions.create(question)
    await waitFor(() => upstream.open === 1)
    const abort = new AbortController()
    const second = client.chat.completions.create(question, { signal: abort.signal })
    await waitFor(() => bench.governor.lane('up').waiting === 1)
    abort.abort()
    await expect(second).rejects.toThrow(OpenAI.APIUserAbortError)
    await first
    expect(upstream.requests.filter(({ path }) => path.endsWith('/completions'))).toHaveLength(1)
    expect(bench.governor.lane('up')).toMatchObject({ inFlight: 0, waiting: 0 })
  })

  it('upstream errors pass as they are', async () => {
    const error = '{"error":{"message":"The model is overloaded","type":"server_error","code":null,"param":null}}'
    const { client, bench } = await chain({ answer: (_req, res) => { res.writeHead(503, { 'content-type': 'application/json', 'retry-after': '7' }).end(error); return true } })
    const reply = await bench.post('/v1/chat/completions', question)
    expect([reply.status, await reply.text(), reply.headers.get('retry-after')]).toEqual([503, error, '7'])
    await expect(client.chat.completions.create(question)).rejects.toMatchObject({ status: 503 })
  })

  it('whose key is over its limit waits alone; a key that all share stops all, and so does a server that says it is full', async () => {
    const seen = async (status: number, apiKey?: string): Promise<number[]> => {
      const upstream = await fakeUpstream({
        answer: (req, res) => {
          if (req.headers['x-who'] !== 'greedy') return false
          res.writeHead(status, { 'content-type': 'application/json', 'retry-after': '60', 'x-ratelimit-limit-requests': '1', 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '60s' }).end('{"error":{"message":"slow down"}}')
          return true
        },
      })
      upstreams.push(upstream)
      const bench = await httpBench({ backends: [openai({ name: 'up', baseUrl: `${upstream.url}/v1`, ...(apiKey === undefined ? {} : { apiKey }) })], governor: { plugins: [throttle()] } })
      const ask = async (who: string): Promise<number> => (await bench.post('/v1/chat/completions', question, { authorization: `Bearer sk-${who}`, 'x-who': who })).status
      return [await ask('modest'), await ask('greedy'), await ask('modest')]
    }
    expect(await seen(429)).toEqual([200, 429, 200])
    expect(await seen(429, 'sk-shared')).toEqual([200, 429, 503])
    expect(await seen(503)).toEqual([200, 503, 503])
  })

  it('an upstream that is not there is a 502 of ours', async () => {
    const { client, upstream } = await chain()
    await upstream.close()
    await expect(client.chat.completions.create(question)).rejects.toMatchObject({ status: 502, code: 'upstream_unreachable' })
  })

  it('an upstream that dies mid-stream is an error in band', async () => {
    const { client } = await chain({ answer: (_req, res) => { res.writeHead(200, { 'content-type': 'text/event-stream' }); res.write('data: {"id":"up","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}\n\n'); setTimeout(() => res.destroy(), 20); return true } })
    const stream = await client.chat.completions.create({ ...question, stream: true })
    let text = ''
    await expect(
      (async () => {
        for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
      })(),
    ).rejects.toThrow(OpenAI.APIError)
    expect(text).toBe('Hel')
  })
})
