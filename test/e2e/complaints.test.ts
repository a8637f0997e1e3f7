/** What users of gateways complain about, as far as no other test says it: each once went wrong in one that people use. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { cache, openai } from '../../plugins/builtin.ts'
import { httpUpstream } from '../plugins/backends/upstream.ts'
import { fakeChat } from '../support/fake-chat.ts'
import { httpBench, question } from '../support/http-bench.ts'

const chat = '/v1/chat/completions'

it('an explicit `stream: false`, keys in another order and fields that change nothing find the same entry', async () => {
  const backend = fakeChat()
  const bench = await httpBench({ backends: [backend], governor: { plugins: [cache({ shadowRate: 0 })] } })
  const { model, messages } = question
  const outcomes: (string | null)[] = []
  for (const body of [{ model, messages, temperature: 0 }, { temperature: 0, messages, model, stream: false }, { messages, model, temperature: 0, user: 'u', metadata: { a: 'b' } }, { model, messages, temperature: 0, max_tokens: 5 }]) {
    const reply = await bench.post(chat, body)
    await reply.text()
    outcomes.push(reply.headers.get('x-flyball-cache'))
  }
  expect(outcomes).toEqual(['miss', 'hit', 'hit', 'miss'])
})

it('a stream is not cut short because the garbage collector came by', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const EVENTS = 12
  const upstream = await httpUpstream((_, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    let sent = 0
    const next = (): void => {
      if (sent++ === EVENTS) return void res.end('data: [DONE]\n\n')
      res.write(`data: {"choices":[{"index":0,"delta":{"content":"${sent} "},"finish_reason":${sent === EVENTS ? '"stop"' : 'null'}}]}\n\n`)
      collect()
      setTimeout(next, 2)
    }
    next()
  })
  const bench = await httpBench({ backends: [openai({ name: 'up', baseUrl: `${upstream.url}/v1`, models: ['fake-model'] })] })
  const texts = await Promise.all(Array.from({ length: 4 }, async () => (await bench.post(chat, { ...question, stream: true })).text()))
  for (const text of texts) {
    expect(text.match(/"content"/g)).toHaveLength(EVENTS)
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
  }
  await upstream.close()
})
