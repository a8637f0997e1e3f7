/** What went wrong on the way, in the catalogue's words. Reasons are bounded: they become labels. */
import { FlyballError } from '../core/errors.ts'

const REFUSED: { readonly [code: string]: string } = {
  ECONNREFUSED: 'connection_refused',
  ENOTFOUND: 'name_not_found',
  EAI_AGAIN: 'name_not_found',
  EHOSTUNREACH: 'no_route',
  ENETUNREACH: 'no_route',
  ETIMEDOUT: 'connect_timeout',
  UND_ERR_CONNECT_TIMEOUT: 'connect_timeout',
}

const RESET = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE', 'ECONNABORTED'])

export const isReset = (error: Error & { code?: string }): boolean => error.code !== undefined && RESET.has(error.code)

export function connectionError(error: Error & { code?: string }, afterHead: boolean): FlyballError {
  if (error instanceof FlyballError) return error
  const code = error.code ?? ''
  if (afterHead) {
    const reason = code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' ? 'content_length_mismatch' : RESET.has(code) ? 'upstream_reset' : 'upstream_invalid'
    return new FlyballError('upstream_invalid', { reason, message: 'The backend broke off its reply.', cause: error })
  }
  if (Object.hasOwn(REFUSED, code)) return new FlyballError('upstream_unreachable', { reason: REFUSED[code] as string, cause: error })
  if (RESET.has(code)) return new FlyballError('upstream_unreachable', { reason: 'upstream_reset', message: 'The backend closed the connection.', cause: error })
  if (code.startsWith('HPE_') || code === 'UND_ERR_HEADERS_OVERFLOW' || error.name === 'HTTPParserError') return new FlyballError('upstream_invalid', { reason: 'bad_http', cause: error })
  return new FlyballError('upstream_unreachable', { reason: 'connection_failed', cause: error })
}
