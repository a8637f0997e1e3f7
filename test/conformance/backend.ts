/**
 * What every backend must do. Call it in a test file: `backendConformance('mine', async () => harness)`. The harness says
 * how to make the backend's other side behave.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { settleWithBody } from '../../src/core/body.ts'
import type { CallInit, LiveCall } from '../../src/core/call.ts'
import { CANONICAL, FlyballError, systemClock, type Backend, type Chunk, type Reply } from '../../src/index.ts'
import { testCall } from '../support/calls.ts'
import { waitFor } from '../support/wait-for.ts'

/**
 * `unary` and `stream` end well, with usage. `waits` gives no head. `hangs` streams something, then nothing more.
 * `fails` is refused by the other side.
 */
export type BackendScenario = 'unary' | 'stream' | 'waits' | 'hangs' | 'fails'

export interface BackendHarness {
  readonly backend: Backend
  /** A call that goes that way; undefined where the backend knows no such thing. */
  call(scenario: BackendScenario): Partial<CallInit> | undefined
  /** Connections, threads or runs at work for calls right now. */
  busy(): number
  /** The status of the reply to `fails`; undefined where the backend throws instead, having no replies of its own. */
  readonly failsWith?: number
  close(): Promise<void>
}

/** A caller's leave must reach the other side within this time. */
const ABORT_MS = 50

/** The best of three tries: a busy machine may hold one of them up, a backend that waits for something holds up all. */
async function promptly(attempt: () => Promise<number>): Promise<void> {
  const tookMs: number[] = []
  while (tookMs.length < 3 && !(Math.min(...tookMs) < ABORT_MS)) tookMs.push(await attempt())
  expect(Math.min(...tookMs)).toBeLessThan(ABORT_MS)
}

export function backendConformance(name: string, make: () => Promise<BackendHarness>): void {
  describe(`backend conformance: ${name}`, () => {
    let harness: BackendHarness
    beforeEach(async () => {
      harness = await make()
    })
    afterEach(async () => {
      await harness.close()
    })

    function start(scenario: BackendScenario): { call: LiveCall; head: Promise<Reply> } | undefined {
      const init = harness.call(scenario)
      if (!init) return undefined
      const call = testCall(systemClock, init)
      const heads = harness.backend.run([call], call.signal)
      expect(heads).toHaveLength(1)
      return { call, head: (heads[0] as Promise<Reply>).then((reply) => settleWithBody(reply, call, systemClock)) }
    }

    async function read(reply: Reply): Promise<Chunk[]> {
      const chunks: Chunk[] = []
      for await (const chunk of reply.body) chunks.push(chunk)
      return chunks
    }

    async function refused(work: Promise<unknown>): Promise<FlyballError> {
      const thrown: unknown = await work.then(() => 'no error', (error: unknown) => error)
      expect(thrown).toBeInstanceOf(FlyballError)
      return thrown as FlyballError
    }

    it('declares limits that hold together', () => {
      const { limits, name: own, models } = harness.backend
      expect(own).not.toBe('')
      expect(Number.isInteger(limits.slots) && limits.slots >= 1).toBe(true)
      expect(limits.maxBatch).toBeGreaterThanOrEqual(1)
      if (limits.batching !== 'merge') expect(limits.maxBatch).toBe(1)
      expect(models === '*' || Array.isArray(models)).toBe(true)
    })

    it('answers in one document: chunks, usage, settlement', async () => {
      const started = start('unary')
      if (!started) return
      const reply = await started.head
      expect(reply.status).toBe(200)
      expect(reply.stream).toBe(false)
      const chunks = await read(reply)
      expect(chunks.length).toBeGreaterThan(0)
      if (reply.protocol !== CANONICAL) expect(chunks.every(({ raw }) => raw !== undefined)).toBe(true)
      else expect(chunks.some(({ deltas }) => (deltas?.length ?? 0) > 0)).toBe(true)
      expect(started.call.settlement).toMatchObject({ outcome: 'ok', status: 200 })
      expect(started.call.usage.outputTokens).toBeGreaterThan(0)
      await waitFor(() => harness.busy() === 0)
    })

    it('answers in a stream: tokens as they come, one settlement', async () => {
      const started = start('stream')
      if (!started) return
      let settled = 0
      started.call.onSettle(() => settled++)
      const reply = await started.head
      expect(reply.stream).toBe(true)
      const chunks = await read(reply)
      expect(chunks.length).toBeGreaterThan(1)
      expect(chunks.reduce((sum, { tokens }) => sum + tokens, 0)).toBeGreaterThan(0)
      expect(started.call.settlement?.outcome).toBe('ok')
      expect(settled).toBe(1)
      await waitFor(() => harness.busy() === 0)
    })

    it('gives one promise per call, in order', async () => {
      const inits = ['unary', 'unary', 'unary'].flatMap((scenario) => harness.call(scenario as 'unary') ?? [])
      if (inits.length === 0) return
      const calls = inits.map((init) => testCall(systemClock, init))
      const groups = harness.backend.limits.batching === 'merge' ? [calls] : calls.map((call) => [call])
      for (const group of groups) {
        const heads = harness.backend.run(group, new AbortController().signal)
        expect(heads).toHaveLength(group.length)
        for (const head of heads) expect((await head).status).toBe(200)
      }
    })

    it('lets go of a call that is aborted before its head, at once', async () => {
      await promptly(async () => {
        const started = start('waits')
        if (!started) return 0
        const failed = refused(started.head)
        await waitFor(() => harness.busy() > 0)
        const leftMs = performance.now()
        started.call.abort()
        await waitFor(() => harness.busy() === 0)
        const tookMs = performance.now() - leftMs
        expect((await failed).code).toBe('cancelled')
        return tookMs
      })
    })

    it('lets go by the run\'s own signal, too', async () => {
      const init = harness.call('waits')
      if (!init) return
      const run = new AbortController()
      const [head] = harness.backend.run([testCall(systemClock, init)], run.signal)
      const failed = refused(head as Promise<Reply>)
      await waitFor(() => harness.busy() > 0)
      run.abort()
      await waitFor(() => harness.busy() === 0)
      expect((await failed).code).toBe('cancelled')
    })

    it('lets go of a stream whose reader leaves, at once', async () => {
      await promptly(async () => {
        const started = start('hangs')
        if (!started) return 0
        const reply = await started.head
        const body = reply.body[Symbol.asyncIterator]()
        expect((await body.next()).done).toBe(false)
        const pending = refused(body.next())
        expect(harness.busy()).toBeGreaterThan(0)
        const leftMs = performance.now()
        started.call.abort()
        await waitFor(() => harness.busy() === 0)
        const tookMs = performance.now() - leftMs
        expect((await pending).code).toBe('cancelled')
        expect(started.call.settlement?.outcome).toBe('cancelled')
        return tookMs
      })
    })

    it('lets go of a stream that nobody reads, when it is cancelled; twice is once', async () => {
      const started = start('hangs')
      if (!started) return
      const reply = await started.head
      reply.cancel()
      reply.cancel()
      await waitFor(() => harness.busy() === 0)
      expect(started.call.settlement?.outcome).toBe('cancelled')
    })

    it('starts nothing for a call that is aborted already', async () => {
      const init = harness.call('waits')
      if (!init) return
      const call = testCall(systemClock, init)
      call.abort()
      expect((await refused(harness.backend.run([call], call.signal)[0] as Promise<Reply>)).code).toBe('cancelled')
      expect(harness.busy()).toBe(0)
    })

    it('tells a refusal: as a reply, or as an error of ours', async () => {
      const started = start('fails')
      if (!started) return
      if (harness.failsWith === undefined) {
        await refused(started.head)
        return
      }
      const reply = await started.head
      expect(reply.status).toBe(harness.failsWith)
      expect((await read(reply)).length).toBeGreaterThan(0)
      expect(started.call.settlement).toMatchObject({ outcome: 'error', status: harness.failsWith })
      await waitFor(() => harness.busy() === 0)
    })

    it('says how it is, and which models it has, where it can', async () => {
      const signal = new AbortController().signal
      if (harness.backend.health) expect(typeof (await harness.backend.health(signal)).healthy).toBe('boolean')
      if (harness.backend.listModels) expect(Array.isArray(await harness.backend.listModels(signal))).toBe(true)
      if (harness.backend.warm) await harness.backend.warm(signal)
      expect(harness.busy()).toBe(0)
    })

    it('closes with work under way, and more than once', async () => {
      const started = start('hangs')
      const done = started?.head.then(read).catch(() => {})
      await started?.head
      started?.call.abort()
      await harness.backend.close()
      await done
      await waitFor(() => harness.busy() === 0)
      await harness.backend.close()
    })
  })
}
