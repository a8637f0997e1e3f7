/** A chat backend in this process whose every step a test can hold, count and break. */
import type { Backend, Call, Chunk, Delta, Reply } from '../../src/index.ts'
import { CANONICAL } from '../../src/index.ts'

export interface FakeChatOptions {
  name?: string
  models?: Backend['models']
  slots?: number
  /** Said word by word. */
  words?: readonly string[]
  /** Before each word, ms. */
  gapMs?: number
  /** Throws instead of the word with this index. */
  failAt?: number
  /** Holds the head until it resolves. */
  gate?: Promise<void>
}

export interface FakeChat extends Backend {
  /** Calls that reached `run`. */
  readonly seen: Call[]
  /** When each call was told to stop, monotonic ms. */
  readonly abortedAtMs: number[]
  /** Words handed over so far, over all calls. */
  pulled: number
}

export function fakeChat(options: FakeChatOptions = {}): FakeChat {
  const words = options.words ?? ['Hello', ' there', '.']
  const fake: FakeChat = {
    name: options.name ?? 'fake',
    provider: 'fake',
    inProcess: true,
    models: options.models ?? ['fake-model'],
    limits: { slots: options.slots ?? 8, maxBatch: 1, batching: 'internal' },
    seen: [],
    abortedAtMs: [],
    pulled: 0,
    run: (calls) => calls.map((call) => answer(call)),
    async close() {},
  }

  async function answer(call: Call): Promise<Reply> {
    // As it was: a settled call has let go of its request.
    fake.seen.push(Object.create(call, { wire: { value: call.wire }, input: { value: call.input } }) as Call)
    const stopped = new Promise<never>((_, reject) => {
      call.signal.addEventListener('abort', () => {
        if (!call.settlement || call.settlement.outcome !== 'ok') fake.abortedAtMs.push(performance.now())
        reject(call.signal.reason as Error)
      })
    })
    stopped.catch(() => {})
    if (options.gate) await Promise.race([options.gate, stopped])
    const pause = (): Promise<void> => (options.gapMs ? Promise.race([new Promise<void>((resolve) => setTimeout(resolve, options.gapMs)), stopped]) : Promise.resolve())
    const chunk = (deltas: readonly Delta[], tokens = 0): Chunk => ({ deltas, tokens })
    async function* body(): AsyncGenerator<Chunk> {
      yield chunk([{ type: 'start', id: 'x', model: call.model }])
      for (const [i, word] of words.entries()) {
        await pause()
        if (options.failAt === i) throw new Error(`secret detail of the backend ${word}`)
        fake.pulled++
        yield chunk([{ type: 'text', index: 0, text: word }], 1)
      }
      yield chunk([
        { type: 'finish', index: 0, reason: 'stop' },
        { type: 'usage', usage: { inputTokens: 7, outputTokens: words.length } },
      ])
    }
    const iterable = body()
    return { status: 200, rawHeaders: [], protocol: CANONICAL, stream: call.stream, body: iterable, cancel() {} }
  }
  return fake
}
