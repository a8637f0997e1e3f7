/** Errors of ours as a client's own protocol spells them. */
import type { ServerResponse } from 'node:http'
import type { FlyballError } from '../core/errors.ts'
import type { Protocol } from '../protocols/protocol.ts'
import { retryHeaders } from './reply-headers.ts'

/** A JSON document and nothing else; `headers` are added to the error's own. Nothing is written after headers are out. */
export function writeError(res: ServerResponse, protocol: Protocol, error: FlyballError, headers: string[] = []): void {
  if (res.headersSent || res.destroyed) {
    // The client sees a cut reply rather than a whole one that is wrong.
    res.destroy()
    return
  }
  const body = Buffer.from(JSON.stringify(protocol.error(error)))
  retryHeaders(error, headers)
  headers.push('content-type', 'application/json', 'content-length', String(body.length))
  // What is left of a refused upload is not worth reading.
  if (error.code === 'request_too_large') headers.push('connection', 'close')
  res.writeHead(error.status, headers)
  res.end(body)
}
