// @ts-check
/** Stamps: small JSON files in node_modules/.cache/flyball/ that say what the last good run of a step was made from. */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Never part of a source tree, and too large to walk. */
const skippedFolders = new Set(['node_modules', 'dist', '.git', 'build', 'coverage'])

/**
 * Files below the given folders and files, sorted, with "/" on every platform; what does not exist is left out.
 * @param {string} root
 * @param {readonly string[]} paths relative to root
 * @param {(path: string) => boolean} wanted
 * @returns {string[]} relative to root
 */
export function listFiles(root, paths, wanted) {
  /** @type {string[]} */
  const files = []
  /** @param {string} path */
  const walk = (path) => {
    let entries
    try {
      entries = readdirSync(join(root, path), { withFileTypes: true })
    } catch (error) {
      const code = /** @type {NodeJS.ErrnoException} */ (error).code
      if (code === 'ENOTDIR') files.push(path)
      else if (code !== 'ENOENT') throw error
      return
    }
    for (const entry of entries) {
      const child = `${path}/${entry.name}`
      if (entry.isDirectory()) {
        if (!skippedFolders.has(entry.name)) walk(child)
      } else if (entry.isFile()) files.push(child)
    }
  }
  for (const path of paths) walk(path)
  return files.filter(wanted).sort()
}

/**
 * sha256 over names and contents, so that a rename counts as a change.
 * @param {string} root
 * @param {readonly string[]} files relative to root
 * @param {readonly string[]} [extra] anything else that the step depends on
 * @returns {string} hex
 */
export function hashFiles(root, files, extra = []) {
  const hash = createHash('sha256')
  for (const file of files) {
    const bytes = readFileSync(join(root, file))
    hash.update(`${file}\0${bytes.length}\0`).update(bytes)
  }
  for (const text of extra) hash.update(`\0${text}`)
  return hash.digest('hex')
}

/** @typedef {{ hash: string, outcome?: string, outputs?: string[] }} Stamp */

/**
 * @param {string} root
 * @param {string} step
 */
const stampFile = (root, step) => join(root, 'node_modules', '.cache', 'flyball', `${step}.json`)

/**
 * @param {string} root
 * @param {string} step
 * @returns {Stamp | undefined}
 */
export function readStamp(root, step) {
  try {
    return JSON.parse(readFileSync(stampFile(root, step), 'utf8'))
  } catch {
    return undefined
  }
}

/**
 * @param {string} root
 * @param {string} step
 * @param {Stamp} stamp
 */
export function writeStamp(root, step, stamp) {
  const file = stampFile(root, step)
  mkdirSync(dirname(file), { recursive: true })
  const draft = `${file}.${process.pid}`
  writeFileSync(draft, JSON.stringify(stamp))
  renameSync(draft, file)
}

/**
 * @param {string} root
 * @param {string} step
 */
export function clearStamp(root, step) {
  rmSync(stampFile(root, step), { force: true })
}
