import { describe, expect, it } from 'vitest'
import { cache } from '../../../../plugins/optimizers/cache/index.ts'
import { CANONICAL, FlyballError, type Call, type Chunk, type Reply } from '../../../../src/index.ts'
import { answeringBackend, testHost, type TestHost } from '../../../support/test-host.ts'

function rig(options: Parameters<typeof cache>[0] = {}, backendOptions: Omit<NonNullable<Parameters<typeof answeringBackend>[1]>, 'clock'> = {}, more: Partial<Parameters<typeof testHost>[0]> = {}) {
  let host: TestHost
  const backend = answeringBackend(() => host.clock, backendOptions)
  host = testHost({ backends: [backend], plugins: [cache({ shadowRate: 0, ...options })], ...more })
  return { host, backend, clock: host.clock }
}

const outcome = (call: Call): unknown => call.facts.get('cache')

/** A stream whose chunks come one every 10 ms. */
function streamReply(host: () => TestHost, call: Call, chunks: number, bytes = 20): Reply & { readonly pulled: () => number; readonly cancelled: () => boolean } {
  let pulled = 0
  let cancelled = false
  return {
    status: 200,
    rawHeaders: ['content-type', 'text/event-stream', 'x-request-id', 'abc', 'set-cookie', 'a=b'],
    protocol: CANONICAL,
    stream: true,
    pulled: () => pulled,
    cancelled: () => cancelled,
    cancel: () => { cancelled = true },
    body: {
      async *[Symbol.asyncIterator](): AsyncGenerator<Chunk> {
        for (let i = 0; i < chunks && !cancelled; i++) {
          await host().clock.sleep(10, call.signal)
          pulled++
          yield { raw: new Uint8Array(bytes).fill(65 + (i % 26)), tokens: 1, deltas: i === chunks - 1 ? [{ type: 'finish', index: 0, reason: 'stop' }] : [] }
        }
      },
    },
  }
}

describe('cache', () => {
  it('answers the second time from memory, until the TTL has passed', async () => {
    const { host, backend, clock } = rig({ staleWhileRevalidate: false })
    const first = await clock.until(host.ask({ input: { q: 1 } }))
    const second = await clock.until(host.ask({ input: { q: 1 } }))
    expect([outcome(first.call), outcome(second.call), backend.calls.length]).toEqual(['miss', 'hit', 1])
    expect(second.value).toEqual({ q: 1 })
    expect(second.call.settlement).toMatchObject({ outcome: 'ok', status: 200 })
    await clock.advance(1_001)
    expect(outcome((await clock.until(host.ask({ input: { q: 1 } }))).call)).toBe('miss')
    expect(backend.calls).toHaveLength(2)
  })

  it('asks upstream once for many that ask at once (single-flight)', async () => {
    const { host, backend, clock } = rig()
    const answers = await clock.until(Promise.all(Array.from({ length: 50 }, () => host.ask({ input: { q: 1 } }))))
    expect(backend.calls).toHaveLength(1)
    expect(answers.map(({ call }) => outcome(call)).filter((one) => one === 'join')).toHaveLength(49)
    for (const { value, call } of answers) {
      expect(value).toEqual({ q: 1 })
      expect(call.settlement?.outcome).toBe('ok')
    }
    expect(host.governor.lane('b').inFlight).toBe(0)
  })

  it('gives nobody another one’s object', async () => {
    const { host, clock } = rig()
    const [a, b] = await clock.until(Promise.all([host.ask({ input: { q: [1] } }), host.ask({ input: { q: [1] } })]))
    ;(a?.value as { q: number[] }).q.push(2)
    expect(b?.value).toEqual({ q: [1] })
    expect((await host.ask({ input: { q: [1] } })).value).toEqual({ q: [1] })
  })

  it('keeps tenants apart', async () => {
    const { host, backend, clock } = rig()
    for (const tenant of ['a', 'b', 'a']) await clock.until(host.ask({ input: { q: 1 }, tenant }))
    expect(backend.calls.map((call) => call.tenant)).toEqual(['a', 'b'])
  })

  it('replays a stream with the same chunks, without what belonged to one exchange', async () => {
    let host: TestHost
    const { host: made, backend, clock } = rig({}, { answer: (call) => streamReply(() => host, call, 5) })
    host = made
    const first = await clock.until(host.ask({ stream: true }))
    const second = await clock.until(host.ask({ stream: true }))
    expect(backend.calls).toHaveLength(1)
    expect(second.chunks).toEqual(first.chunks)
    expect(first.chunks).toHaveLength(5)
    expect(second.reply?.rawHeaders).toEqual(['content-type', 'text/event-stream', 'age', '0'])
    expect(second.call.usage.outputTokens).toBe(5)
    expect(first.call.usage.outputTokens).toBe(5)
  })

  it('lets followers join a stream under way, and its leader leave', async () => {
    let host: TestHost
    const { host: made, backend, clock } = rig({}, { answer: (call) => streamReply(() => host, call, 10) })
    host = made
    const leader = new AbortController()
    const first = host.send({ stream: true, signal: leader.signal })
    const led = clock.until(first.reply).then(async (reply) => {
      const chunks: Chunk[] = []
      for await (const chunk of reply.body) {
        chunks.push(chunk)
        if (chunks.length === 3) leader.abort()
      }
      return chunks
    })
    led.catch(() => {})
    await clock.advance(25)
    const follower = host.ask({ stream: true })
    const { chunks, call } = await clock.until(follower)
    expect(chunks).toHaveLength(10)
    expect(outcome(call)).toBe('join')
    await expect(led).rejects.toMatchObject({ code: 'cancelled' })
    expect(first.call.settlement?.outcome).toBe('cancelled')
    expect(backend.calls).toHaveLength(1)
    expect(host.governor.lane('b').inFlight).toBe(0)
    expect(outcome((await clock.until(host.ask({ stream: true }))).call)).toBe('hit')
  })

  it('stops upstream when the last one leaves, waiting or reading, and keeps nothing', async () => {
    const { host, backend, clock } = rig({}, { ms: () => 1_000 })
    const aborts = [new AbortController(), new AbortController()]
    const sent = aborts.map(({ signal }) => host.send({ input: 1, signal }))
    for (const { reply } of sent) reply.catch(() => {})
    await clock.advance(100)
    aborts[0]?.abort()
    await clock.advance(1)
    expect(backend.running).toBe(1)
    aborts[1]?.abort()
    await clock.advance(1)
    expect([backend.running, host.governor.lane('b').inFlight]).toEqual([0, 0])
    for (const { call } of sent) expect(call.settlement?.outcome).toBe('cancelled')
    await clock.until(host.ask({ input: 1 }))
    expect(backend.calls).toHaveLength(2)
  })

  it('starts a new upstream call for those who come when the buffer is outgrown, and holds no more than it', async () => {
    let host: TestHost
    const { host: made, backend, clock } = rig({ replayBytes: 2_000 }, { answer: (call) => streamReply(() => host, call, 100, 200) })
    host = made
    const first = host.ask({ stream: true })
    await clock.advance(500)
    const second = host.ask({ stream: true })
    const [a, b] = await clock.until(Promise.all([first, second]))
    expect(backend.calls).toHaveLength(2)
    expect([a?.chunks.length, b?.chunks.length]).toEqual([100, 100])
    expect(outcome(b?.call as Call)).toBe('miss')
  })

  it('reads upstream no faster than its reader (back-pressure)', async () => {
    let host: TestHost
    let reply: ReturnType<typeof streamReply> | undefined
    const { host: made, clock } = rig({}, { answer: (call) => (reply = streamReply(() => host, call, 100)) })
    host = made
    const head = await clock.until(host.send({ stream: true }).reply)
    const body = head.body[Symbol.asyncIterator]()
    await clock.until(body.next())
    await clock.advance(5_000)
    expect(reply?.pulled()).toBe(1)
    head.cancel()
    await clock.advance(1)
    expect(reply?.cancelled()).toBe(true)
  })

  it('shares a failure with all who waited, and keeps none of it', async () => {
    let fail = true
    const { host, backend, clock } = rig({}, { answer: (call) => { if (fail) throw new FlyballError('upstream_unreachable'); return [{ deltas: [{ type: 'value', value: call.input }], tokens: 0 }] } })
    const answers = await clock.until(Promise.all([host.ask({ input: 1 }), host.ask({ input: 1 })]))
    for (const { error } of answers) expect(error).toMatchObject({ code: 'upstream_unreachable' })
    fail = false
    expect((await clock.until(host.ask({ input: 1 }))).value).toBe(1)
    expect(backend.calls).toHaveLength(2)
  })

  it.each([
    ['an error status', { status: 500 }, []],
    ['an error status whose body nobody read', { status: 429 }, [{ type: 'finish', index: 0, reason: 'stop' }]],
    ['an error in band', {}, [{ type: 'error', code: 'x', message: 'x' }]],
    ['a truncation', {}, [{ type: 'finish', index: 0, reason: 'length' }]],
    ['a tool call', {}, [{ type: 'tool-start', index: 0, call: 0, id: 'i', name: 'n' }, { type: 'finish', index: 0, reason: 'tool-calls' }]],
    ['an answer without an end', {}, [{ type: 'text', index: 0, text: 'half' }]],
  ] as const)('does not keep %s', async (_, head, deltas) => {
    const { host, backend, clock } = rig({}, { answer: () => ({ status: 200, ...head, rawHeaders: [], protocol: CANONICAL, stream: false, complete: true, cancel() {}, body: (async function* () { yield { tokens: 1, deltas } })() }) })
    for (let i = 0; i < 2; i++) await clock.until(host.ask({ operation: 'chat', input: { temperature: 0 } }))
    expect(backend.calls).toHaveLength(2)
  })

  it('keeps an answer that ends where its caller said: the same limit would cut it there again', async () => {
    const { host, backend, clock } = rig({}, { answer: () => ({ status: 200, rawHeaders: [], protocol: CANONICAL, stream: false, complete: true, cancel() {}, body: (async function* () { yield { tokens: 1, deltas: [{ type: 'text', index: 0, text: 'half' }, { type: 'finish', index: 0, reason: 'length' }] } })() }) })
    const ask = (limit: number) => clock.until(host.ask({ operation: 'chat', input: { temperature: 0, max_tokens: limit }, maxOutputTokens: limit }))
    await ask(5)
    await ask(5)
    expect(backend.calls).toHaveLength(1)
    await ask(6)
    expect(backend.calls).toHaveLength(2)
  })

  it('serves near the end of the TTL and fetches again in the background, once', async () => {
    let version = 1
    const { host, backend, clock } = rig({}, { answer: () => [{ deltas: [{ type: 'value', value: version }], tokens: 0 }] })
    await clock.until(host.ask())
    version = 2
    await clock.advance(850)
    const [a, b] = await clock.until(Promise.all([host.ask(), host.ask()]))
    expect([a?.value, b?.value, outcome(a?.call as Call)]).toEqual([1, 1, 'stale'])
    await clock.advance(100)
    expect(backend.calls).toHaveLength(2)
    expect((await clock.until(host.ask())).value).toBe(2)
    // The background fetch is nobody's latency.
    expect(host.governor.signals.get('cache.change').for({ class: 'f' }).count).toBe(1)
  })

  it('serves an expired answer instead of an error while the stale budget has room, and not after', async () => {
    let fail = false
    const { host, clock } = rig({ staleWhileRevalidate: false }, { answer: () => { if (fail) throw new FlyballError('upstream_unreachable'); return [{ deltas: [{ type: 'value', value: 7 }], tokens: 0 }] } })
    await clock.until(host.ask())
    for (let i = 0; i < 200; i++) await clock.until(host.ask())
    fail = true
    await clock.advance(10_100)
    const kept = await clock.until(host.ask())
    expect([kept.value, outcome(kept.call)]).toEqual([7, 'stale'])
    let served = 0
    for (let i = 0; i < 2_000; i++) if ((await clock.until(host.ask())).value === 7) served++
    expect(served).toBeGreaterThan(0)
    expect(served).toBeLessThan(1_000)
  })

  it('measures by shadow, only when the loops are on and upstream has room', async () => {
    for (const [loops, expected] of [['on', true], ['dry', false], ['off', false]] as const) {
      const { host, backend, clock } = rig({ shadowRate: 0.5 }, {}, { loops })
      await clock.until(host.ask())
      for (let i = 0; i < 40; i++) {
        await clock.until(host.ask())
        await clock.advance(10)
      }
      expect(backend.calls.length > 1, loops).toBe(expected)
      for (const call of backend.calls.slice(1)) expect(call.priority).toBe(1_000)
    }
  })

  it('gives the upstream call the priority of its most urgent waiter', async () => {
    const { host, backend, clock } = rig({}, { slots: 1, ms: () => 100 })
    const running = host.ask({ input: 'first' })
    await clock.advance(1)
    const low = host.ask({ input: 'shared', priority: 9 })
    await clock.advance(1)
    const high = host.ask({ input: 'shared', priority: 2 })
    await clock.until(Promise.all([running, low, high]))
    expect(backend.calls.map((call) => [call.input, call.priority])).toEqual([['first', 0], ['shared', 2]])
  })

  it('lets a waiter’s deadline pass without ending the call of the others', async () => {
    const { host, backend, clock } = rig({}, { ms: () => 1_000 })
    const hasty = host.ask({ input: 1, deadlineMs: clock.monoMs() + 100 })
    const patient = host.ask({ input: 1 })
    expect((await clock.until(hasty)).error).toMatchObject({ code: 'deadline_exceeded' })
    expect((await clock.until(patient)).value).toBe(1)
    expect(backend.calls).toHaveLength(1)
  })

  it('stays within its caps, purges and shows entries without their content', async () => {
    const { host, clock } = rig({ maxEntries: 10 })
    for (let i = 0; i < 30; i++) await clock.until(host.ask({ input: i, tenant: i % 2 === 0 ? 'a' : 'b', cacheClass: `c${i % 3}` }))
    const shown = host.governor.command('cache.inspect', {}) as { entries: { tenant: string; class: string; key: string }[]; total: number }
    expect(shown.total).toBe(10)
    expect(JSON.stringify(shown)).not.toContain('input')
    expect(host.governor.command('cache.purge', { tenant: 'a' })).toEqual({ purged: 5 })
    expect(host.governor.command('cache.purge', { key: shown.entries.find(({ tenant }) => tenant === 'b')?.key })).toEqual({ purged: 1 })
    expect(() => host.governor.command('cache.purge', { tennant: 'a' })).toThrow(/tennant/)
    expect(host.governor.command('cache.purge', {})).toEqual({ purged: 4 })
  })

  it('settles every call once however readers come and go', async () => {
    let host: TestHost
    const { host: made, backend, clock } = rig({ replayBytes: 1_000 }, { answer: (call) => streamReply(() => host, call, 20, 60), slots: 3 })
    host = made
    const settled: number[] = []
    for (let i = 0; i < 300; i++) {
      const abort = new AbortController()
      const { call, reply } = host.send({ input: i % 7, stream: true, signal: abort.signal })
      let times = 0
      call.onSettle(() => settled.push(++times))
      reply.then(async (head) => {
        if (clock.random() < 0.3) return head.cancel()
        for await (const chunk of head.body) if (chunk.tokens > 0 && clock.random() < 0.03) abort.abort()
      }).catch(() => {})
      if (clock.random() < 0.1) abort.abort()
      await clock.advance(clock.random() * 40)
    }
    await clock.advance(120_000)
    expect(settled).toEqual(new Array(300).fill(1))
    expect([host.governor.lane('b').inFlight, host.governor.lane('b').waiting, backend.running]).toEqual([0, 0, 0])
    expect((host.governor.pluginStates()['cache'] as { flights: number }).flights).toBe(0)
  })

  it('refuses options that it does not know', () => {
    expect(() => cache({ maxEntires: 5 } as never)).toThrow(/maxEntires/)
  })
})
