/** A request's JSON body: checked, parsed, and the exact bytes where we read them ourselves. */
import { isUtf8 } from 'node:buffer'
import { FlyballError } from '../core/errors.ts'
import type { EdgeRequest } from './http-types.ts'
import { guardJsonText, guardJsonValue } from './json-guard.ts'
import { readBody } from './read-body.ts'

export interface JsonBody {
  readonly value: unknown
  /** Absent when a body parser before us consumed them. */
  readonly bytes?: Uint8Array
}

export interface JsonBodyLimits {
  readonly maxBytes: number
  readonly maxDepth: number
}

/** Accepts a body that `express.json`, `express.raw` or `express.text` has read; else reads the stream. Throws 4xx errors. */
export async function jsonBody(req: EdgeRequest, limits: JsonBodyLimits): Promise<JsonBody> {
  const parsed = req.body
  if (parsed !== undefined && !(parsed instanceof Uint8Array) && typeof parsed !== 'string') {
    guardJsonValue(parsed, limits.maxDepth)
    return { value: parsed }
  }
  refuseOtherMedia(req)
  const bytes = parsed === undefined ? await readBody(req, limits.maxBytes) : typeof parsed === 'string' ? Buffer.from(parsed) : Buffer.from(parsed.buffer, parsed.byteOffset, parsed.byteLength)
  if (bytes.length > limits.maxBytes) throw new FlyballError('request_too_large')
  if (bytes.length === 0) throw new FlyballError('invalid_request', { message: 'The request has no body.' })
  if (!isUtf8(bytes)) throw new FlyballError('invalid_request', { message: 'The body is not valid UTF-8.' })
  const text = bytes.toString('utf8')
  guardJsonText(text, limits.maxDepth)
  try {
    return { value: JSON.parse(text), bytes }
  } catch {
    // The parser's own message quotes the body.
    throw new FlyballError('invalid_request', { message: 'The body is not valid JSON.' })
  }
}

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json$/i

function refuseOtherMedia(req: EdgeRequest): void {
  const encoding = req.headers['content-encoding']
  if (encoding !== undefined && encoding !== 'identity') throw new FlyballError('unsupported_media_type', { message: 'Compressed request bodies are not accepted.' })
  const type = req.headers['content-type']
  if (type === 'application/json') return
  // A web page may send a body of no type, or a form's, to any address without asking first; JSON it may not.
  if (type === undefined) throw new FlyballError('unsupported_media_type', { message: 'The body must say that it is JSON: content-type application/json.' })
  const [media = '', ...parameters] = type.split(';')
  if (!JSON_TYPE.test(media.trim())) throw new FlyballError('unsupported_media_type')
  for (const parameter of parameters) {
    const [name = '', value = ''] = parameter.split('=')
    if (name.trim().toLowerCase() === 'charset' && !/^"?(?:utf-?8|us-ascii)"?$/i.test(value.trim())) throw new FlyballError('unsupported_media_type')
  }
}
