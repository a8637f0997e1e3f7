import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_SERIES, parseMetrics, valueOf } from '../../../../plugins/signals/outside/text-format.ts'

const read = (page: string, ...names: string[]) => parseMetrics(page, new Set(names.length > 0 ? names : ['a'])).map((series) => ({ ...series, labels: { ...series.labels } }))

describe('Prometheus text format', () => {
  it.each([
    ['a 1', {}, 1],
    ['a{} 1.5e3', {}, 1500],
    ['  a { x = "1" , y="2", } -0.5 1700000000000', { x: '1', y: '2' }, -0.5],
    ['a{x="q\\"uo\\\\te\\n"} +Inf', { x: 'q"uo\\te\n' }, Number.POSITIVE_INFINITY],
    ['a{x="}, {"} NaN', { x: '}, {' }, Number.NaN],
    ['a{x="1"}\t7 # {trace_id="t"} 0.5 1', { x: '1' }, 7],
    ['a{__proto__="p"} 1\r', JSON.parse('{"__proto__":"p"}') as object, 1],
  ])('%s', (line, labels, value) => {
    expect(read(line)).toEqual([{ name: 'a', labels, value }])
  })

  it.each(['# a 1', 'a', 'a{', 'a{x="1" 1', 'a{x=1} 1', 'a{x="1"} one', 'a{x="1"}', 'ab 1', '1a 1', 'a{x="1""} 1', 'a 0x10', 'a 1_000', ''])('passes over %j and reads on', (line) => {
    expect(read(`${line}\na 2\n`)).toEqual([{ name: 'a', labels: {}, value: 2 }])
  })

  it('reads back whatever is written', () => {
    const names = fc.constantFrom('a', 'vllm:x', '_z9')
    const labels = fc.dictionary(fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,6}$/), fc.string({ unit: 'binary', maxLength: 8 }).map((text) => text.replace(/[\r\u0085\u2028\u2029]/g, '')), { maxKeys: 5 })
    const one = fc.record({ name: names, labels, value: fc.double({ noNaN: true }) })
    const escape = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
    const write = (series: { name: string; labels: Record<string, string>; value: number }): string => {
      const pairs = Object.entries(series.labels).map(([key, value]) => `${key}="${escape(value)}"`)
      const value = Number.isFinite(series.value) ? String(series.value) : series.value > 0 ? '+Inf' : '-Inf'
      return `${series.name}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}`
    }
    fc.assert(
      fc.property(fc.array(one, { maxLength: 20 }), (all) => {
        const found = read(`${all.map(write).join('\n')}\n`, 'a', 'vllm:x', '_z9')
        expect(found).toEqual(all.map((series) => ({ ...series, labels: { ...series.labels }, value: series.value === 0 ? expect.closeTo(0) : series.value })))
      }),
      { numRuns: 300 },
    )
  })

  it('never throws, and keeps every good line of a page with anything else on it', () => {
    const junk = fc.string({ unit: 'binary', maxLength: 40 }).filter((text) => !/^\s*good/.test(text) && !text.includes('\n'))
    fc.assert(
      fc.property(fc.array(fc.oneof(junk, fc.constant('good 1'), fc.constant('good{')), { maxLength: 30 }), (lines) => {
        expect(read(lines.join('\n'), 'good')).toHaveLength(lines.filter((line) => line === 'good 1').length)
      }),
      { numRuns: 500 },
    )
  })

  it('keeps a bounded number of series, in time that grows with the page only', () => {
    expect(parseMetrics('a 1\n'.repeat(MAX_SERIES + 100), new Set(['a']))).toHaveLength(MAX_SERIES)
    // What could make a backtracking expression slow.
    const startMs = performance.now()
    for (const nasty of [`a{${'x="1",'.repeat(50_000)}`, `a{x="${'\\'.repeat(200_000)}`, `a{x="${'\\"'.repeat(200_000)}`, `a${' '.repeat(500_000)}x`, `a ${'1'.repeat(500_000)}x`]) expect(read(nasty)).toEqual([])
    expect(performance.now() - startMs).toBeLessThan(2_000)
  })

  it('tells numbers from what looks like one', () => {
    expect(['1', '-1.5', '.5', '5.', '1e3', '+2E-3'].map(valueOf)).toEqual([1, -1.5, 0.5, 5, 1000, 0.002])
    expect(['', 'infinity', '1e', '--1', '1 2', '0b1'].map(valueOf)).toEqual(new Array(6).fill(undefined))
  })
})
