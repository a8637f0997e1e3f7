// @ts-check
/** Says what takes its time, on stderr, so that the stdout of a command stays the command's own. */
import { spawn } from 'node:child_process'

/** Longer than this and a person wonders. */
const patienceMs = 2_000
const repeatMs = 10_000
/** What is kept of a child's output for its last words. */
const maxOutputChars = 200_000

/** @param {string} line */
export const say = (line) => void process.stderr.write(`flyball: ${line}\n`)

/**
 * Tells the start and the end of a step; quiet: only of one that takes over two seconds.
 * @template T
 * @param {string} title such as "installing packages"
 * @param {boolean} quiet
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function step(title, quiet, work) {
  const startedAt = Date.now()
  const seconds = () => `${((Date.now() - startedAt) / 1_000).toFixed(1)} s`
  let told = !quiet
  if (told) say(`${title} ...`)
  const first = setTimeout(() => {
    if (!told) say(`${title} ...`)
    told = true
  }, patienceMs)
  const again = setInterval(() => say(`${title}: ${seconds()} so far`), repeatMs)
  try {
    const result = await work()
    if (told) say(`${title}: done in ${seconds()}`)
    return result
  } finally {
    clearTimeout(first)
    clearInterval(again)
  }
}

/** @type {Set<import('node:child_process').ChildProcess>} */
const children = new Set()

/**
 * @typedef {{ code: number, output: string, stdout: string }} RunResult code 127: could not be started
 */

/**
 * Runs a command to its end, or until its output is hopeless, and keeps what it says.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd: string, env: NodeJS.ProcessEnv }} options
 * @param {(output: string) => boolean} [isHopeless]
 * @returns {Promise<RunResult>}
 */
export function runCommand(command, args, options, isHopeless = () => false) {
  return new Promise((resolve) => {
    let output = ''
    let stdout = ''
    let stopping = false
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    children.add(child)
    /** @param {string} text */
    const keep = (text) => {
      output = (output + text).slice(-maxOutputChars)
      if (!stopping && isHopeless(output)) {
        stopping = true
        void stop(child, 'SIGTERM')
      }
    }
    child.stdout.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
      keep(text)
      stdout = (stdout + text).slice(-maxOutputChars)
    })
    child.stderr.setEncoding('utf8').on('data', keep)
    child.on('error', (error) => {
      children.delete(child)
      resolve({ code: 127, output: `${output}${error.message}`, stdout })
    })
    child.on('close', (code, signal) => {
      children.delete(child)
      resolve({ code: code ?? (signal === null ? 1 : 128), output, stdout })
    })
  })
}

/** npm works on for a while after a signal. */
const graceMs = 3_000

/**
 * @param {import('node:child_process').ChildProcess} child
 * @param {NodeJS.Signals} signal
 */
function stop(child, signal) {
  return new Promise((resolve) => {
    child.once('close', resolve)
    child.kill(signal)
    setTimeout(() => child.kill('SIGKILL'), graceMs).unref()
  })
}

/**
 * Ends what runs, and waits for the end: a next set-up must not meet a child that still writes.
 * @param {NodeJS.Signals} signal
 */
export async function stopCommands(signal) {
  await Promise.all([...children].map((child) => stop(child, signal)))
}
