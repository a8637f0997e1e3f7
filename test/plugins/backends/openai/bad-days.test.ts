/** An upstream that refuses, resets, stalls, trickles, lies about its length, breaks its stream, or never ends. */
import type { Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { openai, type OpenAiOptions } from '../../../../plugins/backends/openai/openai.ts'
import { FlyballError, type Backend, type Reply } from '../../../../src/index.ts'
import { manualClock } from '../../../support/manual-clock.ts'
import { waitFor } from '../../../support/wait-for.ts'
import { readAll, serve, wireCall } from '../backend-calls.ts'
import { rawUpstream, withoutEnd, type Upstream } from '../upstream.ts'

const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const thing of open.splice(0)) await thing.close()
})

async function against(onRequest: (socket: Socket) => void, options: Partial<OpenAiOptions> = {}): Promise<{ upstream: Upstream; backend: Backend }> {
  const upstream = await rawUpstream(onRequest)
  const backend = openai({ name: 'up', baseUrl: upstream.url, ...options })
  open.push(backend, upstream)
  return { upstream, backend }
}

const UNARY = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }
const STREAM = { ...UNARY, stream: true }
const unaryCall = (init = {}) => wireCall('openai', '/chat/completions', UNARY, init)
const streamCall = (init = {}) => wireCall('openai', '/chat/completions', STREAM, init)

const SSE_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n'
const piece = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`
const token = (text: string): string => `data: {"choices":[{"index":0,"delta":{"content":"${text}"},"finish_reason":null}]}\n\n`
const LAST = '0\r\n\r\n'
const json = (body: string, length = Buffer.byteLength(body)): string => `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n${body}`

async function failure(work: Promise<unknown>): Promise<FlyballError> {
  const thrown: unknown = await work.then(() => undefined, (error: unknown) => error)
  expect(thrown).toBeInstanceOf(FlyballError)
  return thrown as FlyballError
}

describe('before the head', () => {
  it('says unreachable when nobody listens', async () => {
    const { upstream, backend } = await against(() => {})
    await upstream.close()
    const call = unaryCall()
    expect(await failure(serve(backend, call))).toMatchObject({ code: 'upstream_unreachable', reason: 'connection_refused', status: 502 })
  })

  it('says unreachable when the connection is reset', async () => {
    const { backend } = await against((socket) => socket.resetAndDestroy())
    expect(await failure(serve(backend, unaryCall()))).toMatchObject({ code: 'upstream_unreachable', reason: 'upstream_reset' })
  })

  it('says invalid for what is no HTTP', async () => {
    const { backend } = await against((socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'))
    expect(await failure(serve(backend, unaryCall()))).toMatchObject({ code: 'upstream_invalid', reason: 'bad_http' })
  })

  it('gives up on a head that does not come, by the injected clock, and closes the socket', async () => {
    const clock = manualClock()
    const { upstream, backend } = await against(() => {}, { clock, timeouts: { headMs: 5_000 } })
    const [head] = backend.run([unaryCall({ clock })], new AbortController().signal)
    const failed = failure(head as Promise<Reply>)
    await waitFor(() => upstream.open.size === 1)
    await new Promise((resolve) => setTimeout(resolve, 20))
    await clock.advance(15_000)
    expect(await failed).toMatchObject({ code: 'upstream_timeout', reason: 'head_timeout', status: 504 })
    await waitFor(() => upstream.open.size === 0)
    expect(clock.pendingTimers).toBe(0)
  })
})

describe('on a connection kept from an earlier call', () => {
  const good = json('{"id":"x","choices":[]}')

  async function ask(backend: Backend, init = {}): Promise<string> {
    const { bytes } = await serve(backend, unaryCall(init)).then(readAll)
    // The pool has its connection back a turn after the body's end.
    await new Promise((resolve) => setTimeout(resolve, 5))
    return bytes.toString()
  }

  /** Answers the first request on each connection; what happens at the second is `atSecond`'s. */
  async function keptAlive(atSecond: (socket: Socket) => void): Promise<{ upstream: Upstream; backend: Backend; connections: () => number; requests: () => number }> {
    let connections = 0
    let requests = 0
    const { upstream, backend } = await against((socket) => {
      connections++
      requests++
      socket.on('data', () => {
        requests++
        atSecond(socket)
      })
      socket.write(good)
    })
    return { upstream, backend, connections: () => connections, requests: () => requests }
  }

  it.each([
    ['a reset', (socket: Socket) => socket.resetAndDestroy()],
    ['a close', (socket: Socket) => socket.end()],
  ] as const)('%s as we send is the upstream’s idle timeout: asked again on another connection', async (_, close) => {
    const { backend, connections, requests } = await keptAlive(close)
    // Every other call finds a connection that the upstream is about to close, sometimes two.
    for (let i = 0; i < 5; i++) expect(await ask(backend)).toBe('{"id":"x","choices":[]}')
    expect(connections()).toBe(5)
    expect(requests()).toBeGreaterThan(6)
  })

  it('an upstream that closes new connections, too, is asked no third time', async () => {
    let asked = 0
    const { backend } = await against((socket) => {
      if (asked++ > 0) return void socket.resetAndDestroy()
      socket.on('data', () => (asked++, socket.resetAndDestroy()))
      socket.write(good)
    })
    await ask(backend)
    expect(await failure(ask(backend))).toMatchObject({ code: 'upstream_unreachable', reason: 'upstream_reset' })
    expect(asked).toBe(3)
  })

  it('nothing is asked again once a byte of the answer was there, or once the upstream had time to work on it', async () => {
    const begun = await keptAlive((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{', () => socket.end()))
    await ask(begun.backend)
    expect((await failure(ask(begun.backend))).code).toBe('upstream_invalid')
    expect(begun.requests()).toBe(2)

    const clock = manualClock()
    const working = await keptAlive((socket) => void clock.advance(5_000).then(() => socket.resetAndDestroy()))
    const backend = openai({ name: 'slow', baseUrl: working.upstream.url, clock })
    open.push(backend)
    await ask(backend, { clock })
    expect((await failure(ask(backend, { clock }))).code).toBe('upstream_unreachable')
  })

  it('a caller that left meanwhile is not asked for again', async () => {
    const call = unaryCall()
    const { backend, requests } = await keptAlive((socket) => {
      call.abort()
      socket.resetAndDestroy()
    })
    await ask(backend)
    expect((await failure(serve(backend, call))).code).toBe('cancelled')
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(requests()).toBe(2)
  })
})

it('a call that went well leaves no timer', async () => {
  const clock = manualClock()
  const { backend } = await against((socket) => socket.end(json('{"id":"x","choices":[]}')), { clock })
  const call = unaryCall({ clock })
  await serve(backend, call).then(readAll)
  expect(clock.pendingTimers).toBe(0)
})

describe('inside a unary reply', () => {
  it('refuses a body shorter than its content-length', async () => {
    const { backend } = await against((socket) => socket.end(json('{"a":1}', 100)))
    expect((await failure(serve(backend, unaryCall()))).code).toBe('upstream_invalid')
  })

  it('takes no more than the content-length', async () => {
    const { backend } = await against((socket) => socket.end(json('{"id":"x"}garbage', 10)))
    const read = await serve(backend, unaryCall()).then(readAll)
    expect(read.bytes.toString()).toBe('{"id":"x"}')
  })

  it('refuses what is no JSON although it says so', async () => {
    const { backend } = await against((socket) => socket.end(json('<html>proxy error</html>')))
    expect(await failure(serve(backend, unaryCall()))).toMatchObject({ code: 'upstream_invalid', reason: 'not_json' })
  })

  it('gives a 200 with an error inside the status that it should have', async () => {
    const body = '{"error":{"message":"model is loading","type":"unavailable","code":503}}'
    const { backend } = await against((socket) => socket.end(json(body)))
    const call = unaryCall()
    const reply = await serve(backend, call)
    expect(reply.status).toBe(503)
    expect((await readAll(reply)).bytes.toString()).toBe(body)
    expect(call.settlement?.outcome).toBe('error')
    const nameless = await against((socket) => socket.end(json('{"error":{"message":"odd","type":"x"}}')))
    expect((await serve(nameless.backend, unaryCall())).status).toBe(502)
  })

  it('stops at the size cap and holds no more than that', async () => {
    const block = Buffer.alloc(1024 * 1024, 0x20)
    let sent = 0
    const { upstream, backend } = await against(
      (socket) => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${100 * block.length}\r\n\r\n`)
        const more = (): void => {
          while (!socket.destroyed && sent < 100) {
            sent++
            if (!socket.write(block)) return
          }
        }
        socket.on('drain', more)
        more()
      },
      { maxReplyBytes: 4 * 1024 * 1024 },
    )
    const before = process.memoryUsage().rss
    expect(await failure(serve(backend, unaryCall()))).toMatchObject({ code: 'upstream_too_large', status: 502 })
    await waitFor(() => upstream.open.size === 0)
    expect(sent).toBeLessThan(60)
    expect(process.memoryUsage().rss - before).toBeLessThan(90 * 1024 * 1024)
  })

  it('gives up on a body that trickles past the total limit', async () => {
    const { upstream, backend } = await against(
      (socket) => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{`)
        const timer = setInterval(() => socket.write(' '), 5)
        socket.on('close', () => clearInterval(timer))
      },
      { timeouts: { idleMs: 60, totalMs: 250 } },
    )
    expect((await failure(serve(backend, unaryCall()))).code).toBe('upstream_timeout')
    await waitFor(() => upstream.open.size === 0)
  })
})

describe('inside a stream', () => {
  it('hands on what came before a reset, then fails', async () => {
    const { backend } = await against((socket) => {
      socket.write(SSE_HEAD + piece(token('a')) + piece(token('b')))
      setTimeout(() => socket.resetAndDestroy(), 30)
    })
    const call = streamCall()
    const reply = await serve(backend, call)
    const seen: string[] = []
    const failed = await failure((async () => { for await (const chunk of reply.body) seen.push(Buffer.from(chunk.raw as Uint8Array).toString()) })())
    expect(seen.join('')).toBe(token('a') + token('b'))
    expect(failed).toMatchObject({ code: 'upstream_invalid', reason: 'upstream_reset' })
    expect(call.settlement).toMatchObject({ outcome: 'error', reason: 'upstream_reset' })
    expect(call.usage.outputTokens).toBe(2)
  })

  it('fails a stream that ends well on the wire but not in its words', async () => {
    const { backend } = await against((socket) => socket.end(SSE_HEAD + piece(token('a')) + LAST))
    const reply = await serve(backend, streamCall())
    expect(await failure(readAll(reply))).toMatchObject({ code: 'upstream_invalid', reason: 'broken_stream' })
  })

  it('fails a stream with a broken event, after the good part', async () => {
    const { upstream, backend } = await against((socket) => {
      socket.write(SSE_HEAD + piece(token('a')))
      setTimeout(() => socket.write(piece('data: {"choices":[{"del\n\n')), 20)
    })
    const call = streamCall()
    const reply = await serve(backend, call)
    const body = reply.body[Symbol.asyncIterator]()
    expect((await body.next()).value.tokens).toBe(1)
    expect(await failure(body.next())).toMatchObject({ code: 'upstream_invalid', reason: 'broken_stream' })
    await waitFor(() => upstream.open.size === 0)
  })

  it('is one however its media type is spelled', async () => {
    const head = SSE_HEAD.replace('text/event-stream', 'Text/Event-Stream; charset=utf-8')
    const { backend } = await against((socket) => socket.write(head + piece(token('a'))))
    const call = streamCall()
    const reply = await serve(backend, call)
    expect(reply.stream).toBe(true)
    reply.cancel()
  })

  it('passes an error in band unchanged, and settles as one', async () => {
    const error = 'data: {"error":{"message":"engine died","type":"server_error","code":500}}\n\n'
    const { backend } = await against((socket) => socket.end(SSE_HEAD + piece(token('a')) + piece(error) + LAST))
    const call = streamCall()
    const { bytes } = await readAll(await serve(backend, call))
    expect(bytes.toString()).toBe(token('a') + error)
    expect(call.settlement).toMatchObject({ outcome: 'error', reason: 'in_band_500' })
  })

  it('gives up on a stall by the injected clock, but not while the reader is the slow one', async () => {
    const clock = manualClock()
    const { upstream, backend } = await against((socket) => socket.write(SSE_HEAD + piece(token('a'))), { clock, timeouts: { idleMs: 1_000 } })
    const call = streamCall({ clock })
    const reply = await (backend.run([call], call.signal)[0] as Promise<Reply>)
    const body = reply.body[Symbol.asyncIterator]()
    await new Promise((resolve) => setTimeout(resolve, 30))
    await clock.advance(60_000)
    expect((await body.next()).value.tokens).toBe(1)
    const stalled = failure(body.next())
    await clock.advance(2_500)
    expect(await stalled).toMatchObject({ code: 'upstream_timeout', reason: 'idle_timeout' })
    await waitFor(() => upstream.open.size === 0)
    expect(clock.pendingTimers).toBe(0)
  })

  it('lets a slow reader slow the upstream down, memory flat', async () => {
    const block = piece(token('x'.repeat(32 * 1024)))
    let sent = (): number => 0
    const { upstream, backend } = await against((socket) => {
      socket.write(SSE_HEAD)
      sent = withoutEnd(socket, block)
    })
    const reply = await serve(backend, streamCall())
    const body = reply.body[Symbol.asyncIterator]()
    await body.next()
    await new Promise((resolve) => setTimeout(resolve, 150))
    const stuck = sent()
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect(sent()).toBe(stuck)
    // What lies in kernel buffers and ours together: a few MB, and it stays there.
    expect(stuck).toBeLessThan(16 * 1024 * 1024)
    for (let i = 0; i < 400; i++) await body.next()
    expect(sent()).toBeGreaterThan(stuck)
    reply.cancel()
    await waitFor(() => upstream.open.size === 0)
  })
})

describe('a caller that leaves', () => {
  /** The best of three: a busy machine may hold one try up. */
  async function closesPromptly(attempt: () => Promise<number>): Promise<void> {
    const tookMs: number[] = []
    while (tookMs.length < 3 && !(Math.min(...tookMs) < 50)) tookMs.push(await attempt())
    expect(Math.min(...tookMs)).toBeLessThan(50)
  }

  async function closing(upstream: Upstream, leave: () => void): Promise<number> {
    const startMs = performance.now()
    leave()
    await waitFor(() => upstream.open.size === 0)
    return performance.now() - startMs
  }

  it('before the head: the socket is closed within 50 ms', async () => {
    const { upstream, backend } = await against(() => {})
    await closesPromptly(async () => {
      const call = unaryCall()
      const failed = failure(serve(backend, call))
      await waitFor(() => upstream.open.size === 1)
      const tookMs = await closing(upstream, () => call.abort())
      expect((await failed).code).toBe('cancelled')
      return tookMs
    })
  })

  it('mid-stream: the socket is closed within 50 ms', async () => {
    const { upstream, backend } = await against((socket) => socket.write(SSE_HEAD + piece(token('a'))))
    await closesPromptly(async () => {
      const call = streamCall()
      const reply = await serve(backend, call)
      const body = reply.body[Symbol.asyncIterator]()
      await body.next()
      const pending = failure(body.next())
      const tookMs = await closing(upstream, () => call.abort())
      expect((await pending).code).toBe('cancelled')
      expect(call.settlement?.outcome).toBe('cancelled')
      return tookMs
    })
  })

  it('before it began: nothing is sent', async () => {
    const { upstream, backend } = await against(() => {})
    const call = unaryCall()
    call.abort()
    expect((await failure(serve(backend, call))).code).toBe('cancelled')
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(upstream.open.size).toBe(0)
  })
})

it('after 500 faulted calls nothing is held', async () => {
  let n = 0
  const faults: ((socket: Socket) => void)[] = [
    (socket) => socket.resetAndDestroy(),
    (socket) => socket.end('nonsense\r\n\r\n'),
    (socket) => socket.end(json('{', 1)),
    (socket) => socket.end(SSE_HEAD + piece(token('a'))),
    (socket) => socket.end(SSE_HEAD + piece('data: {"x\n\n') + LAST),
    (socket) => socket.write(SSE_HEAD + piece(token('a'))),
    (socket) => socket.end(json('{"error":{"message":"m"}}')),
  ]
  const { upstream, backend } = await against((socket) => faults[n++ % faults.length]?.(socket))
  let settled = 0
  for (let round = 0; round < 25; round++) {
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const call = streamCall()
        call.onSettle(() => settled++)
        // Whoever stalls is left after a while.
        const timer = setTimeout(() => call.abort(), 10 + i)
        await serve(backend, call).then(readAll).catch((error: unknown) => {
          if (!call.settlement) call.settle('error', String(error))
        })
        clearTimeout(timer)
      }),
    )
  }
  expect(settled).toBe(500)
  await waitFor(() => upstream.open.size === 0)
})
