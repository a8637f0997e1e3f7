/** A reply's own bytes onto a response, at the reader's pace. */
import type { Reply } from '../core/reply.ts'
import { header } from '../core/reply.ts'

/** The part of a `ServerResponse` that is needed. */
export interface Sink {
  writeHead(status: number, rawHeaders: string[]): unknown
  flushHeaders(): void
  write(bytes: Uint8Array): boolean
  end(bytes?: Uint8Array): unknown
}

/**
 * Streams are flushed head first. A unary reply leaves in one write, one chunk late: its last possible error then still
 * finds the head unsent. Rejects with what the body threw.
 */
export async function writeRaw(sink: Sink, reply: Reply, headers: () => string[], drained: () => Promise<void>): Promise<void> {
  const body = reply.body[Symbol.asyncIterator]()
  if (reply.stream) {
    sink.writeHead(reply.status, headers())
    const first = body.next()
    // An upstream's head and first event mostly come in one piece: given until the end of this turn of the event loop, they
    // leave in one write, too.
    let begun = false
    // oxlint-disable-next-line no-restricted-globals -- a turn of a real socket's event loop, not time
    setImmediate(() => {
      if (!begun) sink.flushHeaders()
    })
    try {
      for (let next = await first; !next.done; next = await body.next()) {
        const { raw } = next.value
        if (raw === undefined || raw.length === 0) continue
        begun = true
        if (!sink.write(raw)) await drained()
      }
    } finally {
      begun = true
    }
    sink.end()
    return
  }
  let held: Uint8Array | undefined
  let headed = false
  for (let next = await body.next(); !next.done; next = await body.next()) {
    const { raw } = next.value
    if (raw === undefined) continue
    if (held !== undefined) {
      if (!headed) sink.writeHead(reply.status, headers())
      headed = true
      if (!sink.write(held)) await drained()
    }
    held = raw
  }
  if (!headed) {
    const complete = headers()
    if (held !== undefined && header(complete, 'content-length') === undefined) complete.push('content-length', String(held.length))
    sink.writeHead(reply.status, complete)
  }
  sink.end(held)
}
