/** Probes as orchestrators ask them: alive, started, ready. */
import type { ServerResponse } from 'node:http'
import type { Governor } from '../governor-contract.ts'
import { pathOf, type HttpHandler } from './http-types.ts'

/**
 * `/livez`: the process answers. `/startupz`: every backend has warmed up or given up. `/readyz`: calls are welcome; 503
 * until warm and while draining. Mount it at the root: other paths go to `next`.
 */
export function health(governor: Governor): HttpHandler {
  return function flyballHealth(req, res, next) {
    if (req.method !== 'GET' && req.method !== 'HEAD') return pass()
    switch (pathOf(req)) {
      case '/livez':
        return answer(res, 200, { status: 'ok' })
      case '/startupz':
        return answer(res, governor.started ? 200 : 503, { status: governor.started ? 'ok' : 'starting' })
      case '/readyz':
        return answer(res, governor.ready ? 200 : 503, { status: governor.ready ? 'ok' : governor.draining ? 'draining' : 'starting', backends: backends() })
      default:
        return pass()
    }

    function pass(): void {
      if (next) return next()
      answer(res, 404, { status: 'not found' })
    }
  }

  /** Names and yes or no: probes are often reachable by everybody. */
  function backends(): Record<string, string> {
    return Object.fromEntries(governor.backendStates().map(({ name, ready, health: seen }) => [name, seen?.healthy === false ? 'unhealthy' : ready ? 'ready' : 'warming']))
  }
}

function answer(res: ServerResponse, status: number, document: unknown): void {
  const body = Buffer.from(`${JSON.stringify(document)}\n`)
  res.writeHead(status, ['content-type', 'application/json', 'content-length', String(body.length), 'cache-control', 'no-store'])
  res.end(body)
}
