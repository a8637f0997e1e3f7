/** Errors in OpenAI's shape: `{ error: { message, type, param, code } }`. */
import type { FlyballError } from '../../core/errors.ts'
import type { Delta } from '../../core/reply.ts'
import { isObject, numberOf, stringOf } from '../shared/json-value.ts'

export interface OpenAiError {
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string | null }
}

function typeOf(status: number): string {
  switch (status) {
    case 401:
      return 'authentication_error'
    case 403:
      return 'permission_error'
    case 429:
      return 'rate_limit_error'
    case 503:
      return 'service_unavailable_error'
  }
  return status >= 500 ? 'server_error' : 'invalid_request_error'
}

export const openAiError = (error: FlyballError): OpenAiError => ({ error: { message: error.message, type: typeOf(error.status), param: error.param ?? null, code: error.code } })

export type ErrorDelta = Extract<Delta, { type: 'error' }>

/** An error that came from a backend, perhaps in another protocol. */
export const openAiErrorOf = (delta: ErrorDelta): OpenAiError => ({ error: { message: delta.message, type: typeOf(delta.status ?? 500), param: null, code: delta.code } })

/** The error inside a document or an event; undefined when there is none. */
export function readError(document: unknown): ErrorDelta | undefined {
  if (!isObject(document)) return undefined
  const { error } = document
  // vLLM before 0.10 and TGI put the error's fields at the top or a bare text under `error`.
  if (typeof error === 'string' && error !== '') return { type: 'error', code: stringOf(document['error_type']) ?? 'error', message: error }
  if (document['object'] === 'error') return errorFrom(document)
  if (isObject(error)) return errorFrom(error)
  // The web framework's own words under vLLM and others: an address that it does not have.
  const detail = stringOf(document['detail'])
  return detail === undefined || document['choices'] !== undefined ? undefined : { type: 'error', code: 'error', message: detail }
}

function errorFrom(error: { readonly [key: string]: unknown }): ErrorDelta {
  const status = numberOf(error['code']) ?? numberOf(error['status']) ?? numberOf(error['status_code'])
  const code = stringOf(error['code']) ?? stringOf(error['type']) ?? 'error'
  const known = status !== undefined && Number.isInteger(status) && status >= 400 && status <= 599
  return { type: 'error', code, message: stringOf(error['message']) ?? 'The backend reported an error.', ...(known ? { status } : {}) }
}
