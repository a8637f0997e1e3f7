/** The console's door: who may look, the page's files, the stream of events, and the verbs of those who have the token. */
import type { ServerResponse } from 'node:http'
import { FlyballError, toFlyballError } from '../../core/errors.ts'
import type { Governor } from '../../governor-contract.ts'
import type { EdgeRequest, HttpHandler } from '../http-types.ts'
import { isLocal, isLoopbackAddress } from '../loopback.ts'
import { loadAssets, type Asset } from './assets.ts'
import { createOperator, MIN_TOKEN_CHARS, type ConsoleDemo } from './operator.ts'
import { Recorder } from './recorder.ts'
import { Viewers } from './viewers.ts'

export interface ConsoleOptions {
  /**
   * Who may look. Default: requests from this machine, with no proxy in between and a local `Host`. With a hook of your own,
   * nothing else is checked.
   */
  authorize?: (req: EdgeRequest) => boolean | Promise<boolean>
  /** Lets its holder pin knobs and switch dry run; at least 16 characters. Without it the console only shows. */
  adminToken?: string
  /** Where the app listens. Anything but a loopback address is refused at once unless there is `authorize`. */
  host?: string
  /** Names the page, when there are several. */
  title?: string
  /** A demo load to switch; a function, because it may start after the app. */
  demo?: ConsoleDemo | (() => ConsoleDemo | undefined)
}

/** Scripts and styles from here alone; nothing may frame it, and no form leaves it. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
const FROM_HERE_ONLY = 'flyball console: only for requests from this machine, with no proxy in between; console({ authorize }) decides otherwise'

export interface MountedConsole {
  readonly handler: HttpHandler
  close(): void
}

/** Mount it anywhere: `app.use('/flyball', handler)`. Throws a TypeError, in one line, for options that cannot be safe. */
export function mountConsole(governor: Governor, options: ConsoleOptions = {}): MountedConsole {
  const { adminToken, host, demo } = options
  if (adminToken !== undefined && adminToken.length < MIN_TOKEN_CHARS) throw new TypeError(`console: adminToken: expected at least ${MIN_TOKEN_CHARS} characters, got ${adminToken.length}`)
  if (host !== undefined && !options.authorize && host !== 'localhost' && !isLoopbackAddress(host)) throw new TypeError(`console: ${host} can be reached from other machines: listen on 127.0.0.1, or pass console({ authorize })`)
  const authorize = options.authorize ?? isLocal
  const demoNow = typeof demo === 'function' ? demo : () => demo
  const assets = loadAssets()
  const operator = createOperator(governor, { demo: demoNow, ...(adminToken === undefined ? {} : { adminToken }) })
  const viewers = new Viewers()
  const recorder = new Recorder(governor, viewers, {
    abilities: { title: options.title ?? 'flyball', changes: adminToken !== undefined },
    extras: () => {
      const running = demoNow()
      const uplift = governor.uplift()
      return {
        ...(uplift ? { uplift } : {}),
        ...(running ? { demo: { phases: running.phases.map(({ name, doc }) => ({ name, doc })), current: running.current() ?? null } } : {}),
      }
    },
  })

  function flyballConsole(req: EdgeRequest, res: ServerResponse): void {
    respond(req, res).catch((thrown: unknown) => {
      const error = toFlyballError(thrown)
      if (error.code === 'internal') governor.log.error({ err: error.cause ?? error }, 'the console failed')
      sendJson(res, error.status, { error: { code: error.code, message: error.message } })
    })
  }

  async function respond(req: EdgeRequest, res: ServerResponse): Promise<void> {
    secure(res)
    if (!(await authorize(req))) throw new FlyballError('forbidden', { message: FROM_HERE_ONLY })
    const name = nameOf(req)
    if (name === undefined) return redirectInside(req, res)
    if (name.startsWith('api/')) return sendJson(res, 200, await operator.handle(name.slice(4), req))
    if (req.method !== 'GET' && req.method !== 'HEAD') throw new FlyballError('method_not_allowed')
    if (name === 'events') return stream(req, res)
    const asset = assets.get(name === '' ? 'index.html' : name)
    if (!asset) throw new FlyballError('not_found')
    sendAsset(req, res, asset)
  }

  function stream(req: EdgeRequest, res: ServerResponse): void {
    const greeting = recorder.greeting()
    if (req.method === 'GET' && !viewers.add(res)) throw new FlyballError('overloaded', { message: 'Too many consoles are open.' })
    // no-transform: a compressing middleware would hold events back.
    res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store, no-transform', 'x-accel-buffering': 'no' })
    if (req.method === 'HEAD') return void res.end()
    res.write('retry: 2000\n\n')
    res.write(greeting)
  }

  return {
    handler: flyballConsole,
    close() {
      recorder.stop()
      viewers.close()
    },
  }
}

/** The name inside the mount, or undefined when the mount was asked for without its slash. */
function nameOf(req: EdgeRequest): string | undefined {
  const inside = pathWithin(req.url)
  if (inside !== '/') return inside.slice(1)
  return pathWithin(req.originalUrl ?? req.url).endsWith('/') ? '' : undefined
}

const pathWithin = (url = '/'): string => url.split('?', 1)[0] || '/'

/** Relative, so that it holds behind a proxy that puts a prefix before ours. */
function redirectInside(req: EdgeRequest, res: ServerResponse): void {
  const url = req.originalUrl ?? req.url ?? '/'
  const [path = '/'] = url.split('?', 1)
  res.writeHead(302, { location: `./${path.slice(path.lastIndexOf('/') + 1)}/${url.slice(path.length)}`, 'content-length': '0' })
  res.end()
}

/** Over whatever a middleware has set before: helmet's policy would let less or more in. */
function secure(res: ServerResponse): void {
  res.setHeader('content-security-policy', POLICY)
  res.removeHeader('content-security-policy-report-only')
  res.setHeader('x-content-type-options', 'nosniff')
  res.setHeader('referrer-policy', 'no-referrer')
  res.setHeader('x-frame-options', 'DENY')
  res.setHeader('cache-control', 'no-store')
}

function sendAsset(req: EdgeRequest, res: ServerResponse, { type, bytes, etag }: Asset): void {
  // The page itself is never kept; its files are asked for again each time and mostly answered by a tag.
  if (!type.startsWith('text/html')) res.setHeader('cache-control', 'no-cache')
  res.setHeader('etag', etag)
  if (req.headers['if-none-match'] === etag) return void res.writeHead(304).end()
  res.writeHead(200, { 'content-type': type, 'content-length': String(bytes.length) })
  res.end(req.method === 'HEAD' ? undefined : bytes)
}

function sendJson(res: ServerResponse, status: number, document: unknown): void {
  if (res.headersSent || res.destroyed) return void res.destroy()
  const body = Buffer.from(JSON.stringify(document))
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': String(body.length) })
  res.end(body)
}
