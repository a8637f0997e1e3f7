/** Labels come from the world: whatever it says, memory and series stay bounded. */
import type { Meter } from '@opentelemetry/api'
import { describe, expect, it } from 'vitest'
import { instrument, label } from '../../src/index.ts'
import { createInstruments } from '../../src/telemetry/instruments.ts'

/** A meter whose collections the test makes; counts what it is given. */
function countingMeter() {
  const added: { value: number; attributes: object }[] = []
  const callbacks: (() => void)[] = []
  const observable = { addCallback: (fn: () => void) => void callbacks.push(fn), removeCallback() {} }
  const meter = { createCounter: () => ({ add: (value: number, attributes: object) => void added.push({ value, attributes }) }), createObservableGauge: () => observable } as unknown as Meter
  return { meter, added, collect: () => callbacks.forEach((fn) => fn()) }
}

describe('a counter whose label anybody may set', () => {
  it('hands over one sum per series, however many values were seen between two collections', () => {
    const { meter, added, collect } = countingMeter()
    const instruments = createInstruments(meter)
    instruments.gauge(instrument({ name: 'x.gauge', kind: 'gauge', unit: '1', doc: '', labels: {}, observed: true }))
    const counter = instruments.counter(instrument({ name: 'x.calls', kind: 'counter', unit: '1', doc: '', labels: { tenant: label('', 4), kind: label('', 2, ['a', 'b']) } }))
    for (let round = 0; round < 2; round++) for (let i = 0; i < 20_000; i++) counter.add(1, { tenant: `t${i}`, kind: i % 2 ? 'a' : 'b' })
    collect()
    const sums = Object.fromEntries(added.map(({ value, attributes }) => [JSON.stringify(attributes), value]))
    expect(Object.keys(sums)).toHaveLength(added.length)
    expect(added.length).toBe(4 + 2)
    expect(sums['{"tenant":"t0","kind":"b"}']).toBe(2)
    expect(added.reduce((sum, { value }) => sum + value, 0)).toBe(40_000)
  })
})
