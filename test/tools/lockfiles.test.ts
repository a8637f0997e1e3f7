import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectedPackages } from '../../tools/setup/install.mjs'
import type { LockedPackage } from '../../tools/setup/install.mjs'
import { nodePackages } from '../../tools/setup/runtime.mjs'
import { repositoryRoot } from '../support/data.ts'

interface Locked extends LockedPackage {
  readonly resolved?: string
  readonly bin?: Readonly<Record<string, string>>
  readonly optional?: boolean
}

function read(file: string): { readonly text: string, readonly packages: Record<string, Locked> } {
  const text = readFileSync(join(repositoryRoot, file), 'utf8')
  return { text, packages: (JSON.parse(text) as { packages: Record<string, Locked> }).packages }
}

/** What is wrong with a lockfile, one line each. */
function faults({ text, packages }: ReturnType<typeof read>): readonly string[] {
  const found = Object.entries(packages).flatMap(([path, locked]) => {
    if (path === '') return []
    return [
      ...(locked.resolved === undefined ? [] : [`${path} names the address it came from`]),
      ...(locked.link === true ? [`${path} is a link to a folder`] : []),
      ...(/^sha512-/.test(locked.integrity ?? '') ? [] : [`${path} has no sha512`]),
      ...(locked.version === undefined ? [`${path} has no version`] : []),
    ]
  })
  return /https?:\/\/[^"]*\.tgz/.test(text) ? [...found, 'a download address'] : found
}

describe.each(['package-lock.json', 'tools/node24/package-lock.json'])('%s', (file) => {
  it('has versions and checksums, and no download addresses', () => {
    expect(faults(read(file))).toEqual([])
  })

  it('is the lockfile of the package.json beside it', () => {
    const manifest = JSON.parse(readFileSync(join(repositoryRoot, file.replace('-lock', '')), 'utf8')) as Locked
    const locked = read(file).packages['']
    expect(locked?.dependencies).toEqual(manifest.dependencies)
    expect(locked?.devDependencies).toEqual(manifest.devDependencies)
    expect(locked?.optionalDependencies).toEqual(manifest.optionalDependencies)
  })

  it('pins its direct dependencies to exact versions', () => {
    const { packages } = read(file)
    const direct = { ...packages['']?.dependencies, ...packages['']?.devDependencies, ...packages['']?.optionalDependencies }
    expect(Object.keys(direct).length).toBeGreaterThan(0)
    for (const [name, version] of Object.entries(direct)) {
      expect(version, name).toMatch(/^\d+\.\d+\.\d+$/)
      expect(packages[`node_modules/${name}`]?.version, name).toBe(version)
    }
  })
})

it('finds an address, a link and a missing checksum', () => {
  const packages: Record<string, Locked> = {
    '': {},
    'node_modules/a': { version: '1.0.0', integrity: 'sha512-x', resolved: 'https://example.com/a/-/a-1.0.0.tgz' },
    'node_modules/b': { version: '1.0.0', link: true },
  }
  expect(faults({ text: JSON.stringify(packages), packages })).toEqual([
    'node_modules/a names the address it came from', 'node_modules/b is a link to a folder',
    'node_modules/b has no sha512', 'a download address',
  ])
})

it('locks a Node 24 for each of the five platforms', () => {
  const { packages } = read('tools/node24/package-lock.json')
  expect(Object.keys(nodePackages)).toHaveLength(5)
  for (const [platform, { name, node }] of Object.entries(nodePackages)) {
    const [os, cpu] = platform.split('-')
    const locked = packages[`node_modules/${name}`]
    expect(locked, name).toMatchObject({ os, cpu, optional: true, bin: { node } })
    expect(locked?.version, name).toMatch(/^24\./)
  }
  expect(Object.keys(packages)).toHaveLength(6)
})

describe.each([
  { os: 'linux', cpu: 'x64', libc: 'glibc' },
  { os: 'linux', cpu: 'arm64', libc: 'glibc' },
  { os: 'darwin', cpu: 'x64', libc: undefined },
  { os: 'darwin', cpu: 'arm64', libc: undefined },
  { os: 'win32', cpu: 'x64', libc: undefined },
])('on $os $cpu', (machine) => {
  it('has the native part of each tool that has one', () => {
    const expected = [...expectedPackages(read('package-lock.json'), machine)]
    for (const tool of ['@rolldown/binding-', '@oxlint/binding-', '@oxlint-tsgolint/', '@typescript/typescript-', 'lightningcss-']) {
      expect(expected.filter((path) => path.startsWith(`node_modules/${tool}`)), tool).toHaveLength(1)
    }
  })
})
