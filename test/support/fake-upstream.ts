/** An OpenAI-compatible server on a real socket, as slow, broken or watchful as a test wants. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { listen, type Listening } from './listen.ts'

export interface FakeUpstream extends Listening {
  /** Requests in order: path, headers and body. */
  readonly requests: { path: string; headers: IncomingMessage['headers']; body: string }[]
  /** When a connection was closed before its reply was complete, monotonic ms. */
  readonly cutAtMs: number[]
  open: number
}

export interface FakeUpstreamOptions {
  /** Before the head, ms. */
  headMs?: number
  /** Before each event, ms. */
  gapMs?: number
  words?: readonly string[]
  /** Instead of an ordinary answer. */
  answer?: (req: IncomingMessage, res: ServerResponse, body: string) => void | boolean
}

export const UNARY = '{"id":"chatcmpl-up","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there."},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}, "odd" : 1.0}'

export async function fakeUpstream(options: FakeUpstreamOptions = {}): Promise<FakeUpstream> {
  const requests: FakeUpstream['requests'] = []
  const cutAtMs: number[] = []
  const words = options.words ?? ['Hello', ' there', '.']
  const pause = (ms: number | undefined): Promise<void> => (ms ? new Promise((resolve) => setTimeout(resolve, ms)) : Promise.resolve())

  async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    let body = ''
    for await (const piece of req) body += String(piece)
    requests.push({ path: req.url ?? '', headers: req.headers, body })
    if (req.url?.endsWith('/models')) return void res.writeHead(200, { 'content-type': 'application/json' }).end('{"object":"list","data":[{"id":"m","object":"model"}]}')
    upstream.open++
    res.on('close', () => {
      upstream.open--
      if (!res.writableFinished) cutAtMs.push(performance.now())
    })
    if (options.answer?.(req, res, body) === true) return
    await pause(options.headMs)
    const asked = JSON.parse(body) as { stream?: boolean; stream_options?: { include_usage?: boolean } }
    if (!asked.stream) return void res.writeHead(200, { 'content-type': 'application/json', 'x-upstream': 'yes' }).end(UNARY)
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const word of words) {
      await pause(options.gapMs)
      if (res.destroyed) return
      res.write(`data: {"id":"up","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":${JSON.stringify(word)}},"finish_reason":null}]}\n\n`)
    }
    res.write('data: {"id":"up","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
    if (asked.stream_options?.include_usage) res.write('data: {"id":"up","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n')
    res.end('data: [DONE]\n\n')
  }

  const server = await listen((req, res) => void serve(req, res).catch(() => res.destroy()))
  const upstream: FakeUpstream = { ...server, requests, cutAtMs, open: 0 }
  return upstream
}
