import { describe, expect, it } from 'vitest'
import { virtualClock } from '../../src/sim/virtual-clock.ts'

describe('virtual clock', () => {
  it('runs events in order of time, then of age', async () => {
    const clock = virtualClock()
    const seen: string[] = []
    clock.after(20, () => seen.push('c'))
    clock.after(10, () => seen.push('a'))
    clock.after(10, () => seen.push('b'))
    await clock.advance(15)
    expect(seen).toEqual(['a', 'b'])
    await clock.advance(5)
    expect(seen).toEqual(['a', 'b', 'c'])
    expect(clock.monoMs()).toBe(1_020)
  })

  it('drains promises to quiet between two events of one instant', async () => {
    const clock = virtualClock()
    const seen: string[] = []
    clock.after(1, () => {
      void (async () => {
        for (let i = 0; i < 200; i++) await Promise.resolve()
        await new Promise<void>((resolve) => process.nextTick(resolve))
        seen.push('chain')
      })()
    })
    clock.after(1, () => seen.push('second event'))
    await clock.advance(1)
    expect(seen).toEqual(['chain', 'second event'])
  })

  it('does not run what was cancelled, and forgets it', async () => {
    const clock = virtualClock()
    let ran = 0
    const cancels = Array.from({ length: 5_000 }, (_, i) => clock.after(i, () => ran++))
    cancels.forEach((cancel, i) => { if (i % 10 !== 0) cancel() })
    cancels[1]?.()
    expect(clock.pending).toBe(500)
    await clock.runToEnd()
    expect(ran).toBe(500)
    expect(clock.pending).toBe(0)
  })

  it('sleeps, and stops sleeping on abort', async () => {
    const clock = virtualClock()
    const controller = new AbortController()
    const slept = clock.sleep(100)
    const aborted = clock.sleep(100, controller.signal).then(() => 'no', () => 'yes')
    controller.abort(new Error('gone'))
    await clock.until(slept)
    expect(clock.monoMs()).toBe(1_100)
    expect(await aborted).toBe('yes')
    await expect(clock.until(new Promise(() => {}))).rejects.toThrow('still open')
  })

  it('gives the same run for the same seed, byte for byte, and another for another', async () => {
    const log = async (seed: number): Promise<string> => {
      const clock = virtualClock({ seed })
      const lines: string[] = []
      const again = (n: number): void => {
        lines.push(`${clock.monoMs()} ${clock.id()}`)
        if (n > 0) clock.after(clock.random() * 100, () => again(n - 1))
      }
      again(200)
      await clock.runToEnd()
      return lines.join('\n')
    }
    expect(await log(7)).toBe(await log(7))
    expect(await log(7)).not.toBe(await log(8))
  })

  it('has uniform random numbers', () => {
    const clock = virtualClock({ seed: 3 })
    const bins = new Array<number>(10).fill(0)
    for (let i = 0; i < 100_000; i++) {
      const bin = Math.floor(clock.random() * 10)
      bins[bin] = (bins[bin] as number) + 1
    }
    const total = bins.reduce((a, b) => a + b, 0)
    for (const bin of bins) expect(Math.abs(bin / total - 0.1)).toBeLessThan(0.02)
  })

  it('lets the wall clock jump without moving monotonic time', () => {
    const clock = virtualClock()
    const wall = clock.wallMs()
    clock.jumpWall(-3_600_000)
    expect(clock.wallMs()).toBe(wall - 3_600_000)
    expect(clock.monoMs()).toBe(1_000)
  })
})
