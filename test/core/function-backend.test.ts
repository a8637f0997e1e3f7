import { describe, expect, it } from 'vitest'
import { createGovernor } from '../../src/governor.ts'
import { wrap, wrapBatch } from '../../src/wrap.ts'
import { manualClock, settle } from '../support/manual-clock.ts'

const options = () => ({ clock: manualClock(), env: {}, loops: 'off' as const })

describe('wrapBatch', () => {
  it('is called one by one and runs in batches', async () => {
    const sizes: number[] = []
    const double = wrapBatch<number, number>(createGovernor(options()), 'double', async (items) => {
      sizes.push(items.length)
      return items.map((item) => item * 2)
    })
    expect(await Promise.all([1, 2, 3].map((item) => double(item)))).toEqual([2, 4, 6])
    expect(sizes).toEqual([3])
  })

  it('one poisoned call does not fail its neighbours, whether its error is returned or thrown', async () => {
    const governor = createGovernor(options())
    const returns = wrapBatch<number, number>(governor, 'returns', async (items) => items.map((item) => (item === 3 ? new RangeError('three') : item)))
    let runs = 0
    const throws = wrapBatch<number, number>(governor, 'throws', async (items) => {
      runs++
      if (items.includes(3)) throw new RangeError('three')
      return items
    })
    for (const fn of [returns, throws]) {
      const results = await Promise.allSettled([1, 2, 3, 4].map((item) => fn(item)))
      expect(results.map((result) => (result.status === 'fulfilled' ? result.value : (result.reason as Error).message))).toEqual([1, 2, 'three', 4])
      expect(results[2]).toMatchObject({ reason: { name: 'RangeError' } })
    }
    expect(runs).toBeLessThanOrEqual(7) // 4 items: at worst every half on the way down to one
  })

  it('a wrong number of results fails all of them, rather than giving somebody else’s', async () => {
    const short = wrapBatch<number, number>(createGovernor(options()), 'short', async (items) => items.slice(1))
    const results = await Promise.allSettled([short(1), short(2)])
    for (const result of results) expect(result).toMatchObject({ status: 'rejected', reason: { code: 'backend_failed', message: 'short returned 1 results for 2 items' } })
  })

  it('a member that leaves does not abort the others', async () => {
    const clock = manualClock()
    const signals: AbortSignal[] = []
    const governor = createGovernor({ ...options(), clock })
    const slow = wrapBatch<number, number>(governor, 'slow', async (items, { signal }) => {
      signals.push(signal)
      await clock.sleep(100, signal)
      return items
    })
    const abort = new AbortController()
    const left = slow(1, { signal: abort.signal })
    const stays = slow(2)
    await settle()
    abort.abort()
    await expect(left).rejects.toMatchObject({ code: 'cancelled' })
    await clock.advance(100)
    expect(await stays).toBe(2)
    expect(signals[0]?.aborted).toBe(false)
    expect(governor.lane('slow').inFlight).toBe(0)
  })
})

describe('wrap', () => {
  it('hands the signal on and gives the function’s own error back', async () => {
    const clock = manualClock()
    const governor = createGovernor({ ...options(), clock })
    const fn = wrap(governor, 'fn', async (input: string, { signal }) => {
      if (input === 'bad') throw new RangeError('bad input')
      await clock.sleep(1_000, signal)
      return input
    })
    await expect(fn('bad')).rejects.toThrow(RangeError)
    const abort = new AbortController()
    const call = fn('x', { signal: abort.signal })
    await settle()
    abort.abort()
    await expect(call).rejects.toMatchObject({ code: 'cancelled' })
    const late = fn('y', { timeoutMs: 0 })
    await expect(late).rejects.toMatchObject({ code: 'deadline_exceeded' })
    await settle()
    expect(governor.lane('fn').inFlight).toBe(0)
  })
})
