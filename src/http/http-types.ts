/** What the edges need of a request and a response: Node's own, so that Express, Connect and plain `node:http` all fit. */
import type { IncomingMessage, ServerResponse } from 'node:http'

/** Express's request fits; so does Node's. */
export type EdgeRequest = IncomingMessage & {
  /** Set by a body parser that ran before us. */
  body?: unknown
  /** Express keeps the whole path here while `url` is relative to the mount. */
  originalUrl?: string
}

export type EdgeNext = (error?: unknown) => void

/** Mounts as `app.use('/v1', handler)`; without `next` (plain `node:http`) nothing is passed on. */
export type HttpHandler = (req: EdgeRequest, res: ServerResponse, next?: EdgeNext) => void

/** The path of a request, without its query. */
export function pathOf(req: IncomingMessage): string {
  const url = req.url ?? '/'
  const query = url.indexOf('?')
  const path = query === -1 ? url : url.slice(0, query)
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
}
