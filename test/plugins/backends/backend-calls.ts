/** Calls for backends without a governor, and ways to read their replies. */
import { settleWithBody } from '../../../src/core/body.ts'
import type { CallInit, LiveCall } from '../../../src/core/call.ts'
import { systemClock, type Backend, type Chunk, type Clock, type Delta, type Reply } from '../../../src/index.ts'
import { testCall } from '../../support/calls.ts'

/** A call as the gateway's edge makes it for this protocol. */
export function wireCall(protocol: string, path: string, body: object, init: Partial<CallInit> & { rawHeaders?: readonly string[]; clock?: Clock } = {}): LiveCall {
  const { rawHeaders = ['Content-Type', 'application/json'], clock = systemClock, ...rest } = init
  const stream = (body as { stream?: boolean }).stream ?? false
  return testCall(clock, { input: body, stream, wire: { protocol, method: 'POST', path, rawHeaders, bytes: Buffer.from(JSON.stringify(body)) }, ...rest })
}

/** Runs one call as a lane would: the call settles with its body. */
export async function serve(backend: Backend, call: LiveCall, clock: Clock = systemClock): Promise<Reply> {
  return settleWithBody(await (backend.run([call], call.signal)[0] as Promise<Reply>), call, clock)
}

export async function readAll(reply: Reply): Promise<{ chunks: Chunk[]; bytes: Buffer; deltas: Delta[] }> {
  const chunks: Chunk[] = []
  for await (const chunk of reply.body) chunks.push(chunk)
  return { chunks, bytes: Buffer.concat(chunks.flatMap(({ raw }) => (raw ? [raw] : []))), deltas: chunks.flatMap(({ deltas }) => deltas ?? []) }
}
