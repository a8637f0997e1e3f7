// @ts-check
/**
 * Is node_modules what the lockfile says? npm leaves node_modules/.package-lock.json as the last act of an install,
 * so comparing the two tells a good install from a missing, old, foreign or interrupted one, whoever made it.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError } from './setup-error.mjs'

/**
 * @typedef {Record<string, string>} Ranges
 * @typedef {{ version?: string, integrity?: string, link?: boolean, dependencies?: Ranges, devDependencies?: Ranges,
 *   optionalDependencies?: Ranges, peerDependencies?: Ranges,
 *   os?: string | string[], cpu?: string | string[], libc?: string | string[] }} LockedPackage
 * @typedef {{ packages: Record<string, LockedPackage> }} Lockfile
 * @typedef {{ os: string, cpu: string, libc: string | undefined }} Machine
 */

/** @returns {Machine} this machine, in the words that lockfiles use */
export function thisMachine() {
  return { os: process.platform, cpu: process.arch, libc: libcName() }
}

function libcName() {
  if (process.platform !== 'linux') return undefined
  /** @type {any} */
  const report = process.report?.getReport()
  return report?.header?.glibcVersionRuntime ? 'glibc' : 'musl'
}

/**
 * @param {LockedPackage} locked
 * @param {Machine} machine
 * @returns {boolean} whether npm would install it here
 */
export function fits(locked, machine) {
  return (
    allows(locked.os, machine.os) &&
    allows(locked.cpu, machine.cpu) &&
    (locked.libc === undefined || (machine.libc !== undefined && allows(locked.libc, machine.libc)))
  )
}

/**
 * @param {string | string[] | undefined} rule names, or names with "!" for "all but"
 * @param {string} value
 */
function allows(rule, value) {
  if (rule === undefined) return true
  const names = Array.isArray(rule) ? rule : [rule]
  if (names.includes(`!${value}`)) return false
  return names.includes(value) || names.includes('any') || names.every((name) => name.startsWith('!'))
}

/**
 * The packages of a lockfile that npm installs on a machine. What only a package for another platform depends on is
 * left out with it, though it names no platform itself.
 * @param {Lockfile} lock
 * @param {Machine} machine
 * @returns {Set<string>} paths such as "node_modules/zod", without the root
 */
export function expectedPackages(lock, machine) {
  /** @type {Set<string>} */
  const reached = new Set()
  const queue = ['']
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    const from = lock.packages[path]
    if (from === undefined) continue
    const names = [from.dependencies, from.optionalDependencies, from.peerDependencies,
      path === '' ? from.devDependencies : undefined].flatMap((ranges) => Object.keys(ranges ?? {}))
    for (const name of names) {
      const found = resolveIn(lock, path, name)
      if (found === undefined || reached.has(found)) continue
      const target = lock.packages[found]
      if (target === undefined || target.link === true || !fits(target, machine)) continue
      reached.add(found)
      queue.push(found)
    }
  }
  return reached
}

/**
 * Node's own look-up: beside the package first, then in each folder above.
 * @param {Lockfile} lock
 * @param {string} path
 * @param {string} name
 */
function resolveIn(lock, path, name) {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const candidate = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`
    if (lock.packages[candidate] !== undefined) return candidate
    if (folder === '') return undefined
  }
}

/**
 * The first difference between what is locked and what is installed.
 * An optional package that fits the machine must be there too: npm under an old Node leaves out native bindings
 * whose `engines` it does not meet, and the tools that need them then fail with a riddle.
 * @param {Lockfile} lock package-lock.json
 * @param {Lockfile | undefined} installed node_modules/.package-lock.json
 * @param {Machine} machine
 * @returns {string | undefined} undefined when they agree
 */
export function difference(lock, installed, machine) {
  if (installed === undefined) return 'nothing installed'
  for (const path of expectedPackages(lock, machine)) {
    const locked = lock.packages[path] ?? {}
    const found = installed.packages[path]
    if (found === undefined) return `${path} is missing`
    if (found.version !== locked.version || found.integrity !== locked.integrity) {
      return `${path} is ${found.version}, not ${locked.version}`
    }
  }
  for (const path of Object.keys(installed.packages)) {
    if (lock.packages[path] === undefined) return `${path} is not in the lockfile`
  }
  return undefined
}

/**
 * @param {string} root folder with package-lock.json and node_modules
 * @param {Machine} [machine]
 * @returns {string | undefined} why an install is needed; undefined when none is
 */
export function installNeeded(root, machine = thisMachine()) {
  const lock = readJson(join(root, 'package-lock.json'))
  if (lock === undefined) throw new SetupError('package-lock.json is missing or broken: restore it from the repository')
  const installed = readJson(join(root, 'node_modules', '.package-lock.json'))
  const reason = difference(lock, installed, machine)
  if (reason !== undefined || installed === undefined) return reason
  return Object.keys(installed.packages)
    .filter((path) => !existsSync(join(root, path, 'package.json')))
    .map((path) => `${path} is missing`)[0]
}

/**
 * @param {string} file
 * @returns {Lockfile | undefined}
 */
function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}
