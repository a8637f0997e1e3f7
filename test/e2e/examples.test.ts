/** The small examples run, and what the README shows is what they say. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { parse } from 'yaml'
import { afterEach, describe, expect, it } from 'vitest'
import { repositoryRoot } from '../support/data.ts'
import { fakeUpstream } from '../support/fake-upstream.ts'
import { run } from '../support/flyball-cli.ts'
import { need } from '../support/need.ts'
import { waitFor } from '../support/wait-for.ts'

const examples = join(repositoryRoot, 'examples')
const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) if (child.exitCode === null) child.kill('SIGKILL')
})

function start(example: string, env: Record<string, string> = {}) {
  const child = spawn(process.execPath, ['--no-warnings', join(examples, example)], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (output += text.toString()))
  const code = new Promise<number | null>((resolve) => child.on('close', resolve))
  return { child, code, output: () => output }
}

async function serving(example: string, env: Record<string, string> = {}) {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  const app = start(example, { ...env, PORT: String(port) })
  const url = `http://127.0.0.1:${port}`
  await waitFor(async () => {
    if (app.child.exitCode !== null) throw new Error(app.output())
    return (await fetch(`${url}/readyz`).catch(() => undefined))?.status === 200
  }, 30_000)
  const post = async (path: string, body: object): Promise<Response> => fetch(`${url}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  return { ...app, url, post }
}

need('build').describe('examples', () => {
  it('gateway: answers, caches, shows its metrics and its console, drains', async () => {
    const upstream = await fakeUpstream()
    const app = await serving('gateway/main.ts', { UPSTREAM: `${upstream.url}/v1` })
    const question = { model: 'llama-3.1-8b', temperature: 0, messages: [{ role: 'user', content: 'hi' }] }
    const first = await app.post('/v1/chat/completions', question)
    expect([first.status, first.headers.get('x-flyball-backend')]).toEqual([200, 'vllm'])
    expect(await first.json()).toMatchObject({ choices: [{ message: { content: 'Hello there.' } }] })
    const again = await app.post('/v1/chat/completions', question)
    expect([again.status, again.headers.get('x-flyball-cache'), upstream.requests.filter(({ path }) => path.endsWith('completions')).length]).toEqual([200, 'hit', 1])
    expect(await (await fetch(`${app.url}/metrics`)).text()).toMatch(/^flyball_calls_total\{.*\} \d+$/m)
    expect((await fetch(`${app.url}/flyball/`)).status).toBe(200)
    app.child.kill('SIGTERM')
    expect(await app.code).toBe(0)
    expect(app.output()).toBe('')
    await upstream.close()
  })

  it('guard: equal requests share one run of the handler, others do not', async () => {
    const app = await serving('guard/main.ts')
    const ask = async (id: string): Promise<unknown> => (await app.post('/predict', { id })).json()
    expect(await Promise.all([ask('a'), ask('a'), ask('a')])).toEqual(new Array(3).fill({ id: 'a', score: 0.5, runs: 1 }))
    expect(await ask('b')).toEqual({ id: 'b', score: 0.5, runs: 2 })
    app.child.kill('SIGTERM')
    expect(await app.code).toBe(0)
  })

  it('function: called one by one, run in batches', async () => {
    const app = start('function/main.ts')
    expect(await app.code, app.output()).toBe(0)
    const { vector, many, batches } = JSON.parse(app.output()) as { vector: number[]; many: number; batches: number }
    expect([vector, many]).toEqual([[5, 4], 64])
    expect(batches).toBeGreaterThanOrEqual(3)
    expect(batches).toBeLessThan(16)
  })

  it('sidecar: its configuration, with the plugin beside it, is good', async () => {
    const { code, stdout, stderr } = await run(['check-config', join(examples, 'sidecar', 'flyball.config.yaml')])
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toContain('good (backends: 1')
    // A check leaves nothing behind: not even the states that a server would keep there.
    expect(readdirSync(join(examples, 'sidecar'))).toEqual(['flyball.config.yaml'])
  })
})

describe('the README', () => {
  const readme = readFileSync(join(repositoryRoot, 'README.md'), 'utf8')
  const blocks = (language: string): string[] => [...readme.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs'))].map(([, block]) => block as string)
  const sources = readdirSync(examples, { recursive: true, encoding: 'utf8' }).filter((file) => /\.(ts|yaml)$/.test(file)).map((file) => readFileSync(join(examples, file), 'utf8'))

  it('shows only code that these examples run', () => {
    expect(blocks('ts').length).toBeGreaterThanOrEqual(4)
    expect(blocks('yaml').length).toBeGreaterThanOrEqual(1)
    for (const block of [...blocks('ts'), ...blocks('yaml')]) expect(sources.some((source) => source.includes(block)), block).toBe(true)
    expect(() => blocks('yaml').map((block) => parse(block) as unknown)).not.toThrow()
  })

  it('links to files that are there, and names commands that are there', () => {
    for (const [, path] of readme.matchAll(/\]\((?!https?:)([^)#]+)/g)) expect(existsSync(join(repositoryRoot, path as string)), path).toBe(true)
    const { scripts } = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
    for (const [, script] of readme.matchAll(/npm (?:run )?([a-z:]+)/g)) if (!['install', 'ci', 'pack', 'exec'].includes(script as string)) expect(Object.keys(scripts)).toContain(script)
  })
})
