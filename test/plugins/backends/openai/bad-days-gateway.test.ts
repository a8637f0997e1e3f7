/** The same bad days as a client of the gateway lives them; and ten thousand of them in a row. */
import express from 'express'
import OpenAI from 'openai'
import { connect, type Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, it } from 'vitest'
import { openai, type OpenAiOptions } from '../../../../plugins/backends/openai/openai.ts'
import { createGovernor, type Governor } from '../../../../src/index.ts'
import { listen, type Listening } from '../../../support/listen.ts'
import { waitFor } from '../../../support/wait-for.ts'
import { rawUpstream, withoutEnd, type Upstream } from '../upstream.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const thing of opened.splice(0)) await thing.close()
})

interface Setup {
  readonly upstream: Upstream
  readonly governor: Governor
  readonly server: Listening
  readonly client: OpenAI
}

async function gateway(onRequest: (socket: Socket, bytes: Buffer) => void, options: Partial<OpenAiOptions> = {}): Promise<Setup> {
  // The first connection is the gateway's own, before it is ready.
  const upstream = await rawUpstream(onRequest)
  const governor = createGovernor({ backends: [openai({ name: 'up', baseUrl: upstream.url, models: ['m'], timeouts: { connectMs: 500, ...options.timeouts }, ...options })] })
  await governor.start()
  const app = express()
  app.use('/v1', governor.gateway())
  const server = await listen(app)
  opened.push(server, governor, upstream)
  return { upstream, governor, server, client: new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'k', maxRetries: 0 }) }
}

const SSE_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n'
const piece = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`
const TOKEN = 'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
const LAST = '0\r\n\r\n'
const json = (body: string, length = Buffer.byteLength(body)): string => `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n${body}`

const ASK = { model: 'm', messages: [{ role: 'user' as const, content: 'hi' }] }

describe('before headers: an error of the protocol', () => {
  it.each([
    ['resets', (socket: Socket) => socket.resetAndDestroy(), 502, 'upstream_unreachable'],
    ['talks nonsense', (socket: Socket) => socket.end('hello\r\n\r\n'), 502, 'upstream_invalid'],
    ['sends too little', (socket: Socket) => socket.end(json('{"a":1}', 99)), 502, 'upstream_invalid'],
    ['sends a page', (socket: Socket) => socket.end(json('<html>')), 502, 'upstream_invalid'],
    ['says nothing', () => {}, 504, 'upstream_timeout'],
    ['sends far too much', (socket: Socket) => socket.write(json(' '.repeat(300_000))), 502, 'upstream_too_large'],
  ] as const)('an upstream that %s', async (_, fault, status, code) => {
    const { client, governor, upstream } = await gateway(fault, { timeouts: { connectMs: 200, headMs: 200 }, maxReplyBytes: 100_000 })
    const error: unknown = await client.chat.completions.create(ASK).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ status, code })
    expect((error as Error).message).not.toMatch(/127\.0\.0\.1|node_modules|\bat /)
    await waitFor(() => governor.lane('up').inFlight === 0 && upstream.open.size === 0)
  })
})

describe('after headers: an error in band', () => {
  it.each([
    ['resets', (socket: Socket) => setTimeout(() => socket.resetAndDestroy(), 20), /broke off/],
    ['ends too soon', (socket: Socket) => socket.end(LAST), /before it was complete/],
    ['breaks an event', (socket: Socket) => socket.write(piece('data: {"choi\n\n')), /broken/],
    ['stalls', () => {}, /in time/],
    ['never ends', (socket: Socket) => socket.write(piece(TOKEN.repeat(2_000))), /too large/],
  ] as const)('an upstream that %s', async (_, fault, message) => {
    const { client, governor, upstream } = await gateway(
      (socket) => {
        socket.write(SSE_HEAD + piece(TOKEN))
        setTimeout(() => fault(socket), 30)
      },
      { timeouts: { connectMs: 200, idleMs: 200 }, maxReplyBytes: 100_000 },
    )
    const stream = await client.chat.completions.create({ ...ASK, stream: true })
    let text = ''
    const error: unknown = await (async () => { for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '' })().catch((thrown: unknown) => thrown)
    expect(text.startsWith('a')).toBe(true)
    expect(error).toBeInstanceOf(OpenAI.APIError)
    expect((error as Error).message).toMatch(message)
    await waitFor(() => governor.lane('up').inFlight === 0 && upstream.open.size === 0)
  })
})

it('a stream that announced its length and breaks: the error in band is not cut off by that length', async () => {
  const { client } = await gateway((socket) => {
    socket.write(`HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: ${TOKEN.length + 5}\r\n\r\n${TOKEN}`)
    setTimeout(() => socket.end(), 30)
  })
  const stream = await client.chat.completions.create({ ...ASK, stream: true })
  const error: unknown = await (async () => { for await (const _ of stream); })().catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(OpenAI.APIError)
  expect((error as Error).message).toMatch(/broke off/)
})

it('a client that reads slowly: upstream is held back through the whole gateway, memory flat', async () => {
  const block = piece(TOKEN.replace('"a"', `"${'x'.repeat(32 * 1024)}"`))
  let sent = (): number => 0
  const { server, governor, upstream } = await gateway((socket, bytes) => {
    if (bytes.toString().startsWith('GET')) return void socket.end(json('{"data":[]}'))
    socket.write(SSE_HEAD)
    sent = withoutEnd(socket, block)
  }, { maxReplyBytes: 1024 ** 3 })
  const { arrayBuffers } = process.memoryUsage()
  const body = JSON.stringify({ ...ASK, stream: true })
  const client = connect(server.port, '127.0.0.1')
  client.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
  client.pause()
  await waitFor(() => sent() > 0)
  await new Promise((resolve) => setTimeout(resolve, 400))
  const stuck = sent()
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(sent()).toBe(stuck)
  // Kernel buffers of two connections, and ours between them.
  expect(stuck).toBeLessThan(32 * 1024 * 1024)
  expect(process.memoryUsage().arrayBuffers - arrayBuffers).toBeLessThan(16 * 1024 * 1024)
  client.resume()
  await waitFor(() => sent() > 2 * stuck)
  client.destroy()
  await waitFor(() => governor.lane('up').inFlight === 0 && upstream.open.size === 0)
})

it('10,000 faulted calls: every slot back, no socket left, the heap where it was', { timeout: 180_000 }, async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const heap = (): number => {
    collect()
    return process.memoryUsage().heapUsed
  }
  let n = 0
  const faults: readonly ((socket: Socket) => void)[] = [
    (socket) => socket.resetAndDestroy(),
    (socket) => socket.end('nonsense\r\n\r\n'),
    (socket) => socket.end(json('{"a"', 50)),
    (socket) => socket.end(SSE_HEAD + piece(TOKEN)),
    (socket) => socket.end(SSE_HEAD + piece('data: {"x\n\n') + LAST),
    (socket) => socket.write(SSE_HEAD + piece(TOKEN)), // stalls: the client leaves
    (socket) => socket.end(json('{"error":{"message":"m"}}')),
    (socket) => socket.end('HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno'),
  ]
  const { governor, upstream } = await gateway((socket) => faults[n++ % faults.length]?.(socket))

  const outcomes = new Map<string, number>()
  async function round(calls: number): Promise<void> {
    const one = async (): Promise<void> => {
      const left = new AbortController()
      const timer = setTimeout(() => left.abort(), 150)
      const call = governor.call({ operation: 'chat', model: 'm', stream: true, input: { ...ASK, stream: true }, signal: left.signal })
      try {
        const reply = await governor.send(call)
        for await (const _ of reply.body);
      } catch {
        // Each is a failure: how it settles is what counts.
      }
      clearTimeout(timer)
      const outcome = call.settlement?.outcome ?? 'none'
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    }
    let left = calls
    const worker = async (): Promise<void> => {
      while (left-- > 0) await one()
    }
    await Promise.all(Array.from({ length: 50 }, worker))
  }

  await round(1_000)
  await waitFor(() => upstream.open.size === 0, 20_000)
  const before = heap()
  await round(9_000)
  await waitFor(() => governor.lane('up').inFlight === 0)
  // A connection whose call left before it stood is kept for the next one, for the pool's 4 s.
  await waitFor(() => upstream.open.size === 0, 20_000)
  const grown = heap() - before
  console.log(`10,000 faulted calls: ${JSON.stringify(Object.fromEntries(outcomes))}, in flight ${governor.lane('up').inFlight}, heap ${(grown / 1_048_576).toFixed(1)} MiB more after 9,000 than after 1,000`)
  expect([...outcomes.values()].reduce((a, b) => a + b, 0)).toBe(10_000)
  expect(outcomes.get('none')).toBeUndefined()
  expect(outcomes.get('ok')).toBeUndefined()
  // Most faults were met, not left.
  expect(outcomes.get('error')).toBeGreaterThan(5_000)
  expect(grown).toBeLessThan(8 * 1_048_576)
})
