/** What a wrapped function's refusal looks like over HTTP, for routes of the host's own. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { FlyballError } from '../core/errors.ts'
import type { EdgeNext } from './http-types.ts'
import { retryHeaders } from './reply-headers.ts'

/** Mounted last: `app.use(governor.errors())`. Errors that are not ours go on to the host's own handler. */
export type ErrorHandler = (error: unknown, req: IncomingMessage, res: ServerResponse, next: EdgeNext) => void

/** `{ "error": { "code", "message" } }` with the catalogue's status and when to come back. */
export function errorHandler(): ErrorHandler {
  return function flyballErrors(error, _req, res, next) {
    if (!(error instanceof FlyballError) || res.headersSent) return next(error)
    const body = Buffer.from(JSON.stringify({ error: { code: error.code, message: error.message } }))
    const headers: string[] = ['content-type', 'application/json', 'content-length', String(body.length)]
    retryHeaders(error, headers)
    res.writeHead(error.status, headers)
    res.end(body)
  }
}
