import { describe, expect, it } from 'vitest'
import { ManagedBody, settleWithBody } from '../../src/core/body.ts'
import { FlyballError } from '../../src/core/errors.ts'
import { CANONICAL, replyOf, type Chunk, type Reply } from '../../src/core/reply.ts'
import { splitLatency } from '../../src/core/settlement.ts'
import { testCall } from '../support/calls.ts'
import { manualClock, settle } from '../support/manual-clock.ts'

function streamOf(body: AsyncIterable<Chunk>, status = 200): Reply & { cancels: unknown[] } {
  const cancels: unknown[] = []
  return { status, rawHeaders: [], protocol: CANONICAL, stream: true, body, cancels, cancel: (reason) => void cancels.push(reason) }
}

async function* forever(): AsyncGenerator<Chunk> {
  for (;;) yield { tokens: 1 }
}

async function readAll(reply: Reply): Promise<number> {
  let chunks = 0
  for await (const _ of reply.body) chunks++
  return chunks
}

describe('a body settles its call', () => {
  it('ok at its end, with the usage it reported', async () => {
    const clock = manualClock()
    const call = testCall(clock)
    const reply = settleWithBody(replyOf([{ tokens: 2 }, { tokens: 1, deltas: [{ type: 'usage', usage: { inputTokens: 5, outputTokens: 3 } }] }]), call, clock)
    expect(call.settlement).toBeUndefined()
    expect(await readAll(reply)).toBe(2)
    expect(call.settlement).toMatchObject({ outcome: 'ok', usage: { inputTokens: 5, outputTokens: 3 } })
    expect(call.signal.aborted).toBe(false)
  })

  it('counts tokens where nothing reports usage', async () => {
    const clock = manualClock()
    const call = testCall(clock)
    await readAll(settleWithBody(replyOf([{ tokens: 2 }, { tokens: 1 }]), call, clock))
    expect(call.settlement?.usage.outputTokens).toBe(3)
  })

  it('error for an upstream status and for an error inside the stream', async () => {
    const clock = manualClock()
    const refused = testCall(clock)
    await readAll(settleWithBody(replyOf([{ tokens: 0 }], { status: 429 }), refused, clock))
    expect(refused.settlement).toMatchObject({ outcome: 'error', reason: 'upstream_429', status: 429 })
    const broken = testCall(clock)
    await readAll(settleWithBody(replyOf([{ tokens: 0, deltas: [{ type: 'error', code: 'x', message: 'y' }] }]), broken, clock))
    expect(broken.settlement).toMatchObject({ outcome: 'error', reason: 'in_band_error' })
  })

  it('cancelled when the reader stops, and the source is told', async () => {
    const clock = manualClock()
    const call = testCall(clock)
    const source = streamOf(forever())
    const reply = settleWithBody(source, call, clock)
    for await (const _ of reply.body) break
    expect(call.settlement?.outcome).toBe('cancelled')
    expect(source.cancels).toHaveLength(1)
  })

  it('cancelled by abort while a chunk is awaited, even when the source never answers', async () => {
    const clock = manualClock()
    const abort = new AbortController()
    const call = testCall(clock, { signal: abort.signal })
    const source = streamOf({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) })
    const next = settleWithBody(source, call, clock).body[Symbol.asyncIterator]().next()
    abort.abort()
    await expect(next).rejects.toMatchObject({ code: 'cancelled' })
    expect(source.cancels).toHaveLength(1)
    expect(call.settlement?.outcome).toBe('cancelled')
  })

  it('unread when nobody asks for too long; a reader that waits is not unread', async () => {
    const clock = manualClock()
    const call = testCall(clock)
    settleWithBody(streamOf(forever()), call, clock, 500)
    await clock.advance(499)
    expect(call.settlement).toBeUndefined()
    await clock.advance(501)
    expect(call.settlement).toMatchObject({ outcome: 'cancelled', reason: 'unread' })

    const patient = testCall(clock)
    const body = settleWithBody(streamOf({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }), patient, clock, 500).body
    body[Symbol.asyncIterator]().next().catch(() => {})
    await clock.advance(5_000)
    expect(patient.settlement).toBeUndefined()
  })

  it('keeps a broken source’s error and gives it to every later reader', async () => {
    const clock = manualClock()
    const call = testCall(clock)
    const body = settleWithBody(streamOf({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error('torn')) }) }), call, clock).body[Symbol.asyncIterator]()
    await expect(body.next()).rejects.toMatchObject({ code: 'upstream_invalid' })
    await expect(body.next()).rejects.toBeInstanceOf(FlyballError)
    expect(call.settlement).toMatchObject({ outcome: 'error', reason: 'upstream_invalid' })
  })

  it('is wrapped once: a managed body is listened to', () => {
    const clock = manualClock()
    const first = settleWithBody(streamOf(forever()), testCall(clock), clock)
    const second = settleWithBody(first, testCall(clock), clock)
    expect(first.body).toBeInstanceOf(ManagedBody)
    expect(second).toBe(first)
  })

  it('splits the time so that the parts add up', async () => {
    const clock = manualClock()
    const call = testCall(clock, { receivedMs: clock.monoMs() - 10 })
    async function* slow(): AsyncGenerator<Chunk> {
      await clock.sleep(30)
      yield { tokens: 1 }
      await clock.sleep(20)
      yield { tokens: 1 }
    }
    const body = settleWithBody(streamOf(slow()), call, clock).body[Symbol.asyncIterator]()
    const first = body.next()
    await clock.advance(30)
    await first
    await clock.advance(7) // the reader is slow
    const second = body.next()
    await clock.advance(20)
    await second
    const end = body.next()
    await settle()
    await end
    const split = splitLatency(call.timings)
    expect(split).toMatchObject({ beforeHandlerMs: 10, backpressureMs: 7, decodeMs: 20, totalMs: 67 })
    const { totalMs, ...parts } = split
    expect(Object.values(parts).reduce((a, b) => a + b, 0)).toBeCloseTo(totalMs)
  })
})
