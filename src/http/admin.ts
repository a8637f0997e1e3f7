/** The admin API's door: who may come in, what they asked for, what they get. */
import type { ServerResponse } from 'node:http'
import { FlyballError, toFlyballError } from '../core/errors.ts'
import { describeIssues } from '../core/validation.ts'
import type { Governor } from '../governor-contract.ts'
import { ADMIN_ENDPOINTS, type AdminEndpoint } from './admin-endpoints.ts'
import { adminOpenApi } from './admin-openapi.ts'
import { pathOf, type EdgeRequest, type HttpHandler } from './http-types.ts'
import { jsonBody } from './json-body.ts'
import { isLocal } from './loopback.ts'

export interface AdminOptions {
  /**
   * Who may use it. Default: requests from this machine, with no proxy in between and a local `Host`. With a hook of your
   * own, nothing else is checked.
   */
  authorize?: (req: EdgeRequest) => boolean | Promise<boolean>
  /** Only look: no pins, no commands, no drain. */
  readOnly?: boolean
}

const BODY_LIMITS = { maxBytes: 1024 * 1024, maxDepth: 32 }

/** Mount it at `/admin`. */
export function admin(governor: Governor, options: AdminOptions = {}): HttpHandler {
  const authorize = options.authorize ?? isLocal
  const openApi = adminOpenApi()
  const endpoints = ADMIN_ENDPOINTS.filter(({ method }) => !options.readOnly || method === 'GET')

  return function flyballAdmin(req, res) {
    respond(req).then(
      (document) => send(res, 200, document),
      (thrown: unknown) => {
        const error = toFlyballError(thrown)
        if (error.code === 'internal') governor.log.error({ err: error.cause ?? error }, 'the admin API failed')
        send(res, error.status, { error: { code: error.code, message: error.message, ...(error.param === undefined ? {} : { param: error.param }) } })
      },
    )
  }

  async function respond(req: EdgeRequest): Promise<unknown> {
    if (!(await authorize(req))) throw new FlyballError('forbidden')
    const path = pathOf(req)
    if (req.method === 'GET' && path === '/openapi.json') return openApi
    const { endpoint, params } = find(req.method ?? 'GET', path)
    const body = endpoint.body ? checked(endpoint, 'body', await bodyOf(req)) : undefined
    const query = Object.fromEntries(new URLSearchParams(req.url?.split('?')[1] ?? ''))
    return endpoint.handle(governor, { params: checked(endpoint, 'params', params), query: checked(endpoint, 'query', query), body })
  }

  function find(method: string, path: string): { endpoint: AdminEndpoint; params: Record<string, string> } {
    let known = false
    for (const endpoint of endpoints) {
      const params = matchPath(endpoint.path, path)
      if (!params) continue
      if (endpoint.method === method) return { endpoint, params }
      known = true
    }
    throw new FlyballError(known ? 'method_not_allowed' : 'not_found')
  }
}

/** A body of `application/json`, which a web page's form cannot send; none at all is `{}`. */
async function bodyOf(req: EdgeRequest): Promise<unknown> {
  if (req.body === undefined && (req.headers['content-length'] ?? '0') === '0' && req.headers['transfer-encoding'] === undefined) return {}
  return (await jsonBody(req, BODY_LIMITS)).value
}

function checked(endpoint: AdminEndpoint, part: 'params' | 'query' | 'body', value: unknown): unknown {
  const schema = endpoint[part]
  if (!schema) return undefined
  const parsed = schema.safeParse(value, { reportInput: true })
  if (!parsed.success) throw new FlyballError('invalid_request', { message: `${part}: ${describeIssues(parsed.error)}` })
  return parsed.data
}

function matchPath(pattern: string, path: string): Record<string, string> | undefined {
  const wanted = pattern.split('/')
  const given = path.split('/')
  if (wanted.length !== given.length) return undefined
  const params: Record<string, string> = {}
  for (const [i, segment] of wanted.entries()) {
    if (segment.startsWith('{')) {
      try {
        params[segment.slice(1, -1)] = decodeURIComponent(given[i] as string)
      } catch {
        return undefined
      }
    } else if (segment !== given[i]) return undefined
  }
  return params
}

function send(res: ServerResponse, status: number, document: unknown): void {
  if (res.headersSent || res.destroyed) return
  const body = Buffer.from(`${JSON.stringify(document, plain, 1)}\n`)
  res.writeHead(status, ['content-type', 'application/json', 'content-length', String(body.length), 'cache-control', 'no-store'])
  res.end(body)
}

/** JSON has no infinities; a bound that is one would read as null. */
function plain(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
}
