/** Errors in Anthropic's shape: `{ type: 'error', error: { type, message } }`. */
import type { FlyballError } from '../../core/errors.ts'
import type { Delta } from '../../core/reply.ts'
import { isObject, stringOf } from '../shared/json-value.ts'

export interface AnthropicError {
  readonly type: 'error'
  readonly error: { readonly type: string; readonly message: string }
}

const TYPES: { readonly [status: number]: string } = {
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  409: 'conflict_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
  504: 'timeout_error',
  529: 'overloaded_error',
}

const STATUSES: { readonly [type: string]: number } = {
  invalid_request_error: 400,
  authentication_error: 401,
  billing_error: 402,
  permission_error: 403,
  not_found_error: 404,
  conflict_error: 409,
  request_too_large: 413,
  rate_limit_error: 429,
  api_error: 500,
  timeout_error: 504,
  overloaded_error: 529,
}

const typeOf = (status: number): string => TYPES[status] ?? (status >= 500 ? 'api_error' : 'invalid_request_error')
const shape = (type: string, message: string): AnthropicError => ({ type: 'error', error: { type, message } })

/** The field at fault is not in this protocol's shape, so the message names it. */
export function anthropicError(error: FlyballError): AnthropicError {
  const { param, message } = error
  return shape(typeOf(error.status), param === undefined || message.includes(param) ? message : `${param}: ${message}`)
}

export type ErrorDelta = Extract<Delta, { type: 'error' }>

export const anthropicErrorOf = (delta: ErrorDelta): AnthropicError => shape(Object.hasOwn(STATUSES, delta.code) ? delta.code : typeOf(delta.status ?? 500), delta.message)

/** The error that a document or an event is; undefined when it is none. */
export function readError(document: unknown): ErrorDelta | undefined {
  if (!isObject(document) || document['type'] !== 'error') return undefined
  const error = isObject(document['error']) ? document['error'] : {}
  const code = stringOf(error['type']) ?? 'api_error'
  return { type: 'error', code, message: stringOf(error['message']) ?? 'The backend reported an error.', status: Object.hasOwn(STATUSES, code) ? (STATUSES[code] as number) : 500 }
}
