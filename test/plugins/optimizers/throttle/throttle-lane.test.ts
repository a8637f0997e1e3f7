import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createGovernor, FlyballError, quantile, replyOf, type Backend, type Call, type Governor, type SloClass } from '../../../../src/index.ts'
import { priority } from '../../../../plugins/optimizers/priority/index.ts'
import { throttle } from '../../../../plugins/optimizers/throttle/index.ts'
import { exponential } from '../../../../src/sim/seeded-random.ts'
import { answeringBackend, testHost } from '../../../support/test-host.ts'
import { virtualClock, type VirtualClock } from '../../../support/virtual-clock.ts'

interface Tally {
  offered: number
  met: number
  startedInTime: number
  served: number
  shed: Record<string, number>
  waitsMs: number[]
}

interface Load {
  readonly perS: number
  readonly class: string
  readonly tenant?: string
  readonly work?: number
}

/** Open-loop Poisson arrivals for `seconds`; what became of each, by class. */
async function offer(clock: VirtualClock, governor: Governor, seconds: number, loads: readonly Load[]): Promise<Record<string, Tally>> {
  const tallies: Record<string, Tally> = {}
  const until = clock.monoMs() + seconds * 1_000
  for (const load of loads) {
    const tally = (tallies[load.class] ??= { offered: 0, met: 0, startedInTime: 0, served: 0, shed: {}, waitsMs: [] })
    const next = (): void => {
      clock.after(exponential(clock.random, 1_000 / load.perS), () => {
        if (clock.monoMs() > until) return
        next()
        const call = governor.call({ operation: 'f', model: 'm', class: load.class, tenant: load.tenant ?? 't', work: load.work ?? 1, input: {} })
        tally.offered++
        call.onSettle((settlement) => {
          if (settlement.outcome === 'ok') tally.served++
          else tally.shed[settlement.reason ?? settlement.outcome] = (tally.shed[settlement.reason ?? settlement.outcome] ?? 0) + 1
          const { dispatchedMs, receivedMs } = call.timings
          if (dispatchedMs !== undefined) tally.waitsMs.push(dispatchedMs - receivedMs)
          if (settlement.outcome === 'ok' && dispatchedMs !== undefined && dispatchedMs - receivedMs <= (call.slo.startMs ?? Number.POSITIVE_INFINITY)) tally.startedInTime++
        })
        governor.send(call).then(async (reply) => { for await (const _ of reply.body); }).catch(() => {})
      })
    }
    next()
  }
  await clock.advance(seconds * 1_000)
  return tallies
}

const shedOf = (tally: Tally | undefined): number => Object.values(tally?.shed ?? {}).reduce((a, b) => a + b, 0)

function rig(options: { slots?: number; ms?: (call: Call, running: number) => number; plugins?: Parameters<typeof createGovernor>[0] extends infer G ? G extends { plugins?: infer P } ? P : never : never; knobs?: Record<string, number>; classes?: readonly SloClass[]; seed?: number } = {}) {
  let clock: VirtualClock
  const backend = answeringBackend(() => clock, { slots: options.slots ?? 10, ms: (call, self) => options.ms?.(call, self.running) ?? 100 })
  const host = testHost({ backends: [backend], plugins: options.plugins ?? [priority(), throttle()], knobs: options.knobs ?? {}, ...(options.classes ? { classes: options.classes } : {}), seed: options.seed ?? 1 })
  clock = host.clock
  return { ...host, backend }
}

// Minutes of traffic each: more than the default time on a busy machine.
describe('throttle under overload', { timeout: 60_000 }, () => {
  it('starts the interactive class in time at twice the capacity, while batch work goes on', async () => {
    // 10 slots × 100 ms = 100 a second; offered 200: 60 interactive, 140 batch.
    const { clock, governor } = rig()
    await governor.start()
    await offer(clock, governor, 10, [{ perS: 60, class: 'interactive' }, { perS: 140, class: 'batch' }])
    const { interactive, batch } = await offer(clock, governor, 25, [{ perS: 60, class: 'interactive' }, { perS: 140, class: 'batch' }])
    if (!interactive || !batch) throw new Error('no tally')
    expect(interactive.startedInTime / interactive.offered).toBeGreaterThanOrEqual(0.99)
    expect(batch.served / 25).toBeGreaterThan(20)
    expect((interactive.served + batch.served) / 25).toBeGreaterThan(75)
    // Of those batch calls that were let in, nearly all start in time: the rest was told at once.
    expect(batch.startedInTime / batch.served).toBeGreaterThan(0.95)
  })

  it('holds its goodput at three times the capacity', async () => {
    const goodput: number[] = []
    for (const perS of [95, 300]) {
      const { clock, governor } = rig({ seed: perS })
      await governor.start()
      await offer(clock, governor, 5, [{ perS, class: 'interactive' }])
      const { interactive } = await offer(clock, governor, 15, [{ perS, class: 'interactive' }])
      goodput.push((interactive?.startedInTime ?? 0) / 15)
    }
    expect((goodput[1] as number) / (goodput[0] as number)).toBeGreaterThan(0.9)
  })

  it('sheds nothing any more soon after the overload is over', async () => {
    const { clock, governor } = rig()
    await governor.start()
    const over = await offer(clock, governor, 20, [{ perS: 300, class: 'interactive' }])
    expect(shedOf(over['interactive'])).toBeGreaterThan(1_000)
    await offer(clock, governor, 5, [{ perS: 50, class: 'interactive' }])
    const after = await offer(clock, governor, 30, [{ perS: 50, class: 'interactive' }])
    expect(shedOf(after['interactive'])).toBe(0)
    expect((governor.pluginStates()['throttle'] as { rejectRate: number }[])[0]?.rejectRate).toBe(0)
  })

  it('sheds nothing after an idle hour, and nothing at 80% load', async () => {
    const { clock, governor } = rig()
    await governor.start()
    await offer(clock, governor, 30, [{ perS: 80, class: 'interactive' }])
    await clock.advance(3_600_000)
    const after = await offer(clock, governor, 30, [{ perS: 80, class: 'interactive' }])
    expect(shedOf(after['interactive'])).toBe(0)
  })

  it('recovers after the backend was four times slower (no latch-up)', async () => {
    let slow = 1
    const { clock, governor } = rig({ ms: () => 100 * slow })
    await governor.start()
    const load = [{ perS: 70, class: 'interactive' }]
    await offer(clock, governor, 30, load)
    slow = 4
    await offer(clock, governor, 40, load)
    slow = 1
    await offer(clock, governor, 30, load)
    const after = await offer(clock, governor, 30, load)
    expect((after['interactive']?.startedInTime ?? 0) / (after['interactive']?.offered ?? 1)).toBeGreaterThan(0.95)
  })

  it('tells those it turns away when there will be room, jittered', async () => {
    const { clock, governor, send } = rig({ slots: 1, ms: () => 1_000, plugins: [throttle()] })
    await governor.start()
    await clock.until(send().reply.then(async (reply) => { for await (const _ of reply.body); }))
    const errors: FlyballError[] = []
    for (let i = 0; i < 30; i++) send().reply.catch((error: FlyballError) => errors.push(error))
    await clock.advance(1)
    expect(errors.length).toBeGreaterThan(20)
    expect(new Set(errors.map((error) => error.reason))).toEqual(new Set(['slo_infeasible']))
    for (const error of errors) {
      expect(error.status).toBe(503)
      expect(error.retryAfterMs).toBeGreaterThan(50)
      // Official SDKs ignore a minute or more.
      expect(error.retryAfterMs).toBeLessThan(60_000)
    }
    // One call a second is served: told to come back all at once, most would be turned away again.
    const backMs = errors.map((error) => error.retryAfterMs as number).sort((a, b) => a - b)
    for (let k = 5; k < backMs.length; k++) expect(backMs[k]).toBeGreaterThan(1_000 * k)
  })

  it('keeps the last room for fresh calls: one that was turned away before gets in while there is plenty', async () => {
    // Ten a second; the start target is 500 ms.
    const { clock, governor } = rig({ slots: 1, ms: () => 100, plugins: [throttle()] })
    await governor.start()
    const send = (retries: number): Promise<'served' | 'turned away'> => {
      const call = governor.call({ operation: 'f', model: 'm', class: 'interactive', tenant: 't', work: 1, input: {}, retries })
      return governor.send(call).then(async (reply) => {
        for await (const _ of reply.body);
        return 'served' as const
      }, () => 'turned away' as const)
    }
    await clock.until(send(0))
    const outcomes = [send(1), send(0), send(0), send(1), send(0)]
    await clock.advance(2_000)
    expect(await Promise.all(outcomes)).toEqual(['served', 'served', 'served', 'turned away', 'served'])
  })

  it('turns away a call that cannot meet its deadline before one that can', async () => {
    const { clock, governor, send } = rig({ slots: 1, ms: () => 200, plugins: [priority(), throttle()] })
    await governor.start()
    await clock.until(send().reply.then(async (reply) => { for await (const _ of reply.body); }))
    const first = send()
    const hopeless = send({ deadlineMs: clock.monoMs() + 250 })
    const fine = send({ deadlineMs: clock.monoMs() + 700 })
    for (const { reply } of [first, fine]) reply.then(async (head) => { for await (const _ of head.body); }).catch(() => {})
    await expect(clock.until(hopeless.reply)).rejects.toMatchObject({ reason: 'deadline_infeasible' })
    await clock.advance(2_000)
    expect(fine.call.settlement?.outcome).toBe('ok')
  })

  it('keeps room for urgent calls: the rest is delayed first, and goes in time all the same', async () => {
    const { clock, governor } = rig({ slots: 10, knobs: { 'throttle.limit': 10 } })
    await governor.start()
    const { interactive, batch } = await offer(clock, governor, 60, [{ perS: 30, class: 'interactive' }, { perS: 48, class: 'batch' }])
    if (!interactive || !batch) throw new Error('no tally')
    expect(shedOf(interactive) + shedOf(batch)).toBe(0)
    // Those that arrived last may still be waiting.
    expect(batch.startedInTime).toBeGreaterThanOrEqual(0.98 * batch.offered)
    // Two slots of ten are free for the next urgent call nearly always; a batch call waits its turn.
    expect(quantile(interactive.waitsMs, 0.9)).toBeLessThan(10)
    expect(quantile(batch.waitsMs, 0.5)).toBeGreaterThan(quantile(interactive.waitsMs, 0.9))
  })

  it('does not let one tenant’s flood take another’s share', async () => {
    const { clock, governor } = rig()
    await governor.start()
    const served: Record<string, number> = {}
    governor.onCallSettled((call) => { if (call.settlement?.outcome === 'ok') served[call.tenant] = (served[call.tenant] ?? 0) + 1 })
    await offer(clock, governor, 20, [{ perS: 300, class: 'interactive', tenant: 'flood' }, { perS: 30, class: 'interactive', tenant: 'modest' }])
    expect((served['modest'] ?? 0) / (20 * 30)).toBeGreaterThan(0.5)
    expect(served['flood'] ?? 0).toBeGreaterThan(20 * 55)
  })
})

/** A hosted API that counts by sliding minute, and is strict. */
function hostedApi(clock: VirtualClock, limits: { requests: number; outputTokens: number }, report: { headers: boolean }) {
  const accepted: { atMs: number; tokens: number }[] = []
  const state = { rejected: 0, sentWhileClosed: 0, closedUntilMs: 0, calls: 0 }
  const backend: Backend = {
    name: 'b',
    provider: 'test',
    models: '*',
    limits: { slots: 1_000, maxBatch: 1, batching: 'internal' },
    run: (calls) =>
      calls.map(async (call) => {
        const now = clock.monoMs()
        state.calls++
        if (now < state.closedUntilMs) state.sentWhileClosed++
        const inMinute = accepted.filter(({ atMs }) => now - atMs < 60_000)
        const tokens = (call.input as { tokens: number }).tokens
        const used = inMinute.reduce((sum, one) => sum + one.tokens, 0)
        if (inMinute.length >= limits.requests || used + tokens > limits.outputTokens) {
          state.rejected++
          const oldest = inMinute[0]?.atMs ?? now
          const retryMs = Math.max(1_000, oldest + 60_000 - now)
          state.closedUntilMs = now + retryMs
          return replyOf([{ tokens: 0 }], { status: 429, rawHeaders: ['retry-after-ms', String(retryMs)] })
        }
        accepted.push({ atMs: now, tokens })
        const rawHeaders = report.headers
          ? ['x-ratelimit-limit-requests', String(limits.requests), 'x-ratelimit-remaining-requests', String(limits.requests - inMinute.length - 1), 'anthropic-ratelimit-output-tokens-remaining', String(limits.outputTokens - used - tokens), 'x-ratelimit-reset-requests', 'nonsense']
          : []
        await clock.sleep(200 + 300 * clock.random(), call.signal)
        return replyOf([{ tokens, deltas: [{ type: 'usage', usage: { inputTokens: 5, outputTokens: tokens } }] }], { rawHeaders })
      }),
    async close() {},
  }
  return { backend, accepted, state }
}

describe('provider ledgers', () => {
  async function run(configured: boolean, headers: boolean, seed = 1, minutes = 5, replicas = 1) {
    const clock = virtualClock({ seed })
    const limits = { requests: 60, outputTokens: 3_000 }
    const api = hostedApi(clock, limits, { headers })
    const governors = Array.from({ length: replicas }, () => createGovernor({ clock, env: {}, backends: [api.backend], plugins: [throttle({ shed: false, budgets: configured ? { b: limits } : {} })], knobs: { 'throttle.limit': 50 } }))
    for (const governor of governors) await governor.start()
    const next = (): void => {
      clock.after(exponential(clock.random, 400), () => {
        next()
        const tokens = 10 + Math.floor(clock.random() * 60)
        const governor = governors[Math.floor(clock.random() * replicas)] as Governor
        const call = governor.call({ operation: 'chat', model: 'm', input: { tokens }, work: 105, maxOutputTokens: 100 })
        governor.send(call).then(async (reply) => { for await (const _ of reply.body); }).catch(() => {})
      })
    }
    next()
    await clock.advance(minutes * 60_000)
    return { ...api, served: api.accepted.length }
  }

  it('never sends what the provider would turn away, and uses nearly all that it grants', async () => {
    const { state, served } = await run(true, false)
    expect(state.rejected).toBe(0)
    // 60 a minute, 5 minutes; tokens: about 40 on average, 3,000 / 40 = 75 a minute.
    expect(served).toBeGreaterThan(0.85 * 300)
  })

  it('learns the limits from headers alone, malformed ones among them', async () => {
    const { state, served } = await run(false, true)
    expect(state.rejected).toBeLessThanOrEqual(2)
    expect(served).toBeGreaterThan(0.7 * 300)
  })

  it('two gateways that share an account do not take twice its limit: each learns what is left from the provider', async () => {
    const { state, served } = await run(false, true, 1, 5, 2)
    expect(served).toBeGreaterThan(0.7 * 300)
    expect(state.rejected / state.calls).toBeLessThan(0.05)
  })

  it('never sends before retry-after, for any caller', async () => {
    for (const seed of [1, 2, 3]) {
      const { state, served } = await run(false, false, seed)
      expect(state.rejected).toBeGreaterThan(0)
      expect(served).toBeGreaterThan(100)
      // Those that were on their way when the first 429 came are not ours to stop: at this pace about one.
      expect(state.sentWhileClosed).toBeLessThanOrEqual(state.rejected)
    }
  })

  it('holds back every caller until retry-after has passed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 50_000 }), fc.integer({ min: 1, max: 1_000 }), fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 30 }), async (retryMs, seed, arrivals) => {
        const clock = virtualClock({ seed })
        let closedUntilMs = 0
        const sent: number[] = []
        const backend = answeringBackend(() => clock, {
          ms: () => 1,
          answer: () => {
            sent.push(clock.monoMs())
            if (sent.length > 1) return [{ tokens: 1 }]
            closedUntilMs = clock.monoMs() + retryMs
            return replyOf([], { status: 429, rawHeaders: ['retry-after-ms', String(retryMs)] })
          },
        })
        const governor = createGovernor({ clock, env: {}, backends: [backend], plugins: [throttle({ shed: false })] })
        const send = (): void => void governor.send(governor.call({ operation: 'f', model: 'm', input: 1 })).then(async (reply) => { for await (const _ of reply.body); }).catch(() => {})
        send()
        await clock.advance(5)
        for (const at of arrivals) clock.after(at, send)
        await clock.advance(200_000)
        expect(sent).toHaveLength(arrivals.length + 1)
        for (const at of sent.slice(1)) expect(at).toBeGreaterThanOrEqual(closedUntilMs)
        await governor.close()
      }),
      { numRuns: 50 },
    )
  })
})
