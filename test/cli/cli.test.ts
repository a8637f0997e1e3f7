import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { main } from '../../src/cli/main.ts'
import { dataPath } from '../support/data.ts'
import { fakeUpstream, type FakeUpstream } from '../support/fake-upstream.ts'
import { run, start, type Running } from '../support/flyball-cli.ts'
import { listen } from '../support/listen.ts'
import { need } from '../support/need.ts'
import { waitFor } from '../support/wait-for.ts'

let folder: string
const running: Running[] = []
const upstreams: FakeUpstream[] = []

beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'flyball-cli-'))))
afterEach(async () => {
  for (const { child } of running.splice(0)) if (child.exitCode === null) child.kill('SIGKILL')
  for (const upstream of upstreams.splice(0)) await upstream.close()
  rmSync(folder, { recursive: true, force: true })
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

interface Served {
  readonly cli: Running
  readonly url: string
  readonly upstream: FakeUpstream
  readonly config: string
  ask(body?: object): Promise<Response>
}

function writeConfig(upstream: FakeUpstream, more = ''): string {
  const file = join(folder, 'flyball.config.yaml')
  writeFileSync(file, `backends:\n  up: { type: openai, baseUrl: "${upstream.url}/v1", models: [m] }\nplugins: [throttle, priority, batching]\n${more}`)
  return file
}

async function serve(options: Parameters<typeof fakeUpstream>[0] = {}, more = ''): Promise<Served> {
  const upstream = await fakeUpstream(options)
  upstreams.push(upstream)
  const config = writeConfig(upstream, more)
  const port = await freePort()
  const cli = start(['serve', '--config', config, '--port', String(port)])
  running.push(cli)
  const url = `http://127.0.0.1:${port}`
  await waitFor(
    async () => {
      if (cli.child.exitCode !== null) throw new Error(cli.output())
      return (await fetch(`${url}/readyz`).catch(() => undefined))?.status === 200
    },
    30_000,
  )
  return {
    cli,
    url,
    upstream,
    config,
    ask: (body = {}) => fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }], ...body }) }),
  }
}

describe('mistakes on the command line', () => {
  it.each([
    [['frobnicate'], /^flyball: unknown command 'frobnicate'/],
    [['serve'], /^flyball: required option '-c, --config <file>' not specified/],
    [['serve', '--bogus'], /^flyball: (unknown option '--bogus'|required option)/],
    [['serve', '--config', 'nowhere.yaml'], /^flyball: nowhere\.yaml: there is no such file/],
    [['serve', '--config', 'x.yaml', '--port', 'high'], /^flyball: --port: expected a port, got "high"/],
    [['check-config', 'nowhere.yaml'], /^flyball: nowhere\.yaml: there is no such file/],
    [['generate', '--model', 'x.gguf'], /^flyball: required option '-p, --prompt <text>' not specified/],
    [['generate', '--model', 'x.gguf', '--prompt', 'a', '--max-tokens', 'many'], /^flyball: option '-n, --max-tokens <number>' argument 'many' is invalid/],
    [['inspect', 'nowhere.gguf'], /^flyball: .*nowhere\.gguf/],
  ])('%s', async (args, says) => {
    let stderr = ''
    const code = await main(args, (text) => (stderr += text))
    expect(stderr).toMatch(says)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(code).not.toBe(0)
  })

  it('end a process of its own with one line and an exit code', async () => {
    const { code, stderr, stdout } = await run(['frobnicate'])
    expect([code, stderr, stdout]).toEqual([1, "flyball: unknown command 'frobnicate'\n", ''])
  })

  it('a port in use is one clear line', async () => {
    const taken = await listen((_req, res) => void res.end())
    const upstream = await fakeUpstream()
    upstreams.push(upstream)
    const { code, stderr } = await run(['serve', '--config', writeConfig(upstream), '--port', String(taken.port)])
    expect(stderr).toBe(`flyball: port ${taken.port} on 127.0.0.1 is in use\n`)
    expect(code).toBe(1)
    await taken.close()
  })

  it('shows its verbs and its version', async () => {
    const help = await run(['--help'])
    expect(help.code).toBe(0)
    expect(help.stdout).toMatch(/serve +serve what a configuration file says/)
    const version = await run(['--version'])
    expect([version.code, version.stdout]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)])
  })
})

describe('flyball check-config', () => {
  it('says good, or what is wrong and where', async () => {
    const upstream = await fakeUpstream()
    upstreams.push(upstream)
    const good = await run(['check-config', writeConfig(upstream)])
    expect([good.code, good.stdout]).toEqual([0, expect.stringMatching(/good \(backends: 1, knobs: \d+\)/)])
    const file = writeConfig(upstream, 'knobs: { throttle.limt: 5 }\n')
    const bad = await run(['check-config', file])
    expect([bad.code, bad.stderr]).toEqual([1, `flyball: ${file}: knobs: there is no knob throttle.limt\n`])
    // A variable that is meant for a knob and names none would be ignored without a word.
    const variables = { FLYBALL_THROTTLE_LIMT: '5', FLYBALL_THROTTLE_LIMIT: '5', FLYBALL_NATIVE_ISA: 'scalar', FLYBALL_PORT: '1' }
    const warned = await run(['check-config', writeConfig(upstream)], variables)
    expect([warned.code, warned.stderr]).toEqual([0, 'flyball: FLYBALL_THROTTLE_LIMT: there is no such knob\n'])
    // Nor do backends that nobody has, and models that another one serves already.
    const twice = `backends:\n  a: { type: openai, baseUrl: "http://127.0.0.1:1", models: [m] }\n  b: { type: openai, baseUrl: "http://127.0.0.1:1", models: [m, n] }\n  c: { type: openai, baseUrl: "http://127.0.0.1:1" }\n  d: { type: openai, baseUrl: "http://127.0.0.1:1" }\n`
    const more = `plugins: [throttle, { outside: { pages: [{ backend: vlm, url: "http://127.0.0.1:1/metrics", source: vllm }] } }]\nknobs: { "throttle.limit{backend=B}": 5 }\n`
    const doubtful = join(folder, 'doubtful.yaml')
    writeFileSync(doubtful, twice + more)
    expect((await run(['check-config', doubtful])).stderr.split('\n').sort()).toEqual([
      '',
      'flyball: backends.b: gets no calls for m: backends.a serves it and is listed before it',
      'flyball: backends.d: gets no calls: backends.c serves any model and is listed before it',
      'flyball: knobs.throttle.limit{backend=B}: there is no backend B',
      expect.stringMatching(/^flyball: outside\.\w+: there is no backend vlm$/),
    ])
    // Nobody was asked anything.
    expect(upstream.requests).toEqual([])
  })
})

describe('flyball serve', () => {
  it('keeps idle connections for longer than load balancers do: one that we close first breaks under their next request', async () => {
    const { url } = await serve()
    expect((await fetch(new URL('/livez', url))).headers.get('keep-alive')).toBe('timeout=75')
  })

  it('serves what the file says: gateway, metrics, probes, admin', async () => {
    const { ask, url, cli, upstream } = await serve()
    const reply = await ask()
    expect([reply.status, ((await reply.json()) as { odd: number }).odd]).toEqual([200, 1])
    expect((await ask({ model: 'nobody' })).status).toBe(404)
    const page = await (await fetch(`${url}/metrics`)).text()
    expect(page).toMatch(/^flyball_calls_total\{operation="chat",model="m",class="interactive",outcome="ok",reason=""\} 1$/m)
    expect(page).not.toMatch(/target_info|nobody/)
    expect(((await (await fetch(`${url}/admin/state`)).json()) as { ready: boolean }).ready).toBe(true)
    expect(upstream.requests.length).toBeGreaterThan(0)
    cli.child.kill('SIGTERM')
    expect(await cli.done).toMatchObject({ code: 0 })
    expect(cli.output()).not.toMatch(/"hi"/)
  })

  it('SIGTERM under load: what was accepted is answered, what comes later is told to go elsewhere', async () => {
    const { ask, cli, upstream } = await serve({ gapMs: 20, words: Array.from({ length: 20 }, (_, i) => ` w${i}`) })
    const streams = Array.from({ length: 10 }, () => ask({ stream: true }).then((reply) => reply.text()))
    await waitFor(() => upstream.open === 10)
    cli.child.kill('SIGTERM')
    await waitFor(() => cli.output().includes('draining'))
    const late = await ask().catch(() => undefined)
    if (late) expect(late.status).toBe(503)
    for (const text of await Promise.all(streams)) expect(text).toMatch(/w19[\s\S]*data: \[DONE\]/)
    expect(await cli.done).toMatchObject({ code: 0 })
    expect(upstream.cutAtMs).toEqual([])
  })

  it('a second signal stops at once', async () => {
    const { ask, cli, upstream } = await serve({ headMs: 60_000 })
    const hanging = ask().catch(() => 'cut')
    await waitFor(() => upstream.open === 1)
    cli.child.kill('SIGTERM')
    await waitFor(() => cli.output().includes('draining'))
    cli.child.kill('SIGTERM')
    expect(await cli.done).toMatchObject({ code: 1 })
    expect(await hanging).toBe('cut')
  })

  it('gives up on what does not end within drainMs', async () => {
    const { ask, cli, upstream } = await serve({ headMs: 60_000 }, 'drainMs: 300\n')
    const hanging = ask().then(
      (reply) => reply.status,
      () => 'cut',
    )
    await waitFor(() => upstream.open === 1)
    cli.child.kill('SIGTERM')
    expect(await cli.done).toMatchObject({ code: 0 })
    expect(cli.output()).toMatch(/gave up waiting/)
    expect(['cut', 503]).toContain(await hanging)
  })

  it('SIGHUP reloads without losing a call; a configuration that does not work changes nothing', async () => {
    const { ask, cli, url, upstream, config } = await serve({ gapMs: 30, words: Array.from({ length: 20 }, (_, i) => ` w${i}`) })
    const long = ask({ stream: true }).then((reply) => reply.text())
    await waitFor(() => upstream.open === 1)
    writeFileSync(config, 'backends: {}\n')
    cli.child.kill('SIGHUP')
    await waitFor(() => cli.output().includes('the old one stays'))
    expect((await ask()).status).toBe(200)

    const second = await fakeUpstream()
    upstreams.push(second)
    writeConfig(second, 'knobs: { lane.max_queue: 77 }\ngateway: { maxBodyBytes: 2000 }\ndrainMs: 5\n')
    // Callers come and go all the while.
    let stop = false
    const statuses: number[] = []
    const callers = Promise.all(
      Array.from({ length: 4 }, async () => {
        while (!stop) statuses.push((await ask()).status)
      }),
    )
    cli.child.kill('SIGHUP')
    await waitFor(() => cli.output().includes('was reloaded'), 20_000)
    await waitFor(() => second.requests.some(({ path }) => path.endsWith('/completions')))
    stop = true
    await callers
    expect(new Set(statuses)).toEqual(new Set([200]))
    expect(await long).toMatch(/w19[\s\S]*data: \[DONE\]/)
    const knobs = (await (await fetch(`${url}/admin/knobs/lane.max_queue`)).json()) as { instances: { value: number }[] }
    expect(knobs.instances[0]?.value).toBe(77)
    expect((await ask({ user: 'x'.repeat(3_000) })).status).toBe(413)
    expect(cli.output()).toMatch(/read at start only/)
    cli.child.kill('SIGTERM')
    expect(await cli.done).toMatchObject({ code: 0 })
  })
})

describe('flyball warm', () => {
  it('ends well when the backends are warm, and names those that are not', async () => {
    const upstream = await fakeUpstream()
    upstreams.push(upstream)
    const file = writeConfig(upstream, 'log: silent\n')
    const good = await run(['warm', '--config', file])
    expect([good.code, good.stdout]).toEqual([0, 'warm: up\n'])
    await upstream.close()
    const bad = await run(['warm', '--config', file])
    expect([bad.code, bad.stderr]).toEqual([1, expect.stringMatching(/^flyball: did not warm up: up/)])
  })
})

const data = need('data')
data.describe('flyball with a model file', () => {
  const model = dataPath('models/stories260K-f32.gguf')

  it('generates, as text and as JSON', async () => {
    const args = ['generate', '--model', model, '--prompt', 'Once upon a time', '--max-tokens', '12', '--temperature', '0']
    const json = await run([...args, '--json'])
    expect(json.stderr).toBe('')
    const result = JSON.parse(json.stdout) as { promptTokens: number[]; tokens: number[]; text: string }
    expect(result.tokens).toHaveLength(12)
    expect(result.promptTokens.length).toBeGreaterThan(0)
    expect((await run(args)).stdout).toBe(`${result.text}\n`)
  })

  it('inspects and tokenizes', async () => {
    const inspected = JSON.parse((await run(['inspect', model])).stdout) as { architecture: string; runnable: boolean }
    expect(inspected).toMatchObject({ architecture: 'llama', runnable: true })
    const tokens = JSON.parse((await run(['tokenize', '--model', model, 'Once upon a time'])).stdout) as { tokens: number[] }
    expect(tokens.tokens.length).toBeGreaterThan(3)
  })

  it('says in one line what is wrong with a file', async () => {
    const file = join(folder, 'bad.gguf')
    writeFileSync(file, 'GGUF but not really')
    const { code, stderr } = await run(['inspect', file])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^flyball: .*bad\.gguf.*\n$/)
  })
})
