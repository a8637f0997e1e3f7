/** The console's door: addresses, headers, who may look, who may change. */
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import helmet from 'helmet'
import { afterEach, describe, expect, it } from 'vitest'
import { createGovernor } from '../../src/index.ts'
import { SEESAW_KNOB } from '../dashboards/live/seesaw.ts'
import { fakeChat } from '../support/fake-chat.ts'
import { listen } from '../support/listen.ts'
import { readEvents } from './read-events.ts'
import { liveConsole, TOKEN, type LiveConsole, type LiveConsoleOptions } from './live-console.ts'

let live: LiveConsole | undefined
afterEach(async () => {
  await live?.close()
  live = undefined
})

async function start(options: LiveConsoleOptions = {}): Promise<LiveConsole> {
  live = await liveConsole(options)
  return live
}

/** A request with exactly these headers. */
function raw(url: string, headers: Record<string, string> = {}, method = 'GET', body?: string): Promise<{ status: number; headers: Record<string, string | string[] | undefined>; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers }, (res) => {
      let text = ''
      res.on('data', (chunk: Buffer) => (text += chunk.toString()))
      res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, text }))
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

describe('addresses', () => {
  it('the page is at the mount with its slash; without it, a relative redirect leads there, query kept', async () => {
    const { server } = await start()
    const without = await raw(`${server.url}/flyball?a=1`)
    expect([without.status, without.headers['location']]).toEqual([302, './flyball/?a=1'])
    expect(new URL('./flyball/?a=1', 'https://proxy.example/some/prefix/flyball').href).toBe('https://proxy.example/some/prefix/flyball/?a=1')
    const page = await raw(`${server.url}/flyball/`)
    expect([page.status, page.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8'])
  })

  it('every file that the page and its scripts ask for is there, by relative address', async () => {
    const { server } = await start({ path: '/a/deep/mount' })
    const base = `${server.url}/a/deep/mount/`
    const wanted = new Set<string>()
    const html = (await raw(base)).text
    for (const [, name] of html.matchAll(/(?:src|href)="([^"#]+)"/g)) wanted.add(name as string)
    expect([...wanted].every((name) => !name.startsWith('/') && !name.includes('//'))).toBe(true)
    for (const name of wanted) {
      const file = await raw(base + name)
      expect([name, file.status]).toEqual([name, 200])
      for (const [, inner] of name.startsWith('uplot') ? [] : file.text.matchAll(/from '\.\/([^']+)'/g)) wanted.add(inner as string)
    }
    expect(wanted.size).toBeGreaterThan(15)
  })

  it.each(['/flyball/nothing.js', '/flyball/../package.json', '/flyball/%2e%2e/console.ts', '/flyball/console.ts', '/flyball/page/main.js', '/flyball/api/', '/flyball/api/constructor'])('%s is not there', async (path) => {
    const { server } = await start()
    expect((await raw(server.url + path)).status).toBe(404)
  })

  it('works on plain node:http too', async () => {
    const governor = createGovernor({ backends: [fakeChat()] })
    const server = createServer(governor.console())
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    expect((await raw(`${url}/`)).text).toContain('main.js')
    expect((await raw(`${url}/main.js`)).status).toBe(200)
    await governor.close()
    server.close()
    server.closeAllConnections()
  })

  it('files are answered by their tags, and only looked at', async () => {
    const { server } = await start()
    const first = await raw(`${server.url}/flyball/main.js`)
    const again = await raw(`${server.url}/flyball/main.js`, { 'if-none-match': first.headers['etag'] as string })
    expect([again.status, again.text]).toEqual([304, ''])
    expect((await raw(`${server.url}/flyball/main.js`, {}, 'POST')).status).toBe(405)
  })
})

describe('headers', () => {
  it.each([['bare', false], ['behind helmet', true]])('%s: a strict policy, nothing kept, nothing guessed', async (_, behind) => {
    const { server } = await start({ prepare: (app) => { if (behind) app.use(helmet()) } })
    for (const path of ['/flyball/', '/flyball/main.js', '/flyball/nothing']) {
      const { headers } = await raw(server.url + path)
      expect(headers['content-security-policy']).toBe("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'")
      expect(headers['x-content-type-options']).toBe('nosniff')
      expect(headers['cache-control']).toMatch(/^no-(store|cache)$/)
    }
    const html = (await raw(`${server.url}/flyball/`)).text
    expect(html).not.toMatch(/<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|https?:\/\//)
  })
})

describe('who may look', () => {
  it.each([
    ['this machine', {}, 200],
    ['somebody behind a proxy', { 'x-forwarded-for': '10.0.0.9' }, 403],
    ['a rebound name', { host: 'evil.example' }, 403],
    ['another site’s script', { origin: 'https://evil.example' }, 403],
  ])('%s', async (_, headers, status) => {
    const { server } = await start()
    for (const path of ['/flyball/', '/flyball/main.js']) expect((await raw(server.url + path, headers)).status).toBe(status)
    if (status === 403) expect((await raw(`${server.url}/flyball/events`, headers)).text).toContain('only for requests from this machine')
  })

  it('a hook of the host’s own decides alone', async () => {
    const { server } = await start({ console: { authorize: (req) => req.headers['x-user'] === 'ada' } })
    expect((await raw(`${server.url}/flyball/`, { 'x-forwarded-for': '10.0.0.9', 'x-user': 'ada' })).status).toBe(200)
    expect((await raw(`${server.url}/flyball/`)).status).toBe(403)
  })

  it('refuses to start where others can reach it, in one line', () => {
    const governor = createGovernor({ backends: [fakeChat()] })
    expect(() => governor.console({ host: '0.0.0.0' })).toThrow('console: 0.0.0.0 can be reached from other machines: listen on 127.0.0.1, or pass console({ authorize })')
    expect(() => governor.console({ host: '::' })).toThrow(TypeError)
    expect(() => governor.console({ adminToken: 'short' })).toThrow('console: adminToken: expected at least 16 characters, got 5')
    for (const host of ['127.0.0.1', '::1', 'localhost']) expect(() => governor.console({ host })).not.toThrow()
    expect(() => governor.console({ host: '0.0.0.0', authorize: () => true })).not.toThrow()
    return governor.close()
  })
})

describe('who may change', () => {
  const body = (value: unknown): string => JSON.stringify(value)
  const pin = body({ knob: SEESAW_KNOB.name, key: 'backend=engine', value: 7 })

  async function posting(options: LiveConsoleOptions): Promise<(verb: string, text: string, headers?: Record<string, string>) => Promise<{ status: number; text: string }>> {
    const { server } = await start(options)
    return (verb, text, headers = {}) => raw(`${server.url}/flyball/api/${verb}`, { 'content-type': 'application/json', origin: server.url, authorization: `Bearer ${TOKEN}`, ...headers }, 'POST', text)
  }
  const valueNow = (): number => live?.governor.knobs.get(SEESAW_KNOB.name).for({ backend: 'engine' }).value ?? Number.NaN

  it('pins and unpins with the token, from its own page', async () => {
    const post = await posting({ console: { adminToken: TOKEN } })
    expect(await post('pin', pin)).toMatchObject({ status: 200 })
    expect(valueNow()).toBe(7)
    expect(await post('unpin', body({ knob: SEESAW_KNOB.name, key: 'backend=engine' }))).toMatchObject({ status: 200 })
    expect(valueNow()).not.toBe(7)
    expect(await post('unpin', body({ knob: SEESAW_KNOB.name, key: 'backend=engine' }))).toMatchObject({ status: 404 })
    expect(await post('dry-run', body({ on: true }))).toMatchObject({ status: 200 })
    expect(live?.governor.loop.dryRun).toBe(true)
  })

  it.each([
    ['no token', { authorization: '' }, 401],
    ['a wrong token', { authorization: `Bearer ${TOKEN}.` }, 401],
    ['another origin', { origin: 'http://127.0.0.1:1' }, 403],
    ['an origin that is none', { origin: 'null' }, 403],
    ['a form', { 'content-type': 'text/plain' }, 415],
  ])('%s changes nothing', async (_, headers, status) => {
    const post = await posting({ console: { adminToken: TOKEN } })
    const before = valueNow()
    for (const [verb, text] of [['pin', pin], ['dry-run', body({ on: true })], ['check', '{}']] as const) expect([verb, (await post(verb, text, headers)).status]).toEqual([verb, status])
    expect(valueNow()).toBe(before)
    expect(live?.governor.knobs.pins()).toEqual([])
    expect(live?.governor.loop.dryRun).toBe(false)
  })

  it('without an origin nothing is changed: scripts outside a browser have the admin API', async () => {
    const { server } = await start({ console: { adminToken: TOKEN } })
    expect((await raw(`${server.url}/flyball/api/pin`, { 'content-type': 'application/json', authorization: `Bearer ${TOKEN}` }, 'POST', pin)).status).toBe(403)
  })

  it('without a configured token nobody changes anything', async () => {
    const post = await posting({})
    expect(await post('pin', pin)).toMatchObject({ status: 403 })
    expect(await post('check', '{}')).toMatchObject({ status: 403 })
  })

  it.each([
    ['outside the bounds', { value: 1e9 }, /expected a number in 0\.\.4096/],
    ['no number', { value: 'x' }, /value/],
    ['a week and a day', { forMs: 8 * 24 * 3_600_000 }, /forMs/],
  ])('a pin %s is refused with the reason', async (_, more, reason) => {
    const post = await posting({ console: { adminToken: TOKEN } })
    const { status, text } = await post('pin', body({ knob: SEESAW_KNOB.name, key: 'backend=engine', value: 1, ...more }))
    expect(status).toBe(400)
    expect(text).toMatch(reason)
  })

  it('a knob or instance that is not there is not made', async () => {
    const post = await posting({ console: { adminToken: TOKEN } })
    expect((await post('pin', body({ knob: 'no.knob', key: '', value: 1 }))).status).toBe(404)
    expect((await post('pin', body({ knob: SEESAW_KNOB.name, key: 'backend=other', value: 1 }))).status).toBe(404)
    expect([...(live?.governor.knobs.get(SEESAW_KNOB.name).instances() ?? [])]).toHaveLength(1)
  })

  it('the demo’s phases need no token, but the page’s own origin', async () => {
    let held: string | undefined = 'none yet'
    const demo = { phases: [{ name: 'calm', doc: 'c' }], current: () => ({ name: 'calm', held: false }), hold: (name: string | undefined) => void (held = name) }
    const post = await posting({ console: { demo } })
    expect((await post('demo', body({ phase: 'calm' }), { origin: 'http://127.0.0.1:1' })).status).toBe(403)
    expect(held).toBe('none yet')
    expect((await post('demo', body({ phase: 'calm' }), { authorization: '' })).status).toBe(200)
    expect(held).toBe('calm')
    expect((await post('demo', body({ phase: null }))).status).toBe(200)
    expect(held).toBeUndefined()
    expect((await post('demo', body({ phase: 'storm' }))).status).toBe(400)
  })
})

describe('the stream', () => {
  it('greets with what was kept, then ticks; decisions carry what was seen', async () => {
    const { server, call } = await start()
    for (let i = 0; i < 8; i++) {
      await call()
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
    const events = await readEvents(`${server.url}/flyball/events`, 2)
    expect(events.map(({ event }) => event)).toEqual(['hello', 'tick'])
    const hello = events[0]?.data as { rows: number[][]; names: { list: string[] }; stories: { controller: string; signals: unknown[]; moves: unknown[]; input?: unknown }[]; state: { loops: { id: string; observed: unknown }[] } }
    expect(hello.rows.length).toBeGreaterThanOrEqual(2)
    const offered = hello.names.list.indexOf('calls|offered|class=interactive')
    expect(hello.rows.reduce((sum, row) => sum + (row[offered + 1] ?? 0), 0)).toBeGreaterThanOrEqual(6)
    expect(hello.stories[0]).toMatchObject({ controller: 'seesaw', reason: 'custom', predicted: 20, loop: 'seesaw{backend=engine}', moves: [{ knob: SEESAW_KNOB.name, key: 'backend=engine' }] })
    expect(hello.stories[0]?.signals).toMatchObject([{ signal: 'seesaw.calls', unit: '{call}', status: 'fresh' }])
    expect(hello.state.loops).toContainEqual(expect.objectContaining({ id: 'seesaw{backend=engine}', target: 4 }))
  })

  it('never holds what was asked or answered', async () => {
    const governor = createGovernor({ backends: [fakeChat()] })
    const app = express().use('/v1', governor.gateway()).use('/flyball', governor.console())
    const server = await listen(app)
    await governor.start()
    for (const stream of [false, true]) {
      const reply = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json', 'x-request-id': 'xyzzy-header' }, body: JSON.stringify({ model: 'fake', stream, user: 'xyzzy-user', messages: [{ role: 'user', content: 'xyzzy-prompt' }] }) })
      await reply.text()
      await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model: 'xyzzy-model', messages: [{ role: 'user', content: 'xyzzy-prompt' }] }) }).then((res) => res.text())
    }
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    const events = await readEvents(`${server.url}/flyball/events`, 2)
    const text = JSON.stringify(events)
    expect(text).toContain('"operation":"chat"')
    expect(text).not.toContain('xyzzy')
    await governor.close()
    await server.close()
  })

  it('ends for all when the governor closes', async () => {
    const { server, governor } = await start()
    const reply = await fetch(`${server.url}/flyball/events`)
    const reading = reply.text()
    await governor.close()
    expect(await reading).toContain('event: hello')
  })
})
