/** A reply's own bytes onto a response, at the reader's pace. */
import { forEachChunk } from '../core/polled-body.ts'
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
  if (reply.stream) {
    sink.writeHead(reply.status, headers())
    // An upstream's head and first event mostly come in one piece: given until the end of this turn of the event loop, they
    // leave in one write, too.
    let begun = false
    // oxlint-disable-next-line no-restricted-globals -- a turn of a real socket's event loop, not time
    setImmediate(() => {
      if (!begun) sink.flushHeaders()
    })
    try {
      await forEachChunk(reply.body, ({ raw }) => {
        if (raw === undefined || raw.length === 0) return undefined
        begun = true
        return sink.write(raw) ? undefined : drained()
      })
    } finally {
      begun = true
    }
    sink.end()
    return
  }
  let held: Uint8Array | undefined
  let headed = false
  await forEachChunk(reply.body, ({ raw }) => {
    if (raw === undefined) return undefined
    const ready = held
    held = raw
    if (ready === undefined) return undefined
    if (!headed) sink.writeHead(reply.status, headers())
    headed = true
    return sink.write(ready) ? undefined : drained()
  })
  if (!headed) {
    const complete = headers()
    if (held !== undefined && header(complete, 'content-length') === undefined) complete.push('content-length', String(held.length))
    sink.writeHead(reply.status, complete)
  }
  sink.end(held)
}
