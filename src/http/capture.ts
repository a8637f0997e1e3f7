/**
 * A handler's response, caught before it leaves: what a cache needs to keep it. Only responses that may be cached are
 * caught; everything else goes straight out, untouched.
 */
import type { ServerResponse } from 'node:http'
import type { Chunk, Reply } from '../core/reply.ts'
import { CaptureBuffer } from './capture-buffer.ts'
import type { Sink } from './write-raw.ts'

/** Replies of handlers are in no wire protocol of ours. */
export const HTTP = 'http'

export class Capture {
  /** Resolves when the handler has decided on status and headers. */
  readonly head: Promise<Reply>
  /** The response as it was before: the way out for the real bytes. */
  readonly sink: Sink
  /** The real head is out. */
  sent = false
  readonly #res: ServerResponse
  readonly #buffer: CaptureBuffer
  readonly #restore: () => void
  #headed = false
  #resolveHead: (reply: Reply) => void = () => {}

  constructor(res: ServerResponse) {
    this.#res = res
    this.#buffer = new CaptureBuffer(() => void res.emit('drain'))
    this.head = new Promise((resolve) => (this.#resolveHead = resolve))
    // Whatever stood there before us (compression, say) is on the way out.
    const { writeHead, flushHeaders, write, end } = res
    this.sink = {
      writeHead: (status, headers) => {
        this.sent = true
        return writeHead.call(res, status, headers)
      },
      flushHeaders: () => flushHeaders.call(res),
      write: (bytes) => write.call(res, bytes, 'utf8'),
      end: (bytes) => (end as (this: ServerResponse, chunk?: unknown) => unknown).call(res, bytes),
    }
    // A variable, and `Object.assign` below: see `LiveCall` on functions written straight into a property.
    const restore = (): void => {
      Object.assign(res, { writeHead, flushHeaders, write, end })
      Reflect.deleteProperty(res, 'headersSent')
    }
    this.#restore = restore
    this.#take()
  }

  /** Gives the response back to whoever writes errors. */
  restore(): void {
    this.drop()
    this.#restore()
  }

  /** Nobody wants it any more: what the handler still writes goes nowhere. */
  drop(): void {
    this.#buffer.drop()
  }

  #take(): void {
    const res = this.#res
    const writeHead = (status: number, ...rest: unknown[]): ServerResponse => {
      res.statusCode = status
      this.#setHeaders(rest.at(-1))
      this.#sendHead(false)
      return res
    }
    const flushHeaders = (): void => this.#sendHead(false)
    const write = (chunk: unknown, encoding?: unknown, done?: unknown): boolean => {
      this.#sendHead(false)
      const room = this.#buffer.push(bytesOf(chunk, encoding))
      callLater(done ?? encoding)
      return room
    }
    const end = (chunk?: unknown, encoding?: unknown, done?: unknown): ServerResponse => {
      const last = chunk === undefined || chunk === null || typeof chunk === 'function' ? undefined : bytesOf(chunk, encoding)
      this.#sendHead(true)
      if (last) this.#buffer.push(last)
      this.#buffer.end()
      const callback = [chunk, encoding, done].find((argument) => typeof argument === 'function')
      if (callback) res.once('finish', callback as () => void)
      return res
    }
    Object.assign(res, { writeHead, flushHeaders, write, end })
    Object.defineProperty(res, 'headersSent', { configurable: true, get: () => this.#headed })
  }

  #setHeaders(headers: unknown): void {
    if (Array.isArray(headers)) {
      for (let i = 0; i + 1 < headers.length; i += 2) this.#res.removeHeader(String(headers[i]))
      for (let i = 0; i + 1 < headers.length; i += 2) this.#res.appendHeader(String(headers[i]), headers[i + 1] as string)
    } else if (typeof headers === 'object' && headers !== null) {
      for (const [name, value] of Object.entries(headers)) if (value !== undefined) this.#res.setHeader(name, value as string)
    }
  }

  /** `whole`: the body is complete with this call, so it is one document and not a stream. */
  #sendHead(whole: boolean): void {
    if (this.#headed) return
    this.#headed = true
    const rawHeaders: string[] = []
    for (const name of this.#res.getHeaderNames()) {
      const value = this.#res.getHeader(name)
      for (const one of Array.isArray(value) ? value : [value]) rawHeaders.push(name, String(one))
    }
    const buffer = this.#buffer
    this.#resolveHead({
      status: this.#res.statusCode,
      rawHeaders,
      protocol: HTTP,
      stream: !whole && this.#res.getHeader('content-length') === undefined,
      body: { [Symbol.asyncIterator]: (): AsyncIterator<Chunk> => buffer },
      cancel: () => buffer.drop(),
    })
  }
}

function bytesOf(chunk: unknown, encoding: unknown): Uint8Array {
  // A handler may use its buffer again; a cache may keep what it gets.
  if (chunk instanceof Uint8Array) return Uint8Array.from(chunk)
  return Buffer.from(String(chunk), typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8')
}

function callLater(callback: unknown): void {
  if (typeof callback === 'function') queueMicrotask(callback as () => void)
}
