/** Our HTTP backends as backends: passing through, and translating for clients of the other protocol. */
import type { ServerResponse } from 'node:http'
import { anthropic } from '../../../plugins/backends/anthropic/anthropic.ts'
import { openai } from '../../../plugins/backends/openai/openai.ts'
import { protocols } from '../../../src/protocols/all.ts'
import { systemClock, type Backend, type Protocol, type ReplyContext } from '../../../src/index.ts'
import { backendConformance, type BackendHarness, type BackendScenario } from '../../conformance/backend.ts'
import { wireCall } from './backend-calls.ts'
import { httpUpstream } from './upstream.ts'

const CONTEXT: ReplyContext = { id: 'r', model: 'm', createdS: 1, includeUsage: true }
const PATHS: Readonly<Record<string, { path: string; operation: string }>> = { openai: { path: '/chat/completions', operation: 'chat' }, anthropic: { path: '/messages', operation: 'messages' } }
const protocolNamed = (name: string): Protocol => protocols.find((protocol) => protocol.name === name) as Protocol

async function harness(backendName: 'openai' | 'anthropic', client: 'openai' | 'anthropic'): Promise<BackendHarness> {
  const spoken = protocolNamed(backendName)
  const { operation } = PATHS[backendName] as { operation: string }
  let busy = 0
  const upstream = await httpUpstream((request, res: ServerResponse) => {
    if (request.path.endsWith('/models')) return void res.writeHead(200, { 'content-type': 'application/json' }).end('{"data":[{"id":"m"}]}')
    busy++
    res.on('close', () => busy--)
    // The scenario travels as the model's name, which every translation keeps.
    const scenario = (JSON.parse(request.body.toString()) as { model: BackendScenario }).model
    const deltas = [{ type: 'text', index: 0, text: 'hello' }, { type: 'text', index: 0, text: ' you' }] as const
    const end = [{ type: 'finish', index: 0, reason: 'stop' }, { type: 'usage', usage: { inputTokens: 3, outputTokens: 2 } }] as const
    const json = (status: number, document: unknown): void => void res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(document))
    if (scenario === 'waits') return
    if (scenario === 'fails') return json(429, spoken.unary(operation, [{ type: 'error', code: 'rate_limited', message: 'slow down', status: 429 }], CONTEXT))
    if (scenario === 'unary') return json(200, spoken.unary(operation, [...deltas, ...end], CONTEXT))
    const writer = spoken.streamWriter(operation, CONTEXT)
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    res.write(writer.push([deltas[0]]))
    if (scenario === 'hangs') return
    setTimeout(() => {
      res.write(writer.push([deltas[1], ...end]))
      res.end(writer.end())
    }, 5)
  })
  const backend: Backend = backendName === 'openai' ? openai({ name: 'o', baseUrl: upstream.url }) : anthropic({ name: 'a', baseUrl: upstream.url })
  const route = PATHS[client] as { path: string; operation: string }
  return {
    backend,
    busy: () => busy,
    failsWith: 429,
    call(scenario) {
      const body = { model: scenario, max_tokens: 10, stream: scenario === 'stream' || scenario === 'hangs', messages: [{ role: 'user', content: 'hi' }] }
      const { wire, input, stream } = wireCall(client, route.path, body, { clock: systemClock })
      return { operation: route.operation, input, stream, ...(wire ? { wire } : {}), canonical: () => protocolNamed(client).toCanonical(route.operation, body) }
    },
    async close() {
      await backend.close()
      await upstream.close()
    },
  }
}

backendConformance('openai, passing through', () => harness('openai', 'openai'))
backendConformance('openai, for Anthropic\'s clients', () => harness('openai', 'anthropic'))
backendConformance('anthropic, passing through', () => harness('anthropic', 'anthropic'))
backendConformance('anthropic, for OpenAI\'s clients', () => harness('anthropic', 'openai'))
