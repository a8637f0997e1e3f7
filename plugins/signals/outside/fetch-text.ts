/** One GET, bounded in time and bytes. Redirects are not followed: a page is where the configuration says, nowhere else. */
import { request } from 'undici'
import type { Clock } from '../../../src/index.ts'
import type { Failure } from './declares.ts'

export interface FetchTextOptions {
  readonly headers: Readonly<Record<string, string>>
  readonly maxBytes: number
  readonly signal: AbortSignal
}

/** Throws a `ScrapeError`. Options of the plugin may name another, for tests and for other transports. */
export type FetchText = (url: string, options: FetchTextOptions) => Promise<string>

export class ScrapeError extends Error {
  readonly failure: Failure

  constructor(failure: Failure) {
    super(failure)
    this.failure = failure
  }
}

export const fetchText: FetchText = async (url, { headers, maxBytes, signal }) => {
  // Our clock says when it has taken too long, not undici's.
  const reply = await request(url, { headers: { accept: 'text/plain;version=0.0.4, application/json;q=0.9, */*;q=0.1', ...headers }, signal, headersTimeout: 0, bodyTimeout: 0 })
  if (reply.statusCode !== 200) {
    reply.body.on('error', () => {}).destroy() // destroying it is an error to the stream itself
    throw new ScrapeError('status')
  }
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of reply.body as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxBytes) throw new ScrapeError('too_large') // leaving the loop destroys the body
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Gives up after `timeoutMs` of the injected clock, or when `stop` aborts, even if `fetch` ignores its signal. */
export async function withTimeout<T>(clock: Clock, timeoutMs: number, stop: AbortSignal, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const giveUp = new AbortController()
  const onStop = (): void => giveUp.abort(new ScrapeError('connection'))
  const cancel = clock.after(timeoutMs, () => giveUp.abort(new ScrapeError('timeout')))
  stop.addEventListener('abort', onStop, { once: true })
  if (stop.aborted) onStop()
  try {
    const gaveUp = new Promise<never>((_resolve, reject) => giveUp.signal.addEventListener('abort', () => reject(giveUp.signal.reason as Error), { once: true }))
    gaveUp.catch(() => {})
    return await Promise.race([run(giveUp.signal), gaveUp])
  } catch (thrown) {
    if (giveUp.signal.aborted) throw giveUp.signal.reason
    throw thrown instanceof ScrapeError ? thrown : new ScrapeError('connection')
  } finally {
    cancel()
    stop.removeEventListener('abort', onStop)
  }
}
