// @ts-check
/**
 * One set-up at a time in a clone, so that `npm start` and `npm test` can be typed side by side. The lock is a folder
 * (mkdir is atomic everywhere); it lies beside node_modules, because `npm ci` empties that one.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'

const pollMs = 200
const heartbeatMs = 1_000
/** Polls that see no heartbeat before a lock counts as abandoned: 30 s. Polls and not clock time, so that a machine
 * that slept does not make both sides believe that the other one died. */
const silentPolls = 150

/**
 * @typedef {{ pid: number, host: string, token: string }} Owner
 * @typedef {{ release: () => void }} Lock
 * @typedef {{ pollMs?: number, heartbeatMs?: number, silentPolls?: number, isAlive?: (pid: number) => boolean,
 *   onWait?: (owner: Owner | undefined) => void }} LockOptions
 */

/**
 * Waits until the lock is ours. A lock whose process is gone (same host), or that has no heartbeat, is taken over.
 * @param {string} folder the lock's path
 * @param {LockOptions} [options]
 * @returns {Promise<Lock>} release() may be called more than once
 */
export async function acquireLock(folder, options = {}) {
  const { isAlive = processIsAlive, onWait } = options
  const maxSilentPolls = options.silentPolls ?? silentPolls
  let waited = false
  let silent = 0
  let lastBeat = -1
  for (;;) {
    const token = `${process.pid}-${process.hrtime.bigint()}`
    if (tryMake(folder, { pid: process.pid, host: hostname(), token })) {
      return held(folder, token, options.heartbeatMs ?? heartbeatMs)
    }
    const owner = readOwner(folder)
    const beat = statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? -1
    silent = beat === lastBeat ? silent + 1 : 0
    lastBeat = beat
    const dead = owner !== undefined && owner.host === hostname() && !isAlive(owner.pid)
    if (dead || silent >= maxSilentPolls) {
      takeAway(folder, owner)
      silent = 0
      continue
    }
    if (!waited) onWait?.(owner)
    waited = true
    await new Promise((resolve) => setTimeout(resolve, options.pollMs ?? pollMs))
  }
}

/**
 * @param {string} folder
 * @param {Owner} owner
 */
function tryMake(folder, owner) {
  try {
    mkdirSync(folder)
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false
    throw error
  }
  writeFileSync(join(folder, 'owner.json'), JSON.stringify(owner))
  return true
}

/**
 * @param {string} folder
 * @returns {Owner | undefined}
 */
function readOwner(folder) {
  try {
    return JSON.parse(readFileSync(join(folder, 'owner.json'), 'utf8'))
  } catch {
    return undefined // just made, or just given back
  }
}

/**
 * Renames before removing: of two waiters that see the same dead lock, one wins. If the rename caught a lock that
 * somebody else took in between, it goes back.
 * @param {string} folder
 * @param {Owner | undefined} expected
 */
function takeAway(folder, expected) {
  const aside = `${folder}.stale-${process.pid}`
  try {
    renameSync(folder, aside)
  } catch {
    return
  }
  if (readOwner(aside)?.token !== expected?.token) {
    try {
      renameSync(aside, folder)
      return
    } catch {
      // a third one has made a new lock meanwhile: theirs stands
    }
  }
  rmSync(aside, { recursive: true, force: true })
}

/**
 * @param {string} folder
 * @param {string} token
 * @param {number} everyMs
 * @returns {Lock}
 */
function held(folder, token, everyMs) {
  const beat = setInterval(() => {
    try {
      const now = new Date()
      utimesSync(folder, now, now)
    } catch {
      // taken away: the work goes on, release() will leave the other's lock alone
    }
  }, everyMs)
  beat.unref()
  return {
    release() {
      clearInterval(beat)
      if (readOwner(folder)?.token === token) rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** @param {number} pid */
function processIsAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM'
  }
}
