/** Probes and the admin API. */
import { request } from 'node:http'
import { describe, expect, it } from 'vitest'
import { createGovernor, knob, definePlugin } from '../../src/index.ts'
import { isLocal } from '../../src/http/loopback.ts'
import { z } from 'zod'
import express from 'express'
import { fakeChat } from '../support/fake-chat.ts'
import { makeGate } from '../support/gate.ts'
import { httpBench } from '../support/http-bench.ts'
import { listen } from '../support/listen.ts'

const speed = knob({ name: 'test.speed', default: 5, min: 1, max: 10, unit: '1', doc: 'Something to turn.', scope: ['class'] })
const turnable = definePlugin({
  name: 'test',
  phase: 'observe',
  doc: 'Has a knob.',
  options: z.strictObject({}),
  declares: { knobs: { speed } },
  create(host) {
    host.knobs.speed.for({ class: 'batch' })
    return {}
  },
})

describe('probes', () => {
  it('say starting, ready and draining', async () => {
    const { gate, open } = makeGate()
    const governor = createGovernor({ backends: [{ ...fakeChat(), warm: () => gate }] })
    const app = express().use(governor.health())
    const server = await listen(app)
    const probe = async (path: string): Promise<number> => (await fetch(`${server.url}${path}`)).status
    expect([await probe('/livez'), await probe('/startupz'), await probe('/readyz')]).toEqual([200, 503, 503])
    const started = governor.start()
    expect(await probe('/readyz')).toBe(503)
    open()
    await started
    expect([await probe('/startupz'), await probe('/readyz')]).toEqual([200, 200])
    await governor.drain()
    expect([await probe('/livez'), await probe('/startupz'), await probe('/readyz')]).toEqual([200, 200, 503])
    expect(await probe('/elsewhere')).toBe(404)
    await governor.close()
    await server.close()
  })
})

describe('who may use the admin API', () => {
  const from = (remoteAddress: string, headers: Record<string, string>): boolean => isLocal({ socket: { remoteAddress }, headers: { host: 'localhost:8080', ...headers } } as never)

  it.each([
    ['this machine', '127.0.0.1', {}, true],
    ['this machine, over IPv6', '::1', { host: '[::1]:8080' }, true],
    ['this machine, mapped', '::ffff:127.0.0.1', { host: '127.0.0.1' }, true],
    ['another machine', '10.0.0.5', {}, false],
    ['somebody behind a proxy on this machine', '127.0.0.1', { 'x-forwarded-for': '10.0.0.5' }, false],
    ['the same with the standard header', '127.0.0.1', { forwarded: 'for=10.0.0.5' }, false],
    ['a page that rebinds its name', '127.0.0.1', { host: 'evil.example' }, false],
    ['a name that only begins like ours', '127.0.0.1', { host: 'localhost.evil.example' }, false],
    ['another site’s script', '127.0.0.1', { origin: 'https://evil.example' }, false],
    ['a local page', '127.0.0.1', { origin: 'http://localhost:3000' }, true],
  ])('%s', (_name, address, headers, allowed) => {
    expect(from(address, headers as Record<string, string>)).toBe(allowed)
  })

  it('refuses what came through a proxy, on the wire', async () => {
    const bench = await httpBench({ backends: [fakeChat()] })
    expect((await fetch(`${bench.url}/admin/state`, { headers: { 'x-forwarded-for': '1.2.3.4' } })).status).toBe(403)
    const rebound = await new Promise<number | undefined>((resolve) => request(`${bench.url}/admin/state`, { headers: { host: 'evil.example' } }, (res) => resolve(res.resume().statusCode)).end())
    expect(rebound).toBe(403)
    expect((await fetch(`${bench.url}/admin/state`)).status).toBe(200)
  })

  it('leaves it to a hook where there is one', async () => {
    const governor = createGovernor({ backends: [fakeChat()] })
    const app = express().use('/admin', governor.admin({ authorize: (req) => req.headers.authorization === 'Bearer let-me-in' }))
    const server = await listen(app)
    expect((await fetch(`${server.url}/admin/state`)).status).toBe(403)
    expect((await fetch(`${server.url}/admin/state`, { headers: { authorization: 'Bearer let-me-in', 'x-forwarded-for': '1.2.3.4' } })).status).toBe(200)
    await governor.close()
    await server.close()
  })
})

describe('the admin API', () => {
  const json = { 'content-type': 'application/json' }

  it('pins a knob for a while, shows the pin, and unpins it', async () => {
    const { url, governor } = await httpBench({ backends: [fakeChat()], governor: { plugins: [turnable()] } })
    const pin = (body: unknown): Promise<Response> => fetch(`${url}/admin/knobs/test.speed/pin`, { method: 'PUT', headers: json, body: JSON.stringify(body) })
    const put = await pin({ value: 7, scope: { class: 'batch' }, forMs: 60_000 })
    expect(put.status).toBe(200)
    expect(await put.json()).toMatchObject({ name: 'test.speed', instances: [{ key: 'class=batch', value: 7, layer: 'pin', pin: { value: 7, expiresAt: expect.stringMatching(/^\d{4}-/) as string } }] })
    expect(governor.knobs.get('test.speed').for({ class: 'batch' }).value).toBe(7)
    expect((await fetch(`${url}/admin/knobs/test.speed/pin?class=batch`, { method: 'DELETE' })).status).toBe(200)
    expect(governor.knobs.get('test.speed').for({ class: 'batch' })).toMatchObject({ value: 5, layer: 'start' })
    expect((await fetch(`${url}/admin/knobs/test.speed/pin?class=batch`, { method: 'DELETE' })).status).toBe(404)
    expect((await pin({ value: 7, forMs: 20, scope: { class: 'batch' } })).status).toBe(200)
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect(governor.knobs.get('test.speed').for({ class: 'batch' }).value).toBe(5)
  })

  it('says what is wrong with a request', async () => {
    const { url } = await httpBench({ backends: [fakeChat()], governor: { plugins: [turnable()] } })
    const pin = async (body: unknown, name = 'test.speed'): Promise<[number, string]> => {
      const reply = await fetch(`${url}/admin/knobs/${name}/pin`, { method: 'PUT', headers: json, body: JSON.stringify(body) })
      return [reply.status, ((await reply.json()) as { error: { message: string } }).error.message]
    }
    expect(await pin({ value: 11 })).toEqual([400, 'test.speed: expected a number in 1..10, got 11'])
    expect(await pin({ value: 'high' })).toEqual([400, expect.stringMatching(/expected number, got string at value/)])
    expect(await pin({ value: 5, colour: 'red' })).toEqual([400, expect.stringMatching(/unknown key "colour"/)])
    expect(await pin({ value: 5 }, 'no.such')).toEqual([404, 'There is no such knob.'])
    expect((await fetch(`${url}/admin/nothing`)).status).toBe(404)
    expect((await fetch(`${url}/admin/state`, { method: 'POST' })).status).toBe(405)
    expect((await fetch(`${url}/admin/decisions?limit=0`)).status).toBe(400)
    // A form of a web page cannot send JSON.
    expect((await fetch(`${url}/admin/knobs/test.speed/pin`, { method: 'PUT', headers: { 'content-type': 'text/plain' }, body: '{"value":5}' })).status).toBe(415)
  })

  it('only looks when it is read-only', async () => {
    const governor = createGovernor({ backends: [fakeChat()], plugins: [turnable()] })
    const server = await listen(express().use('/admin', governor.admin({ readOnly: true })))
    expect((await fetch(`${server.url}/admin/knobs`)).status).toBe(200)
    expect((await fetch(`${server.url}/admin/knobs/test.speed/pin`, { method: 'PUT', headers: json, body: '{"value":5}' })).status).toBe(404)
    expect((await fetch(`${server.url}/admin/drain`, { method: 'POST' })).status).toBe(404)
    expect(governor.draining).toBe(false)
    await governor.close()
    await server.close()
  })

  it('drains', async () => {
    const { url, governor } = await httpBench({ backends: [fakeChat()] })
    expect(await (await fetch(`${url}/admin/drain`, { method: 'POST' })).json()).toEqual({ draining: true })
    expect(governor.draining).toBe(true)
  })

  it('describes itself: every endpoint, with its parameters and bodies', async () => {
    const { url } = await httpBench({ backends: [fakeChat()] })
    const document = (await (await fetch(`${url}/admin/openapi.json`)).json()) as { openapi: string; paths: Record<string, Record<string, { parameters?: { name: string; in: string }[]; requestBody?: object }>> }
    expect(document.openapi).toBe('3.1.0')
    expect(Object.keys(document.paths)).toEqual(['/admin/state', '/admin/decisions', '/admin/knobs', '/admin/knobs/{name}', '/admin/knobs/{name}/pin', '/admin/commands', '/admin/commands/{name}', '/admin/drain'])
    expect(document.paths['/admin/knobs/{name}/pin']?.['put']).toMatchObject({ requestBody: { content: { 'application/json': { schema: { required: ['value'], additionalProperties: false } } } } })
    expect(document.paths['/admin/decisions']?.['get']?.parameters?.map(({ name }) => name)).toEqual(['limit', 'controller', 'inputs'])
  })
})
