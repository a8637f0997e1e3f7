/**
 * What `npm pack` makes, in an empty project. The project's `node_modules` holds the unpacked package and links to its
 * declared dependencies, and nothing else: the same as an install, without asking a registry. What is not declared is not
 * found.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { repositoryRoot } from '../support/data.ts'
import { fakeUpstream } from '../support/fake-upstream.ts'
import { need } from '../support/need.ts'
import { findNeed } from '../support/needs.ts'

const MODULES = join(repositoryRoot, 'node_modules')

const CONSUMER = `
import express from 'express'
import { createGovernor, definePlugin, type Backend, type Governor } from 'flyball'
import { batching, cache, openai, outside, priority, throttle } from 'flyball/plugins'

const backend: Backend = await openai({ name: 'up', baseUrl: 'http://127.0.0.1:9/v1', models: ['m'] })
const governor: Governor = createGovernor({ backends: [backend], plugins: [outside(), cache(), throttle(), priority(), batching()] })
const app = express()
app.use('/v1', governor.gateway())
app.post('/predict', governor.guard({ operation: 'predict', key: (req) => req.url ?? null }), (_req, res) => void res.json({}))
const double = governor.wrapBatch('double', async (items: readonly number[], { signal }) => (signal.aborted ? [] : items.map((item) => item * 2)))
const four: number = await double(2)
// @ts-expect-error the result is a number
const text: string = await double(2)
// @ts-expect-error no such option
createGovernor({ backend: [] })
// @ts-expect-error no such phase
definePlugin({ name: 'x', phase: 'sideways', doc: '', options: undefined as never, create: () => ({}) })
console.log(JSON.stringify({ four, text }))
await governor.close()
`

need('build').describe('the package', () => {
  let project: string
  let home: string
  const manifest = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8')) as { dependencies: Record<string, string>; bin: { flyball: string }; exports: Record<string, { types: string; default: string } | string> }
  const node = (args: readonly string[], command = process.execPath) => spawnSync(command, args, { cwd: project, encoding: 'utf8', timeout: 60_000 })

  beforeAll(() => {
    project = mkdtempSync(join(tmpdir(), 'flyball-package-'))
    home = join(project, 'node_modules', 'flyball')
    mkdirSync(home, { recursive: true })
    const packed = spawnSync('npm', ['pack', '--ignore-scripts', '--pack-destination', project], { cwd: repositoryRoot, encoding: 'utf8' })
    expect(packed.status, packed.stderr).toBe(0)
    const tarball = readdirSync(project).find((file) => file.endsWith('.tgz')) as string
    expect(spawnSync('tar', ['-xzf', join(project, tarball), '-C', home, '--strip-components=1']).status).toBe(0)
    for (const name of [...Object.keys(manifest.dependencies), '@types/node', '@types/express']) link(name)
    writeFileSync(join(project, 'package.json'), '{ "type": "module", "private": true }')
  })

  /** With what the linked package itself needs: npm would have put it beside. */
  function link(name: string): void {
    const target = join(project, 'node_modules', name)
    mkdirSync(dirname(target), { recursive: true })
    symlinkSync(join(MODULES, name), target)
  }

  afterAll(() => rmSync(project, { recursive: true, force: true }))

  it('holds what it needs and little else', () => {
    const files = readdirSync(home, { recursive: true, encoding: 'utf8' }).filter((file) => statSync(join(home, file)).isFile())
    for (const file of ['README.md', 'LICENSE', 'package.json', manifest.bin.flyball, 'docs/reference.md', 'dashboards/generated/overview.json', 'plugins/backends/native/build.mjs', 'dist/src/http/console/page/index.html']) expect(files).toContain(file)
    for (const entry of Object.values(manifest.exports)) for (const file of typeof entry === 'string' ? [entry] : [entry.types, entry.default]) expect(files).toContain(file.replace('./', ''))
    expect(files.filter((file) => /(^|\/)(test|bench|node_modules|examples)\/|\.map$|\.gguf$|(?<!\.d)\.ts$/.test(file))).toEqual([])
    expect(files.reduce((sum, file) => sum + statSync(join(home, file)).size, 0)).toBeLessThan(6 * 2 ** 20)
  })

  it('has types that resolve, and are no `any`', () => {
    writeFileSync(join(project, 'app.ts'), CONSUMER)
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions: { target: 'es2023', module: 'nodenext', strict: true, noEmit: true, skipLibCheck: true, types: ['node'] }, files: ['app.ts'] }))
    const checked = node([join(MODULES, 'typescript', 'bin', 'tsc'), '-p', '.', '--pretty', 'false'])
    expect([checked.status, checked.stdout]).toEqual([0, ''])
  })

  it('runs as a library', () => {
    const ran = node(['app.ts'])
    expect([ran.status, ran.stderr.replace(/.*ExperimentalWarning.*\n.*\n?/, '')]).toEqual([0, ''])
    expect(JSON.parse(ran.stdout)).toEqual({ four: 4, text: 4 })
  })

  it('runs as a command: version, dashboards, check-config', async () => {
    const bin = join(home, manifest.bin.flyball)
    expect(readFileSync(bin, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/)
    expect(node([bin, '--version']).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    expect(node([bin, 'dashboards', '--out', 'boards']).status).toBe(0)
    expect(readdirSync(join(project, 'boards'))).toContain('overview.json')
    const upstream = await fakeUpstream()
    writeFileSync(join(project, 'flyball.config.yaml'), `backends:\n  up: { type: openai, baseUrl: "${upstream.url}/v1", models: [m] }\nplugins: [usage, genai, outside, cache, throttle, priority, batching, warmup]\n`)
    const checked = node([bin, 'check-config', 'flyball.config.yaml'])
    expect([checked.status, checked.stdout, checked.stderr]).toEqual([0, expect.stringContaining('good'), ''])
    await upstream.close()
  })

  need('old-node').it('says which Node it needs, in one line, on an older one', () => {
    const old = node([join(home, manifest.bin.flyball), 'serve', '--config', 'x.yaml'], findNeed('old-node'))
    expect([old.status, old.stdout]).toEqual([1, ''])
    expect(old.stderr).toMatch(/^flyball needs Node >= 22\.19, this is v\d+\.\d+\.\d+\n$/)
  })
})
