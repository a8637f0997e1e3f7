/** A governor in virtual time for tests of plugins: everything real but time and the backend. */
import { createGovernor, type Backend, type Call, type CallRequest, type Chunk, type Governor, type GovernorOptions, type Reply } from '../../src/index.ts'
import { replyOf } from '../../src/index.ts'
import { virtualClock, type VirtualClock } from './virtual-clock.ts'

export interface TestHost {
  readonly clock: VirtualClock
  readonly governor: Governor
  /** Makes a call, sends it and reads it to its end. */
  ask(request?: Partial<CallRequest>): Promise<Answer>
  /** Makes a call and sends it. */
  send(request?: Partial<CallRequest>): { call: Call; reply: Promise<Reply> }
}

export interface Answer {
  readonly call: Call
  readonly reply: Reply | undefined
  readonly chunks: readonly Chunk[]
  /** The joined text deltas, or the value. */
  readonly value: unknown
  readonly error: unknown
}

export async function readAll(reply: Reply): Promise<Chunk[]> {
  const chunks: Chunk[] = []
  for await (const chunk of reply.body) chunks.push(chunk)
  return chunks
}

export function valueOf(chunks: readonly Chunk[]): unknown {
  let text = ''
  for (const chunk of chunks) {
    for (const delta of chunk.deltas ?? []) {
      if (delta.type === 'value') return delta.value
      if (delta.type === 'text') text += delta.text
    }
  }
  return text
}

export function testHost(options: Omit<GovernorOptions, 'clock'> & { seed?: number }): TestHost {
  const { seed, ...rest } = options
  const clock = virtualClock(seed === undefined ? {} : { seed })
  const governor = createGovernor({ env: {}, ...rest, clock })
  const send: TestHost['send'] = (request = {}) => {
    const call = governor.call({ operation: 'f', model: 'm', input: {}, ...request })
    return { call, reply: governor.send(call) }
  }
  return {
    clock,
    governor,
    send,
    async ask(request) {
      const { call, reply } = send(request)
      try {
        const head = await reply
        const chunks = await readAll(head)
        return { call, reply: head, chunks, value: valueOf(chunks), error: undefined }
      } catch (error) {
        return { call, reply: undefined, chunks: [], value: undefined, error }
      }
    },
  }
}

export interface AnsweringBackend extends Backend {
  readonly calls: Call[]
  running: number
}

/** A backend that answers each call after `ms`, with what `answer` makes of it; honours aborts. */
export function answeringBackend(clock: () => VirtualClock, options: { name?: string; slots?: number; ms?: (call: Call, backend: AnsweringBackend) => number; answer?: (call: Call) => readonly Chunk[] | Reply } = {}): AnsweringBackend {
  const backend: AnsweringBackend = {
    name: options.name ?? 'b',
    provider: 'test',
    models: '*',
    limits: { slots: options.slots ?? 64, maxBatch: 1, batching: 'none' },
    calls: [],
    running: 0,
    run: (calls) =>
      calls.map(async (call) => {
        backend.calls.push(call)
        backend.running++
        try {
          await clock().sleep(options.ms?.(call, backend) ?? 10, call.signal)
        } finally {
          backend.running--
        }
        const answer = options.answer?.(call) ?? [{ deltas: [{ type: 'value' as const, value: call.input }], tokens: 0 }]
        return 'body' in answer ? answer : replyOf(answer)
      }),
    async close() {},
  }
  return backend
}
