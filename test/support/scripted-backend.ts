/** A backend whose every step the test decides. */
import type { Backend, BatchingKind } from '../../src/core/backend.ts'
import type { Call } from '../../src/core/call.ts'
import { CANONICAL, type Chunk, type Reply } from '../../src/core/reply.ts'

export interface ScriptedRun {
  readonly call: Call
  readonly batch: readonly Call[]
  readonly batchSignal: AbortSignal
  /** Resolves the head. `chunks` undefined: a stream that the test feeds. */
  answer(options?: { status?: number; complete?: boolean; chunks?: readonly Chunk[] }): void
  fail(error: unknown): void
  push(chunk: Chunk): void
  end(): void
  breakBody(error: unknown): void
  readonly answered: boolean
  readonly cancelled: boolean
}

export interface ScriptedBackend extends Backend {
  readonly runs: ScriptedRun[]
}

export function scriptedBackend(options: { name?: string; slots?: number; maxBatch?: number; maxBatchWork?: number; batching?: BatchingKind; key?: (call: Call) => string | null; honourAbort?: boolean } = {}): ScriptedBackend {
  const runs: ScriptedRun[] = []
  return {
    name: options.name ?? 'scripted',
    provider: 'test',
    models: '*',
    limits: { slots: options.slots ?? 1, maxBatch: options.maxBatch ?? 1, batching: options.batching ?? 'none', ...(options.maxBatchWork === undefined ? {} : { maxBatchWork: options.maxBatchWork }) },
    ...(options.batching === 'merge' ? { batch: { key: options.key ?? (() => 'k') } } : {}),
    runs,
    run: (calls, signal) =>
      calls.map(
        (call) =>
          new Promise<Reply>((resolve, reject) => {
            const queue: (Chunk | Error | 'end')[] = []
            let wake: (() => void) | undefined
            let answered = false
            let cancelled = false
            const feed = (item: Chunk | Error | 'end'): void => {
              queue.push(item)
              wake?.()
            }
            async function* body(): AsyncGenerator<Chunk> {
              for (;;) {
                const item = queue.shift()
                if (item === 'end') return
                if (item instanceof Error) throw item
                if (item) yield item
                else await new Promise<void>((next) => (wake = next))
              }
            }
            const run: ScriptedRun = {
              call,
              batch: calls,
              batchSignal: signal,
              answer({ status = 200, complete = false, chunks } = {}) {
                if (answered) return
                answered = true
                for (const chunk of chunks ?? []) feed(chunk)
                if (chunks) feed('end')
                resolve({ status, rawHeaders: [], protocol: CANONICAL, stream: call.stream, complete, body: body(), cancel: () => { cancelled = true; feed('end') } })
              },
              fail(error) {
                if (answered) return
                answered = true
                reject(error as Error)
              },
              push: feed,
              end: () => feed('end'),
              breakBody: (error) => feed(error as Error),
              get answered() {
                return answered
              },
              get cancelled() {
                return cancelled
              },
            }
            runs.push(run)
            if (options.honourAbort ?? true) call.signal.addEventListener('abort', () => run.fail(call.signal.reason), { once: true })
          }),
      ),
    async close() {},
  }
}
