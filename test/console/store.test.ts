/** What the page keeps: bounded over hours, and the sums that its verdict rests on. */
import { beforeEach, describe, expect, it } from 'vitest'

interface Store {
  times: number[]
  columns: (number | null)[][]
  stories: { seq: number; outcome?: unknown }[]
  bySeq: Map<number, unknown>
  slow: unknown[]
  hello(message: object): void
  tick(message: object): void
  sum(name: string, seconds: number, endS?: number): number
  attainment(group: string, seconds: number, endS?: number): number | null
  at(name: string, seconds: number): number | null
  column(name: string, from?: number): (number | null)[]
  from(seconds: number): number
}

// A script of the page: plain JavaScript that no compiler sees.
const { Store: StoreClass, movingSum } = (await import(new URL('../../src/http/console/page/store.js', import.meta.url).href)) as { Store: new () => Store; movingSum(values: (number | null)[], span: number): number[] }

const names = { from: 0, list: ['calls|offered|all', 'calls|met|all', 'loop|observed|x'] }
const hello = (rows: number[][] = []): object => ({ boot: 'b', names, rows, stories: [], outcomes: [], slow: [], abilities: {}, dropped: 0, meta: { classes: [], controllers: [], knobs: [] }, state: {} })

describe('the page’s store', () => {
  let store: Store
  beforeEach(() => {
    store = new StoreClass()
    store.hello(hello())
  })

  it('keeps half an hour, whatever comes in two hours', () => {
    for (let s = 1; s <= 7_200; s++) store.tick({ row: [s * 1_000, 10, 9, s], stories: [{ seq: 2 * s }, { seq: 2 * s + 1 }], slow: [1, 2, 3, 4, 5].map((id) => ({ id, t: s * 1_000 })), state: {} })
    expect(store.times.length).toBeLessThanOrEqual(1_920)
    expect(store.columns.map((column) => column.length)).toEqual(store.columns.map(() => store.times.length))
    expect(store.stories).toHaveLength(2_000)
    expect(store.bySeq.size).toBe(2_000)
    expect(store.slow.length).toBe(300)
    expect(store.times.at(-1)).toBe(7_200)
    expect(store.at('loop|observed|x', 7_100)).toBe(7_100)
  })

  it('sums, shares and windows end where they are told to', () => {
    for (let s = 1; s <= 100; s++) store.tick({ row: [s * 1_000, 10, s <= 50 ? 10 : 5, null], stories: [], state: {} })
    expect(store.sum('calls|offered|all', 10)).toBe(100)
    expect(store.attainment('all', 10)).toBe(0.5)
    expect(store.attainment('all', 20, 50)).toBe(1)
    expect(store.attainment('all', 20, 60)).toBe(0.75)
    expect(store.attainment('nobody', 20)).toBeNull()
    expect(store.column('calls|met|all', store.from(3))).toEqual([5, 5, 5])
    expect(store.column('no such', store.from(3))).toEqual([null, null, null])
  })

  it('a series that comes later has nulls before; a move told twice is one; an outcome finds its move', () => {
    store.tick({ row: [1_000, 1, 1, 1], stories: [{ seq: 7 }], state: {} })
    store.tick({ row: [2_000, 1, 1, 1, 42], names: { from: 3, list: ['late'] }, stories: [{ seq: 7 }], outcomes: [{ seq: 7, outcome: { verdict: 'better' } }, { seq: 99, outcome: {} }], state: {} })
    expect(store.column('late')).toEqual([null, 42])
    expect(store.stories).toEqual([{ seq: 7, outcome: { verdict: 'better' } }])
  })

  it('a moving sum counts a gap as nothing', () => {
    expect(movingSum([1, null, 2, 3, 4], 3)).toEqual([1, 1, 3, 5, 9])
  })
})
