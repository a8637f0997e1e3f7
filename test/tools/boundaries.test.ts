/**
 * The borders that keep the simulator honest and the plugins swappable: time and randomness only through the Clock,
 * plugins against src/index.ts alone, src without plugins, no import cycles. Oxlint draws most of them; `new Date()` is
 * beyond it, so a scan finds that one. Each border is first shown to stop an offender.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { repositoryRoot } from '../support/data.ts'

interface Diagnostic {
  readonly code: string
  readonly filename: string
  readonly message: string
}

const borders = /no-restricted-(globals|properties|imports)|no-cycle/

function lint(folder: string, paths: readonly string[]): readonly Diagnostic[] {
  const oxlint = join(repositoryRoot, 'node_modules', 'oxlint', 'bin', 'oxlint')
  const result = spawnSync(process.execPath, [oxlint, '--format=json', ...paths], { cwd: folder, encoding: 'utf8' })
  const report = JSON.parse(result.stdout) as { diagnostics: readonly Diagnostic[] }
  return report.diagnostics.filter(({ code }) => borders.test(code))
}

/** Without comments, strings stay: `new Date()` inside a string is rare enough to be reworded. */
function bareDates(source: string): number {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '').replace(/\s\/\/.*$/gm, '')
  return code.match(/\bnew\s+Date\s*(\(\s*\)|(?=\s*[;,)\]}]))|(?<!new\s)(?<![\w.$])Date\(\s*\)/g)?.length ?? 0
}

function sourcesBelow(folder: string): readonly string[] {
  return readdirSync(join(repositoryRoot, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.includes('node_modules'))
    .map((file) => join(folder, file))
}

describe('what the borders stop', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'flyball-borders-'))
    copyFileSync(join(repositoryRoot, '.oxlintrc.json'), join(folder, '.oxlintrc.json'))
    put('src/index.ts', 'export const core = 1\n')
    put('src/core/lane.ts', 'export const lane = 1\n')
    put('plugins/builtin.ts', 'export const builtin = 1\n')
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  function put(path: string, source: string): void {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), source)
  }
  function offences(path: string, source: string): number {
    put(path, source)
    return lint(folder, [path]).length
  }

  it.each([
    'export const now = Date.now()',
    'export const now = performance.now()',
    'export const timer = setTimeout(() => {}, 1)',
    'export const timer = setInterval(() => {}, 1)',
    'export const timer = setImmediate(() => {})',
    'export const timer = globalThis.setTimeout(() => {}, 1)',
    'export const late = AbortSignal.timeout(5)',
    'export const dice = Math.random()',
    'export const id = crypto.randomUUID()',
    'export const id = crypto.getRandomValues(new Uint8Array(4))',
    "import { randomUUID } from 'node:crypto'\nexport const id = randomUUID()",
    "import { randomBytes } from 'crypto'\nexport const id = randomBytes(4)",
    "import crypto from 'node:crypto'\nexport const id = crypto.randomBytes(4)",
    "import { setTimeout as sleep } from 'node:timers/promises'\nexport const nap = sleep(5)",
    "import { performance as clock } from 'node:perf_hooks'\nexport const now = clock.now()",
    'export const now = process.hrtime.bigint()',
  ])('time and randomness: %s', (source) => {
    const places = ['src/core/other.ts', 'plugins/optimizers/other.ts', 'src/core/clock.ts', 'test/other.ts']
    for (const place of places) put(place, source)
    const stopped = new Set(lint(folder, places).map(({ filename }) => filename))
    expect([...stopped].sort()).toEqual(['plugins/optimizers/other.ts', 'src/core/other.ts'])
  })

  it('plugins that reach past src/index.ts', () => {
    expect(offences('plugins/optimizers/x.ts', "export { lane } from '../../src/core/lane.ts'")).toBe(1)
    expect(offences('plugins/optimizers/x.ts', "import type { lane } from '../../src/core/lane.ts'\nexport type L = typeof lane")).toBe(1)
    expect(offences('plugins/optimizers/x.ts', "export { core } from '../../src/index.ts'")).toBe(0)
  })

  it('src that knows a plugin; the CLI may take the list of ours', () => {
    expect(offences('src/core/x.ts', "export { builtin } from '../../plugins/builtin.ts'")).toBe(1)
    expect(offences('src/core/clock.ts', "export { builtin } from '../../plugins/builtin.ts'")).toBe(1)
    expect(offences('src/cli/x.ts', "export { builtin } from '../../plugins/builtin.ts'")).toBe(0)
    expect(offences('src/cli/x.ts', "export { cache } from '../../plugins/optimizers/cache.ts'")).toBe(1)
    expect(offences('src/cli/x.ts', 'export const now = Date.now()')).toBe(1)
  })

  it('import cycles', () => {
    put('src/a.ts', "import { b } from './b.ts'\nexport const a = () => b\n")
    put('src/b.ts', "import { a } from './a.ts'\nexport const b = () => a\n")
    expect(lint(folder, ['src']).map(({ code }) => code)).toContain('import(no-cycle)')
  })

  it('dates that read the wall clock', () => {
    expect(bareDates('const a = new Date()')).toBe(1)
    expect(bareDates('const a = new Date ( ) ; const b = Date()')).toBe(2)
    expect(bareDates('const a = [new Date, 1]')).toBe(1)
    expect(bareDates('const a = new Date(clock.wallMs()) // not new Date()\n/* new Date() */')).toBe(0)
    expect(bareDates('function Dates() {} ; toDate() ; x.Date()')).toBe(0)
  })
})

describe('the sources keep to the borders', () => {
  it('by oxlint', () => {
    const offenders = lint(repositoryRoot, ['src', 'plugins']).map(({ filename, message }) => `${filename}: ${message}`)
    expect(offenders).toEqual([])
  })

  it('without new Date()', () => {
    const sources = [...sourcesBelow('src'), ...sourcesBelow('plugins')]
    const offenders = sources.filter((file) => file !== join('src', 'core', 'clock.ts'))
      .filter((file) => bareDates(readFileSync(join(repositoryRoot, file), 'utf8')) > 0)
    expect(sources.length).toBeGreaterThan(0)
    expect(offenders).toEqual([])
  })
})
