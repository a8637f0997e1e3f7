/** What `flyball serve` rehearses with before it is ready: it serves, and asks nobody that the configuration names. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { standIn, type StandIn } from '../../src/cli/stand-in.ts'
import { configSchema } from '../../src/config/schema.ts'
import { fakeUpstream } from '../support/fake-upstream.ts'

it('answers in place of the upstream, and asks neither that nor the pages that loops read', async () => {
  const upstream = await fakeUpstream()
  const pages = [{ backend: 'up', url: `${upstream.url}/metrics`, source: 'vllm' }]
  const config = configSchema.parse({ backends: { up: { type: 'openai', baseUrl: `${upstream.url}/v1`, models: ['m'] } }, plugins: [{ outside: { pages } }, 'cache', { throttle: { utilisationSignal: 'outside.gpu_use' } }] })
  const stand = (await standIn(config, 'flyball.config.yaml')) as StandIn
  const [model] = stand.models
  const reply = await fetch(`${stand.url}/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] }) })
  expect(reply.status).toBe(200)
  await reply.arrayBuffer()
  // A page is first scraped within a fifth of a second.
  await sleep(400)
  await stand.close()
  expect(upstream.requests).toEqual([])
  await upstream.close()
})
