/** What one writes without a gateway: Express, undici, pipe. */
import express from 'express'
import { Agent, request } from 'undici'
import { serveCandidate } from '../candidate.ts'

const upstream = process.argv[2] as string
const dispatcher = new Agent({ connections: 512 })
const app = express()
app.disable('x-powered-by')
app.post('/v1/chat/completions', async (req, res, next) => {
  try {
    const parts: Buffer[] = []
    for await (const part of req) parts.push(part as Buffer)
    const abort = new AbortController()
    res.on('close', () => abort.abort())
    const reply = await request(`${upstream}/v1/chat/completions`, { method: 'POST', body: Buffer.concat(parts), headers: { 'content-type': 'application/json' }, dispatcher, signal: abort.signal })
    res.writeHead(reply.statusCode, reply.headers as Record<string, string>)
    reply.body.pipe(res)
  } catch (error) {
    next(error)
  }
})
serveCandidate(app)
