/** The outside things that some tests need. No vitest here: tools/test.mjs reads this list too. */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { findLlamaCpp } from '../../bench/native/llama-cpp.ts'
import { dataRoot, hasData, repositoryRoot } from './data.ts'

export interface Need {
  /** What is there, such as a path; undefined when it is not. */
  readonly probe: () => string | undefined
  /** How somebody gets it, for the reason of a skip. */
  readonly howToGet: string
}

/** To add one: a probe, and how to get it. */
export const needs = {
  data: {
    probe: () => (hasData() ? dataRoot() : undefined),
    howToGet: 'set FLYBALL_DATA to the data folder, or put it at ../shared/data',
  },
  compiler: {
    probe: () => firstCommand([process.env['CXX'], 'c++', 'g++', 'clang++'], true),
    howToGet: 'install g++ or clang++, or set CXX',
  },
  chromium: {
    probe: () => firstCommand([process.env['FLYBALL_CHROMIUM'], 'chromium', 'chromium-browser', 'google-chrome']),
    howToGet: 'install chromium, or set FLYBALL_CHROMIUM',
  },
  prometheus: {
    probe: () => firstCommand([process.env['FLYBALL_PROMETHEUS'], 'prometheus']),
    howToGet: 'install prometheus, or set FLYBALL_PROMETHEUS',
  },
  promtool: {
    probe: () => firstCommand([process.env['FLYBALL_PROMTOOL'], 'promtool']),
    howToGet: 'install prometheus, or set FLYBALL_PROMTOOL',
  },
  native: {
    probe: nativeAddon,
    howToGet: 'run `npm run build` on a machine with a C++ compiler',
  },
  'llama-cpp': {
    probe: findLlamaCpp,
    howToGet: 'run `npm ci --prefix tools/llama-cpp --ignore-scripts`',
  },
  build: {
    probe: () => existing(join(repositoryRoot, 'dist', 'src', 'cli', 'bin.js')),
    howToGet: 'run `npm run build`',
  },
  'old-node': {
    probe: oldNode,
    howToGet: 'install a Node older than 22.19 beside the one in use, or set FLYBALL_OLD_NODE',
  },
} as const satisfies Record<string, Need>

export type NeedName = keyof typeof needs

const found = new Map<NeedName, string | undefined>() // capped by the number of needs

/** What the probe found, asked once a process: a path or command, or undefined. */
export function findNeed(name: NeedName): string | undefined {
  if (!found.has(name)) found.set(name, needs[name].probe())
  return found.get(name)
}

/**
 * Names in FLYBALL_REQUIRE (comma-separated): tests that skip for one of them fail instead.
 * @throws a name that is no need, since a typo there would let everything skip
 */
export function requiredNeeds(text: string = process.env['FLYBALL_REQUIRE'] ?? ''): readonly NeedName[] {
  const names = text.split(',').map((name) => name.trim()).filter((name) => name !== '')
  for (const name of names) {
    if (!Object.hasOwn(needs, name)) {
      throw new Error(`FLYBALL_REQUIRE: expected ${Object.keys(needs).join(', ')}; got ${name}`)
    }
  }
  return names as NeedName[]
}

function firstCommand(candidates: readonly (string | undefined)[], mustRun = false): string | undefined {
  for (const candidate of candidates) {
    if (candidate === undefined || candidate === '') continue
    const path = onPath(candidate)
    if (path !== undefined && (!mustRun || spawnSync(path, ['--version']).status === 0)) return path
  }
  return undefined
}

function onPath(command: string): string | undefined {
  const places = command.includes('/') ? [''] : (process.env['PATH'] ?? '').split(delimiter)
  for (const place of places) {
    const path = place === '' ? command : join(place, command)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // not here
    }
  }
  return undefined
}

function nativeAddon(): string | undefined {
  for (const folder of ['build', 'build/native', 'build/Release', 'plugins/backends/native/build']) {
    const absolute = join(repositoryRoot, folder)
    if (!existsSync(absolute)) continue
    const addon = readdirSync(absolute).find((file) => file.endsWith('.node'))
    if (addon !== undefined) return join(absolute, addon)
  }
  return undefined
}

const existing = (path: string): string | undefined => (existsSync(path) ? path : undefined)

/** A Node that flyball refuses: every `node` of the path is asked for its version. */
function oldNode(): string | undefined {
  const candidates = [process.env['FLYBALL_OLD_NODE'], ...(process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'node'))]
  for (const candidate of new Set(candidates)) {
    if (candidate === undefined || onPath(candidate) === undefined) continue
    const [major = Number.NaN, minor = 0] = spawnSync(candidate, ['--version'], { encoding: 'utf8' }).stdout.slice(1).split('.').map(Number)
    if (major < 22 || (major === 22 && minor < 19)) return candidate
  }
  return undefined
}
