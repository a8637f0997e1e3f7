/** The mock model server: answers at once, so that what is measured is the way to it. A process of its own. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const TOKENS = 20
const unary = Buffer.from(
  JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion', created: 1, model: 'mock', choices: [{ index: 0, message: { role: 'assistant', content: 'word '.repeat(TOKENS) }, finish_reason: 'stop' }], usage: { prompt_tokens: 9, completion_tokens: TOKENS, total_tokens: 9 + TOKENS } }),
)
const event = (delta: unknown, finish: string | null = null): string => `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'mock', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`
const first = Buffer.from(event({ role: 'assistant', content: '' }))
const word = Buffer.from(event({ content: 'word ' }))
const last = Buffer.from(`${event({}, 'stop')}data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'mock', choices: [], usage: { prompt_tokens: 9, completion_tokens: TOKENS, total_tokens: 9 + TOKENS } })}\n\ndata: [DONE]\n\n`)

const server = createServer((req, res) => {
  const parts: Buffer[] = []
  req.on('data', (part: Buffer) => parts.push(part))
  req.on('end', () => {
    // Only the tail is looked at: parsing 32 KB here would be the mock's cost, not the gateway's.
    const stream = Buffer.concat(parts).subarray(-64).includes('"stream":true')
    if (!stream) {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': unary.length })
      return res.end(unary)
    }
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    res.write(first)
    let sent = 0
    // One write per turn of the loop, as a model server's tokens come.
    const next = (): void => {
      if (sent++ < TOKENS) {
        res.write(word)
        setImmediate(next)
      } else res.end(last)
    }
    setImmediate(next)
    return undefined
  })
})
server.keepAliveTimeout = 120_000
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))
process.on('disconnect', () => process.exit(0))
