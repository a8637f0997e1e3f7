/** Bodies as the world sends them: each a 4xx in the protocol's own shape, never a crash, never a stack trace. */
import { connect } from 'node:net'
import express from 'express'
import { describe, expect, it } from 'vitest'
import { fakeChat } from '../support/fake-chat.ts'
import { httpBench, question } from '../support/http-bench.ts'

interface OpenAiError {
  error: { message: string; type: string; code: string; param: string | null }
}

const good = JSON.stringify(question)

describe('bodies', () => {
  it.each([
    ['malformed', '{"model":', 400, 'invalid_request'],
    ['empty', '', 400, 'invalid_request'],
    ['not an object', '[1,2]', 400, 'invalid_request'],
    ['deep', `${good.slice(0, -1)},"unknown":${'['.repeat(5_000)}${']'.repeat(5_000)}}`, 400, 'invalid_request'],
    ['wrong types', '{"model":5,"messages":"hi"}', 400, 'invalid_request'],
    ['no model', '{"messages":[{"role":"user","content":"hi"}]}', 400, 'invalid_request'],
    ['the same key twice', `{"model":"other",${good.slice(1)}`, 400, 'invalid_request'],
    ['a prototype key', '{"model":"fake-model","messages":[{"role":"user","content":"hi","__proto__":{"x":1}}]}', 400, 'invalid_request'],
    ['not UTF-8', Buffer.concat([Buffer.from('{"model":"fake-model","messages":[{"role":"user","content":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}]}')]), 400, 'invalid_request'],
  ])('%s', async (_name, body, status, code) => {
    const backend = fakeChat()
    const bench = await httpBench({ backends: [backend] })
    const reply = await bench.post('/v1/chat/completions', body)
    const text = await reply.text()
    expect(reply.status).toBe(status)
    expect(reply.headers.get('content-type')).toBe('application/json')
    expect((JSON.parse(text) as OpenAiError).error).toMatchObject({ code, type: 'invalid_request_error' })
    expect(text).not.toMatch(/\bat \S+:\d+|node_modules|\.ts\b/)
    expect(backend.seen).toHaveLength(0)
    expect(({} as { x?: number }).x).toBeUndefined()
    // It still serves.
    expect((await bench.post('/v1/chat/completions', good)).status).toBe(200)
  })

  it.each([
    ['another charset', { 'content-type': 'application/json; charset=utf-16' }],
    ['another type', { 'content-type': 'text/plain' }],
    ['compression', { 'content-type': 'application/json', 'content-encoding': 'gzip' }],
  ])('%s is a 415', async (_name, headers) => {
    const bench = await httpBench({ backends: [fakeChat()] })
    const reply = await bench.post('/v1/chat/completions', good, headers)
    expect(reply.status).toBe(415)
    expect(((await reply.json()) as OpenAiError).error.code).toBe('unsupported_media_type')
  })

  it.each([['application/json; charset=UTF-8'], ['application/json;charset="utf-8"'], ['application/vnd.api+json']])('%s is fine', async (type) => {
    const bench = await httpBench({ backends: [fakeChat()] })
    expect((await bench.post('/v1/chat/completions', good, { 'content-type': type })).status).toBe(200)
  })

  it('a body past the cap is a 413, told beforehand or not', async () => {
    const bench = await httpBench({ backends: [fakeChat()], gateway: { maxBodyBytes: 1_000 } })
    const large = JSON.stringify({ ...question, messages: [{ role: 'user', content: 'x'.repeat(5_000) }] })
    const told = await bench.post('/v1/chat/completions', large)
    expect(told.status).toBe(413)
    expect(((await told.json()) as OpenAiError).error.code).toBe('request_too_large')
    // Chunked: nobody says how much is coming.
    const stream = new ReadableStream({
      start(controller) {
        for (let i = 0; i < 50; i++) controller.enqueue(Buffer.from(large))
        controller.close()
      },
    })
    const untold = await fetch(`${bench.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: stream, duplex: 'half' } as RequestInit).catch(() => undefined)
    if (untold) expect(untold.status).toBe(413)
    expect((await bench.post('/v1/chat/completions', good)).status).toBe(200)
  })

  it('takes a body that express.json has read, and says when somebody else consumed it', async () => {
    const backend = fakeChat()
    const bench = await httpBench({ backends: [backend], before: (app) => app.use('/v1', express.json()) })
    expect((await bench.post('/v1/chat/completions', good)).status).toBe(200)
    expect(backend.seen[0]?.wire?.bytes).toBeUndefined()
    expect((await bench.post('/v1/chat/completions', '{"model":"fake-model","messages":[],"a":{"__proto__":{"x":1}}}')).status).toBe(400)

    const eaten = await httpBench({ backends: [fakeChat()], before: (app) => app.use('/v1', (req, _res, next) => void req.resume().on('end', next)) })
    const reply = await eaten.post('/v1/chat/completions', good)
    expect(reply.status).toBe(400)
    expect(((await reply.json()) as OpenAiError).error.message).toMatch(/another middleware/)
  })

  it('keeps the exact bytes for a backend of the same protocol', async () => {
    const backend = fakeChat()
    const bench = await httpBench({ backends: [backend] })
    const body = '{ "model" : "fake-model",\n "messages":[{"role":"user","content":"h\\u00e9"}], "unknown_field": 1.0 }'
    expect((await bench.post('/v1/chat/completions', body)).status).toBe(200)
    expect(Buffer.from(backend.seen[0]?.wire?.bytes as Uint8Array).toString()).toBe(body)
  })

  it('a client that leaves in the middle of its upload is no call and no error', async () => {
    const bench = await httpBench({ backends: [fakeChat()] })
    const socket = connect(bench.server.port, '127.0.0.1')
    socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"model":`)
    await new Promise((resolve) => setTimeout(resolve, 50))
    socket.destroy()
    expect((await bench.post('/v1/chat/completions', good)).status).toBe(200)
    expect(await bench.metrics()).not.toMatch(/flyball_calls_total\{[^}]*outcome="(error|cancelled)"/)
  })
})

describe('addresses', () => {
  it('answers unknown ones in the protocol’s shape', async () => {
    const bench = await httpBench({ backends: [fakeChat()] })
    const unknown = await bench.post('/v1/nonsense', {})
    expect(unknown.status).toBe(404)
    expect(((await unknown.json()) as OpenAiError).error).toMatchObject({ code: 'not_found', type: 'invalid_request_error' })
    const wrongMethod = await fetch(`${bench.url}/v1/chat/completions`)
    expect(wrongMethod.status).toBe(405)
    expect(((await wrongMethod.json()) as OpenAiError).error.code).toBe('method_not_allowed')
  })

  it('passes unknown ones on when configured so', async () => {
    const bench = await httpBench({
      backends: [fakeChat()],
      gateway: { unknownRoutes: 'next' },
      after: (app) => app.post('/v1/nonsense', (_req, res) => void res.json({ mine: true })),
    })
    expect(await (await bench.post('/v1/nonsense', {})).json()).toEqual({ mine: true })
    expect((await bench.post('/v1/chat/completions', good)).status).toBe(200)
  })

  it('keeps wrapped functions to themselves', async () => {
    const bench = await httpBench({ backends: [fakeChat()], before: (_app, governor) => void governor.wrap('secret-function', () => 1) })
    expect((await bench.post('/v1/chat/completions', { ...question, model: 'secret-function' })).status).toBe(404)
    const listed = (await (await fetch(`${bench.url}/v1/models`)).json()) as { data: { id: string }[] }
    expect(listed.data.map(({ id }) => id)).toEqual(['fake-model'])
  })
})
