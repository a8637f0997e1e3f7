/** Checks a parsed body against a schema; the first finding names its field in `param`. */
import type { ZodType } from 'zod'
import { FlyballError } from '../../core/errors.ts'
import { describeIssues, issuePath } from '../../core/validation.ts'

export function checkBody<T>(schema: ZodType<T>, body: unknown): T {
  // `reportInput` costs on failure only, and lets the message say what came instead.
  const result = schema.safeParse(body, { reportInput: true })
  if (result.success) return result.data
  const path = issuePath(result.error.issues[0]?.path ?? [])
  throw new FlyballError('invalid_request', { message: `Invalid request: ${describeIssues(result.error)}.`, ...(path === '' ? {} : { param: path }) })
}

export const unsupported = (param: string, why: string): FlyballError => new FlyballError('unsupported_field', { param, message: `${param} cannot be carried to this backend: ${why}.` })
export const invalid = (param: string, message: string): FlyballError => new FlyballError('invalid_request', { param, message: `Invalid request: ${message} at ${param}.` })
