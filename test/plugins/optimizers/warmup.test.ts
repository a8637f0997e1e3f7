import { describe, expect, it } from 'vitest'
import { createGovernor, replyOf, type Backend } from '../../../src/index.ts'
import { warmup } from '../../../plugins/builtin.ts'
import { manualClock, type ManualClock } from '../../support/manual-clock.ts'

/** Slow while cold, as an upstream that has unloaded its model is; cold again after 5 s without a call. */
function cooling(clock: ManualClock): Backend & { warmed: number; fail: boolean } {
  let usedMs = Number.NEGATIVE_INFINITY
  const touch = async (): Promise<void> => {
    const cold = clock.monoMs() - usedMs > 5_000
    if (cold) await clock.sleep(400)
    await clock.sleep(20)
    usedMs = clock.monoMs()
  }
  const backend = {
    name: 'cooling',
    provider: 'test',
    models: ['m'],
    limits: { slots: 4, maxBatch: 1, batching: 'internal' as const },
    warmed: 0,
    fail: false,
    run: () => [touch().then(() => replyOf([{ deltas: [{ type: 'text', index: 0, text: 'x' }], tokens: 1 }]))],
    async warm() {
      backend.warmed++
      if (backend.fail) throw new Error('no')
      await touch()
    },
    async close() {},
  }
  return backend
}

async function bench(idleMs: number) {
  const clock = manualClock()
  const backend = cooling(clock)
  const governor = createGovernor({ backends: [backend], plugins: [warmup()], clock, loops: 'off', knobs: { 'warmup.idle_ms': idleMs }, env: {} })
  const started = governor.start()
  await clock.advance(1_000)
  await started
  const ask = async (): Promise<number> => {
    const call = governor.call({ operation: 'chat', model: 'm', input: {} })
    const done = governor.send(call).then(async (reply) => { for await (const _ of reply.body); })
    await clock.advance(1_000)
    await done
    return (call.timings.endMs as number) - call.timings.receivedMs
  }
  return { clock, backend, governor, ask }
}

describe('warm-up', () => {
  it('the first call after ready is as quick as the next', async () => {
    const { ask, governor, backend } = await bench(0)
    const first = await ask()
    const steady = await ask()
    expect(first).toBeLessThanOrEqual(1.1 * steady)
    expect(backend.warmed).toBe(1)
    await governor.close()
  })

  it('an idle backend is kept warm, and a busy one is left alone', async () => {
    const { ask, clock, governor, backend } = await bench(4_000)
    for (let i = 0; i < 10; i++) await ask()
    expect(backend.warmed).toBe(1)
    await clock.advance(60_000)
    expect(backend.warmed).toBeGreaterThan(10)
    expect(backend.warmed).toBeLessThan(20)
    expect(await ask()).toBeLessThanOrEqual(22)
    await governor.close()
    const { warmed } = backend
    await clock.advance(60_000)
    expect(backend.warmed).toBe(warmed)
  })

  it('without it the same backend is cold after a quiet minute', async () => {
    const { ask, clock, governor } = await bench(0)
    await clock.advance(60_000)
    expect(await ask()).toBeGreaterThan(400)
    await governor.close()
  })

  it('one that cannot be warmed is tried again, an idle time later', async () => {
    const { clock, governor, backend } = await bench(4_000)
    backend.fail = true
    await clock.advance(20_000)
    expect(backend.warmed).toBeGreaterThan(2)
    expect(backend.warmed).toBeLessThan(8)
    await governor.close()
  })
})
