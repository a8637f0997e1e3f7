/** The exact bytes of a request body, up to a cap. */
import type { IncomingMessage } from 'node:http'
import { FlyballError } from '../core/errors.ts'

/** Prompts with images are large; `express.json`'s 100 KB would refuse many. */
export const DEFAULT_MAX_BODY_BYTES = 32 * 1024 * 1024

/** Rejects with `request_too_large` past the cap (what follows is discarded), and with `cancelled` when the client leaves. */
export function readBody(req: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (req.readableEnded) return reject(new FlyballError('invalid_request', { message: 'The request body was read by another middleware before it got here.' }))
    const declared = Number(req.headers['content-length'] ?? 0)
    if (declared > maxBytes) {
      req.resume()
      return reject(tooLarge(maxBytes))
    }
    let chunks: Buffer[] = []
    let size = 0
    let full = false
    req.on('data', (chunk: Buffer) => {
      if (full) return
      size += chunk.length
      if (size > maxBytes) {
        full = true
        chunks = []
        reject(tooLarge(maxBytes))
      } else chunks.push(chunk)
    })
    req.on('end', () => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, size)))
    req.on('error', (cause) => reject(new FlyballError('cancelled', { cause })))
    req.on('close', () => { if (!req.readableEnded) reject(new FlyballError('cancelled')) })
  })
}

function tooLarge(maxBytes: number): FlyballError {
  return new FlyballError('request_too_large', { message: `The request body is larger than ${maxBytes} bytes.` })
}
