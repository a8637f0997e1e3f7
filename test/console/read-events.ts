/** The first events of a stream. */
import { createParser } from 'eventsource-parser'

export async function readEvents(url: string, count: number): Promise<{ event: string; data: unknown }[]> {
  const found: { event: string; data: unknown }[] = []
  const parser = createParser({ onEvent: ({ event, data }) => void found.push({ event: event ?? 'message', data: JSON.parse(data) as unknown }) })
  const abort = new AbortController()
  const reply = await fetch(url, { signal: abort.signal })
  const decoder = new TextDecoder()
  for await (const chunk of reply.body as unknown as AsyncIterable<Uint8Array>) {
    parser.feed(decoder.decode(chunk, { stream: true }))
    if (found.length >= count) break
  }
  abort.abort()
  return found.slice(0, count)
}
