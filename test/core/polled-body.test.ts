import { describe, expect, it } from 'vitest'
import { END, forEachChunk, ListedBody, PENDING, PolledBody, readerOf } from '../../src/core/polled-body.ts'
import type { Chunk } from '../../src/core/reply.ts'

/** Gives what it is fed, as it is fed. */
class FedBody extends PolledBody {
  polls = 0
  cancelled = false
  readonly #queue: (Chunk | typeof END | Error)[] = []
  #wake: (() => void) | undefined

  feed(...pieces: (Chunk | typeof END | Error)[]): void {
    this.#queue.push(...pieces)
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  poll(wake: () => void): Chunk | typeof PENDING | typeof END {
    this.polls++
    const next = this.#queue.shift()
    if (next instanceof Error) throw next
    if (next !== undefined) return next
    this.#wake = wake
    return PENDING
  }

  cancel(): void {
    this.cancelled = true
    this.feed(END)
  }
}

const chunk = (tokens: number): Chunk => ({ tokens })
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('a polled body', () => {
  it('is an async iterable, too, and is cancelled when the loop is left', async () => {
    const body = new FedBody()
    setImmediate(() => body.feed(chunk(1), chunk(2), chunk(3)))
    const seen: number[] = []
    for await (const { tokens } of body) if (seen.push(tokens) === 2) break
    expect(seen).toEqual([1, 2])
    expect(body.cancelled).toBe(true)
  })

  it('throws into a loop that waits', async () => {
    const body = new FedBody()
    const next = body.next()
    body.feed(new Error('torn'))
    await expect(next).rejects.toThrow('torn')
  })

  it.each([
    ['throws', () => { throw new Error('full') }],
    ['rejects', () => Promise.reject(new Error('full'))],
  ])('is told to stop when whoever takes its chunks %s', async (_, take) => {
    const body = new FedBody()
    const done = forEachChunk(body, take)
    body.feed(chunk(1))
    await expect(done).rejects.toThrow('full')
    expect(body.cancelled).toBe(true)
  })

  it('hands on each chunk in the turn that it comes', async () => {
    const body = new FedBody()
    const seen: number[] = []
    const done = forEachChunk(body, ({ tokens }) => void seen.push(tokens))
    body.feed(chunk(1))
    expect(seen).toEqual([1])
    body.feed(chunk(2), chunk(3), END)
    expect(seen).toEqual([1, 2, 3])
    await done
  })

  it('is not asked while its taker holds back', async () => {
    const body = new FedBody()
    let release = (): void => {}
    const done = forEachChunk(body, ({ tokens }) => (tokens === 1 ? new Promise<void>((resolve) => (release = resolve)) : undefined))
    body.feed(chunk(1), chunk(2), END)
    const { polls } = body
    await tick()
    expect(body.polls).toBe(polls)
    release()
    await done
    expect(body.polls).toBe(polls + 2)
  })

  it('rejects with what the body or its taker threw', async () => {
    const body = new FedBody()
    const done = forEachChunk(body, () => undefined)
    body.feed(new Error('torn'))
    await expect(done).rejects.toThrow('torn')
    await expect(forEachChunk(new ListedBody([chunk(1)]), () => { throw new Error('mine') })).rejects.toThrow('mine')
  })

  it('polls somebody else’s iterator: one question at a time, the end and the failure stay', async () => {
    let asked = 0
    const source = readerOf({
      [Symbol.asyncIterator]: () => ({
        next: async () => (++asked > 2 ? { done: true as const, value: undefined } : { done: false as const, value: chunk(asked) }),
      }),
    })
    let woken = 0
    const wake = (): void => void woken++
    expect(source.poll(wake)).toBe(PENDING)
    expect(source.poll(wake)).toBe(PENDING)
    await tick()
    expect([asked, woken]).toEqual([1, 1])
    expect(source.poll(wake)).toEqual(chunk(1))
    expect(source.poll(wake)).toBe(PENDING)
    await tick()
    expect(source.poll(wake)).toEqual(chunk(2))
    source.poll(wake)
    await tick()
    expect([source.poll(wake), source.poll(wake)]).toEqual([END, END])
  })
})
