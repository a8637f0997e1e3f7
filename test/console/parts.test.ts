/** The console's parts: right numbers, and bounded whatever happens. */
import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createGovernor } from '../../src/index.ts'
import { LatencyWindow } from '../../src/http/console/latency-window.ts'
import { KEPT_SAMPLES, Recorder } from '../../src/http/console/recorder.ts'
import { MAX_SERIES, SeriesTable } from '../../src/http/console/series-table.ts'
import { MAX_STORIES } from '../../src/http/console/stories.ts'
import { eventFrame, MAX_VIEWERS, Viewers } from '../../src/http/console/viewers.ts'
import { scriptedBackend } from '../support/scripted-backend.ts'
import { virtualClock } from '../support/virtual-clock.ts'

describe('latency window', () => {
  it('is right to 5% against sorting, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.2, max: 500_000, noNaN: true }), { minLength: 1, maxLength: 300 }), (values) => {
        const window = new LatencyWindow(10)
        for (const value of values) window.add(value)
        const sorted = values.toSorted((a, b) => a - b)
        const qs = [0.5, 0.95, 0.99]
        window.quantiles(qs).forEach((found, i) => {
          const exact = sorted[Math.max(0, Math.ceil((qs[i] as number) * sorted.length) - 1)] as number
          expect((found as number) / exact).toBeGreaterThan(0.949)
          expect((found as number) / exact).toBeLessThan(1.051)
        })
      }),
    )
  })

  it('forgets second by second, and is empty again after its length', () => {
    const window = new LatencyWindow(3)
    window.add(10)
    window.roll()
    window.add(1_000)
    window.add(1_000)
    expect(window.count).toBe(3)
    window.roll()
    window.roll()
    expect(window.count).toBe(2)
    expect(window.quantiles([0.5])[0]).toBeGreaterThan(900)
    window.roll()
    expect(window.count).toBe(0)
    expect(window.quantiles([0.5])).toEqual([null])
    for (let i = 0; i < 20; i++) {
      window.add(5)
      window.roll()
    }
    expect(window.count).toBe(2)
  })

  it('takes extremes in its first and last bucket', () => {
    const window = new LatencyWindow(1)
    window.add(0)
    window.add(1e12)
    expect(window.quantiles([0.5, 1])[0]).toBeCloseTo(0.1)
    expect(window.count).toBe(2)
  })
})

describe('series table', () => {
  it('keeps places, fills gaps with null, and counts what it left out', () => {
    const table = new SeriesTable()
    table.begin()
    table.set('a', 1)
    table.set('b', Number.NaN)
    table.begin()
    table.set('b', 1.23456)
    expect(table.row).toEqual([null, 1.235])
    table.begin()
    for (let i = 0; i < MAX_SERIES + 5; i++) table.set(`n${i}`, i)
    expect(table.names).toHaveLength(MAX_SERIES)
    expect(table.dropped).toBe(7)
  })
})

describe('viewers', () => {
  const socket = (writableLength = 0): ServerResponse & { frames: Buffer[]; gone: boolean } => Object.assign(new EventEmitter(), { writableLength, frames: [] as Buffer[], gone: false, write(this: { frames: Buffer[] }, frame: Buffer) { return this.frames.push(frame) > 0 }, end() {}, destroy(this: { gone: boolean }) { this.gone = true } }) as never

  it('all get the very same bytes; who does not read is let go; the cap holds', () => {
    const viewers = new Viewers()
    const [first, second, asleep] = [socket(), socket(), socket(5 * 1024 * 1024)]
    for (const one of [first, second, asleep]) expect(viewers.add(one)).toBe(true)
    viewers.send(eventFrame('tick', '{}'))
    expect(first.frames[0]).toBe(second.frames[0])
    expect([asleep.frames.length, asleep.gone, viewers.size]).toEqual([0, true, 2])
    first.emit('close')
    expect(viewers.size).toBe(1)
    for (let i = 1; i < MAX_VIEWERS; i++) expect(viewers.add(socket())).toBe(true)
    expect(viewers.add(socket())).toBe(false)
  })
})

describe('recorder', () => {
  it('an hour of moves and calls keeps half an hour of rows and a fixed number of moves', async () => {
    const clock = virtualClock()
    const backend = scriptedBackend({ name: 'b', slots: 100 })
    const governor = createGovernor({ backends: [backend], clock, loops: 'off' })
    const viewers = new Viewers()
    const recorder = new Recorder(governor, viewers, { extras: () => ({}), abilities: {} })
    const sizes: number[] = []
    for (let second = 0; second < 3_600; second++) {
      for (let i = 0; i < 2; i++) governor.decisions.append({ monoMs: clock.monoMs(), wallMs: clock.wallMs(), controller: 'c', scope: { backend: 'b' }, mode: 'active', dry: false, moves: [{ knob: 'lane.max_queue', key: 'backend=b', from: 1, to: 2, wish: 3 }], why: { reason: 'probe', numbers: { p95Ms: 12.5 } } })
      const call = governor.call({ operation: 'chat', model: 'm', input: {} })
      call.timings.endMs = clock.monoMs()
      call.settle('ok')
      recorder.tick()
      if (second % 600 === 599) sizes.push(recorder.greeting().length)
    }
    const hello = JSON.parse(recorder.greeting().toString().split('data: ')[1] as string) as { rows: number[][]; stories: { seq: number }[]; slow: unknown[] }
    expect(hello.rows).toHaveLength(KEPT_SAMPLES)
    expect(hello.stories).toHaveLength(MAX_STORIES)
    expect(hello.stories.at(-1)?.seq).toBe(7_200)
    expect(hello.slow.length).toBeLessThanOrEqual(900)
    // Full after half an hour; from then on it stays as large.
    expect(Math.abs((sizes.at(-1) as number) / (sizes.at(-3) as number) - 1)).toBeLessThan(0.02)
    expect(sizes.at(-1)).toBeGreaterThan(sizes[0] as number)
    recorder.stop()
    await governor.close()
  })

  it('rows are oldest first after the ring has turned', async () => {
    const governor = createGovernor({ backends: [scriptedBackend()], loops: 'off' })
    const recorder = new Recorder(governor, new Viewers(), { extras: () => ({}), abilities: {} })
    for (let i = 0; i < KEPT_SAMPLES + 10; i++) recorder.tick()
    const { rows } = JSON.parse(recorder.greeting().toString().split('data: ')[1] as string) as { rows: number[][] }
    for (let i = 1; i < rows.length; i++) expect(rows[i]?.[0]).toBeGreaterThanOrEqual(rows[i - 1]?.[0] as number)
    recorder.stop()
    await governor.close()
  })

  it('tells an outcome once it is there', async () => {
    const governor = createGovernor({ backends: [scriptedBackend()], loops: 'off' })
    const frames: string[] = []
    const viewers = new Viewers()
    viewers.add(Object.assign(new EventEmitter(), { writableLength: 0, write: (frame: Buffer) => frames.push(frame.toString()), end() {} }) as never)
    const recorder = new Recorder(governor, viewers, { extras: () => ({}), abilities: {} })
    const record = governor.decisions.append({ monoMs: 0, wallMs: 0, controller: 'c', scope: {}, mode: 'active', dry: false, moves: [{ knob: 'k', key: '', from: 1, to: 2, wish: 2 }], why: { reason: 'probe', numbers: {} } })
    recorder.tick()
    record.outcome = { attainmentBefore: Number.NaN, attainmentAfter: 1, samplesBefore: 0, samplesAfter: 60, comparableLoad: true, verdict: 'better', reverted: false }
    recorder.tick()
    recorder.tick()
    const ticks = frames.map((frame) => JSON.parse(frame.split('data: ')[1] as string) as { stories: unknown[]; outcomes?: unknown[] })
    expect(ticks.map(({ stories }) => stories.length)).toEqual([1, 0, 0])
    expect(ticks.map(({ outcomes }) => outcomes?.length ?? 0)).toEqual([0, 1, 0])
    expect(ticks[1]?.outcomes).toMatchObject([{ seq: 1, outcome: { verdict: 'better', attainmentBefore: null } }])
    recorder.stop()
    await governor.close()
  })
})
