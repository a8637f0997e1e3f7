/** A real model server upstream: our own engine behind its own gateway, reached over HTTP by another. */
import express from 'express'
import OpenAI from 'openai'
import { afterEach, expect } from 'vitest'
import { native } from '../../../../plugins/backends/native/index.ts'
import { openai } from '../../../../plugins/backends/openai/openai.ts'
import { createGovernor, type Backend, type Governor } from '../../../../src/index.ts'
import { dataPath } from '../../../support/data.ts'
import { listen, type Listening } from '../../../support/listen.ts'
import { need } from '../../../support/need.ts'
import { waitFor } from '../../../support/wait-for.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const thing of opened.splice(0)) await thing.close()
})

async function gatewayTo(backend: Backend): Promise<{ governor: Governor; server: Listening; client: OpenAI }> {
  const governor = createGovernor({ backends: [backend] })
  await governor.start()
  const app = express()
  app.use('/v1', governor.gateway())
  const server = await listen(app)
  opened.unshift(server, governor)
  return { governor, server, client: new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'k', maxRetries: 0 }) }
}

need('data').it('serves the same answer through one gateway and through two, and stops when the client leaves', async () => {
  const engine = await gatewayTo(await native({ model: dataPath('models/stories260K-f32.gguf'), modelName: 'stories', engine: 'reference' }))
  const front = await gatewayTo(openai({ name: 'engine', baseUrl: `${engine.server.url}/v1` }))
  const request = { model: 'stories', prompt: 'Once upon a time', max_tokens: 24, temperature: 0 }
  const direct = await engine.client.completions.create(request)
  const through = await front.client.completions.create(request)
  expect(through.choices).toEqual(direct.choices)
  expect(through.usage).toEqual(direct.usage)
  expect(through.usage?.completion_tokens).toBe(24)

  let streamed = ''
  let events = 0
  for await (const chunk of await front.client.completions.create({ ...request, stream: true })) {
    streamed += chunk.choices[0]?.text ?? ''
    events++
  }
  expect(streamed).toBe(direct.choices[0]?.text)
  expect(events).toBeGreaterThan(10)

  const listed: string[] = []
  for await (const { id } of await front.client.models.list()) listed.push(id)
  expect(listed).toContain('stories')

  for await (const _ of await front.client.completions.create({ ...request, max_tokens: 400, stream: true })) break
  await waitFor(() => front.governor.lane('engine').inFlight === 0 && engine.governor.lane('native').inFlight === 0)
})
