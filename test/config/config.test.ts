import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { NATIVE_KNOBS } from '../../plugins/backends/native/native-declares.ts'
import { builtin } from '../../plugins/builtin.ts'
import { createGovernor } from '../../src/index.ts'
import { buildGovernorOptions } from '../../src/config/build.ts'
import { loadConfig } from '../../src/config/load-config.ts'
import { knobEnvName } from '../../src/knobs/knob-spec.ts'
import { repositoryRoot } from '../support/data.ts'

let folder: string
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'flyball-config-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function put(name: string, text: string): string {
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

const load = (text: string, env: Record<string, string> = {}, name = 'flyball.config.yaml') => loadConfig(put(name, text), { env })
const GOOD = 'backends:\n  up: { type: openai, baseUrl: "http://127.0.0.1:1/v1" }\n'

async function complaint(text: string, env: Record<string, string> = {}): Promise<string> {
  const file = put('flyball.config.yaml', text)
  const error = await loadConfig(file, { env })
    .then((config) => buildGovernorOptions(config, { registry: builtin, file }))
    .then(
      () => 'nothing',
      (thrown: Error) => thrown.message,
    )
  expect(error).not.toMatch(/\n/)
  return error.replace(file, 'FILE')
}

describe('configuration files', () => {
  it('JSON that is none is told by line and column, never by its text', async () => {
    const file = put('a.json', '{\n "backends": { "up": { "apiKey": "sk-secret", } }\n}')
    await expect(loadConfig(file, { env: {} })).rejects.toThrow(/^\S+: not valid JSON at line 2, column 47$/)
  })

  it('name files relative to themselves', async () => {
    const complain = await complaint('backends: { x: { type: native, model: models/none.gguf } }')
    expect(complain).toBe(`FILE: ${join(folder, 'models/none.gguf')}: there is no such file at backends.x`)
  })

  it('are YAML, JSON or modules, and say the same', async () => {
    const yaml = await load(GOOD)
    const json = await load('{"backends":{"up":{"type":"openai","baseUrl":"http://127.0.0.1:1/v1"}}}', {}, 'a.json')
    const typescript = await load('const config: { backends: object } = { backends: { up: { type: "openai", baseUrl: "http://127.0.0.1:1/v1" } } }\nexport default config\n', {}, 'a.ts')
    const lazy = await load('export default async () => ({ backends: { up: { type: "openai", baseUrl: "http://127.0.0.1:1/v1" } } })\n', {}, 'a.mjs')
    expect(json).toEqual(yaml)
    expect(typescript).toEqual(yaml)
    expect(lazy).toEqual(yaml)
    expect(yaml).toMatchObject({ listen: { host: '127.0.0.1', port: 8080 }, loops: 'on', gateway: { path: '/v1' } })
  })

  it.each([
    ['a wrong type', `${GOOD}listen: { port: high }`, 'FILE: expected number, got string at listen.port'],
    ['an unknown key', `${GOOD}lisen: {}`, 'FILE: unknown key "lisen"'],
    ['an unknown key below', `${GOOD}listen: { prot: 1 }`, 'FILE: unknown key "prot" at listen'],
    ['a value of a closed set', `${GOOD}loops: maybe`, expect.stringMatching(/^FILE: expected one of on, dry, off.* at loops$/)],
    ['a number out of range', `${GOOD}listen: { port: 70000 }`, 'FILE: expected at most 65535, got 70000 at listen.port'],
    ['nothing where backends should be', 'listen: { port: 80 }', 'FILE: expected object, got nothing at backends'],
    ['YAML that is none', 'backends:\n\tx: { type: openai }\n', 'FILE: Tabs are not allowed as indentation at line 2, column 1'],
    ['no backends', 'backends: {}', 'FILE: expected at least one backend at backends'],
    ['an unknown kind of backend', 'backends: { x: { type: opnai } }', 'FILE: expected one of native, openai, anthropic, got "opnai" at backends.x.type'],
    ['a backend’s wrong option', 'backends: { x: { type: openai, baseUrl: "http://a", slots: many } }', 'FILE: backends.x: expected number, got string at slots'],
    ['a backend’s unknown option', 'backends: { x: { type: openai, baseUrl: "http://a", slot: 1 } }', 'FILE: backends.x: unknown key "slot"'],
    ['a plugin’s wrong option', `${GOOD}plugins: [{ cache: { maxEntries: none } }]`, expect.stringMatching(/^FILE: plugin cache: expected (number|int), got string at maxEntries at plugins\[0\]$/)],
    ['an unknown plugin', `${GOOD}plugins: [cach]`, expect.stringMatching(/^FILE: expected one of .*, a module path or a package, got "cach" at plugins\[0\]$/)],
    ['two plugins in one entry', `${GOOD}plugins: [{ cache: {}, throttle: {} }]`, 'FILE: expected one name, got 2 at plugins[0]'],
    ['a secret too short to be one', `${GOOD}tenantKey: geheim`, 'FILE: expected at least 16 characters, got 6 at tenantKey'],
    ['a number that is none', `${GOOD}classes: [{ name: a, startMs: .nan }]`, 'FILE: expected number, got NaN at classes[0].startMs'],
    ['a part of a whole', `${GOOD}gateway: { maxBodyBytes: 1.5 }`, 'FILE: expected int, got 1.5 at gateway.maxBodyBytes'],
    ['an address that is none', 'backends: { x: { type: openai, baseUrl: "not a url" } }', 'FILE: backends.x: expected a URL at baseUrl'],
    ['a missing variable', 'backends: { x: { type: openai, baseUrl: "http://a", apiKey: "${NO_SUCH_KEY}" } }', 'FILE: the environment variable NO_SUCH_KEY is not set at backends.x.apiKey'],
    ['broken YAML', 'backends: [}', expect.stringMatching(/^FILE: .*line 1/)],
  ])('say what is wrong in one line: %s', async (_name, text, expected) => {
    expect(await complaint(text)).toEqual(expected)
  })

  it('say when there is no file, and when it is of no known kind', async () => {
    await expect(loadConfig(join(folder, 'none.yaml'))).rejects.toThrow(/there is no such file/)
    await expect(load('', {}, 'a.toml')).rejects.toThrow(/expected a \.yaml, \.yml, \.json, \.ts or \.js file/)
  })

  it('name each class once', async () => {
    const file = put('flyball.config.yaml', `${GOOD}classes: [{ name: a }, { name: a }]`)
    const options = await buildGovernorOptions(await loadConfig(file, { env: {} }), { registry: builtin, file })
    expect(() => createGovernor(options)).toThrow('classes: expected names of their own, got a, a')
  })

  it('take secrets and the port from the environment', async () => {
    const config = await load('backends: { x: { type: openai, baseUrl: "http://${HOST_NAME:-localhost}:1", apiKey: "key-${KEY}" } }', { KEY: '123', FLYBALL_PORT: '9000', FLYBALL_HOST: '0.0.0.0' })
    expect(config.backends['x']).toMatchObject({ apiKey: 'key-123', baseUrl: 'http://localhost:1' })
    expect(config.listen).toEqual({ host: '0.0.0.0', port: 9000 })
    await expect(load(GOOD, { FLYBALL_PORT: 'high' })).rejects.toThrow('FLYBALL_PORT: expected a port, got "high"')
  })

  it('set knobs, which the environment goes over', async () => {
    const file = put('flyball.config.yaml', `${GOOD}plugins: [throttle, priority, batching]\nknobs: { lane.max_queue: 7, "lane.max_queue{backend=up}": 9 }\n`)
    const options = await buildGovernorOptions(await loadConfig(file, { env: {} }), { registry: builtin, file })
    const governor = createGovernor({ ...options, env: {} })
    expect(governor.knobs.get('lane.max_queue').for({ backend: 'up' }).value).toBe(9)
    expect(governor.knobs.get('lane.max_queue').for({ backend: 'other' }).value).toBe(7)
    await governor.close()
    // Every knob there is has its variable, and its bounds are checked.
    const again = createGovernor({ ...(await buildGovernorOptions(await loadConfig(file, { env: {} }), { registry: builtin, file })), env: { FLYBALL_LANE_MAX_QUEUE: '3' } })
    expect(again.knobs.get('lane.max_queue').for({ backend: 'other' }).value).toBe(3)
    await again.close()
    const wrong = { ...(await buildGovernorOptions(await loadConfig(file, { env: {} }), { registry: builtin, file })), env: { FLYBALL_LANE_MAX_QUEUE: 'many' } }
    expect(() => createGovernor(wrong)).toThrow('FLYBALL_LANE_MAX_QUEUE: expected a whole number in 0..1000000 ({call}), got many')
  })

  it('leave every knob there is to its environment variable', async () => {
    const file = put('flyball.config.yaml', `${GOOD}plugins: [{ outside: {} }, genai, usage, cache, throttle, priority, batching, warmup]\n`)
    const options = await buildGovernorOptions(await loadConfig(file, { env: {} }), { registry: builtin, file })
    const native = { knobs: NATIVE_KNOBS, name: 'n', provider: 'x', models: ['n'], limits: { slots: 1, maxBatch: 1, batching: 'none' as const }, run: () => [], async close() {} }
    const build = (env: Record<string, string>) => createGovernor({ ...options, backends: [native], env })
    const plain = build({})
    const specs = [...plain.knobs.all()].map(({ spec }) => spec)
    await plain.close()
    expect(specs.length).toBe((readFileSync(join(repositoryRoot, 'docs', 'reference.md'), 'utf8').match(/`FLYBALL_\w+`/g) ?? []).length)
    const other = (spec: (typeof specs)[number]): number => (spec.default === spec.max ? spec.min : spec.max)
    const turned = build(Object.fromEntries(specs.map((spec) => [knobEnvName(spec.name), String(other(spec))])))
    for (const spec of specs) expect(turned.knobs.get(spec.name).for({ backend: 'up', class: 'batch', model: 'm' }).value, spec.name).toBe(other(spec))
    await turned.close()
  })

  it('bring in plugins of others by module path, with options', async () => {
    put(
      'my-plugin.ts',
      `import { z } from ${JSON.stringify(join(repositoryRoot, 'node_modules/zod/index.js'))}
import { definePlugin } from ${JSON.stringify(join(repositoryRoot, 'src/index.ts'))}
export const mine = definePlugin({ name: 'mine', phase: 'observe', doc: 'x', options: z.strictObject({ size: z.number() }), create: (host, { size }) => { host.describe(() => ({ size })); return {} } })
`,
    )
    put('not-a-plugin.ts', 'export const something = 1\n')
    const file = put('flyball.config.yaml', `${GOOD}plugins: [{ ./my-plugin.ts: { size: 3 } }]`)
    const governor = createGovernor(await buildGovernorOptions(await loadConfig(file, { env: {} }), { registry: builtin, file }))
    expect(governor.pluginStates()['mine']).toEqual({ size: 3 })
    await governor.close()
    expect(await complaint(`${GOOD}plugins: [{ ./my-plugin.ts: { size: big } }]`)).toBe('FILE: plugin mine: expected number, got string at size at plugins[0]')
    expect(await complaint(`${GOOD}plugins: [./not-a-plugin.ts]`)).toMatch(/expected a default export made by definePlugin/)
    expect(await complaint(`${GOOD}plugins: [./nowhere.ts]`)).toMatch(/Cannot find module.* at plugins\[0\]$/)
  })
})
