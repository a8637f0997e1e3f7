// @ts-check
/**
 * Makes a clone ready to run: a good Node, the packages of the lockfile, the build, the native engine where there is a
 * compiler. `npm start`, `npm test` and the other scripts call it first; when all is in place it takes well under a
 * second. Node built-ins only, Node 18 or later.
 *
 *   node tools/setup.mjs [--quiet] [--build]
 *     --quiet  says nothing about steps under two seconds
 *     --build  builds again even if nothing changed
 */
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildHash, buildInputs, copyAssets, missingOutput, prune } from './setup/build.mjs'
import { installNeeded } from './setup/install.mjs'
import { acquireLock } from './setup/lock.mjs'
import { isUnreachable, isWorthRetrying, npmCi, npmFailure } from './setup/npm.mjs'
import { runCommand, say, step, stopCommands } from './setup/progress.mjs'
import {
  installedNode, isGoodNode, isLinked, linkNode, neededNode, nodePackageFor, nodeVersionOf,
} from './setup/runtime.mjs'
import { SetupError } from './setup/setup-error.mjs'
import { clearStamp, hashFiles, listFiles, readStamp, writeStamp } from './setup/stamp.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const toolFolder = join(root, 'tools', 'node24')
const nativeBuilder = join('plugins', 'backends', 'native', 'build.mjs')
/** Exit code of the native build where there is no compiler. */
const noCompiler = 2

const flags = process.argv.slice(2)
const unknown = flags.find((flag) => !['--quiet', '--build'].includes(flag))
const quiet = flags.includes('--quiet')
const force = flags.includes('--build')

/** @returns {string | undefined} the Node to use, if it is here already */
function presentNode() {
  return isGoodNode(process.versions.node)
    ? process.execPath
    : installedNode(toolFolder, process.platform, process.arch)
}

/** @param {string} node */
const isOurs = (node) => node.startsWith(toolFolder)

/**
 * @param {string} node
 * @param {string} folder
 * @returns {Promise<string>} what npm said
 */
async function install(node, folder) {
  let result
  for (const extra of [['--prefer-offline'], []]) {
    const { command, args, env } = npmCi(node, folder, extra, process.env)
    result = await runCommand(command, args, { cwd: folder, env }, isUnreachable)
    if (result.code === 0) return result.output
    if (result.code === 127) throw new SetupError(`npm was not found: it comes with Node (${result.output.trim()})`)
    if (!isWorthRetrying(result.output)) break
  }
  throw new SetupError(npmFailure(result?.output ?? ''))
}

/** Stage 1. @returns {Promise<string>} */
async function bringNode() {
  const present = presentNode()
  if (present !== undefined) return present
  const { name } = nodePackageFor(process.platform, process.arch)
  const output = await step(`bringing Node 24 (this is ${process.version}, flyball needs ${neededNode} or later)`, quiet, () =>
    install(process.execPath, toolFolder))
  const node = installedNode(toolFolder, process.platform, process.arch)
  // optional for npm, so a package that could not be fetched is no failure to it
  if (node === undefined) throw new SetupError(npmFailure(`${output}\nnpm error ${name} was left out`))
  if (nodeVersionOf(node) === undefined) {
    throw new SetupError(
      `Node 24 from npm (${name}) does not run on this machine: install Node ${neededNode} or later, then run again`,
    )
  }
  return node
}

/** Stage 2. @param {string} node */
async function bringPackages(node) {
  if (installNeeded(root) !== undefined) {
    const output = await step('installing packages (half a minute the first time)', quiet, () => install(node, root))
    const reason = installNeeded(root)
    if (reason !== undefined) throw new SetupError(npmFailure(`${output}\nnpm error ${reason}`))
  }
  if (isOurs(node) && !isLinked(root, node)) linkNode(root, node)
}

/** @param {string} node */
async function build(node) {
  const inputs = buildInputs(root)
  const hash = buildHash(root, inputs)
  if (!force && readStamp(root, 'build')?.hash === hash && missingOutput(root, inputs) === undefined) return
  clearStamp(root, 'build')
  await step('building', quiet, async () => {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const result = await runCommand(node, [tsc, '-p', '.', '--pretty', 'false'], { cwd: root, env: process.env })
    if (result.code !== 0) {
      process.stderr.write(result.output)
      const errors = result.output.match(/: error TS\d+/g)?.length
      throw new SetupError(errors === undefined ? 'tsc failed (see above)' : `the build found ${errors} type errors (see above)`)
    }
    copyAssets(root, inputs.assets)
    prune(root, inputs)
  })
  // stamped with what was read before the compiler ran: an edit made meanwhile builds again
  writeStamp(root, 'build', { hash })
}

/** The compiler is optional, so nothing here stops the start. @param {string} node */
async function buildNative(node) {
  if (!existsSync(join(root, nativeBuilder))) return
  const hash = nativeHash()
  if (!force && isNativeReady(hash)) {
    if (readStamp(root, 'native')?.outcome === 'failed' && !quiet) sayNativeFailed()
    return
  }
  const result = await step('building the native engine', quiet, () =>
    runCommand(node, [nativeBuilder], { cwd: root, env: process.env }))
  if (result.code === noCompiler) {
    clearStamp(root, 'native') // a compiler may come later, and looking for one is quick
    if (!quiet) say('no C++ compiler here: the TypeScript engine serves')
  } else if (result.code === 0) {
    // "output: PATH" lines name what was built, so that a removed file is built again
    const outputs = [...result.stdout.matchAll(/^output: (.+)$/gm)].map((match) => String(match[1]))
    writeStamp(root, 'native', { hash, outcome: 'built', outputs })
  } else {
    writeStamp(root, 'native', { hash, outcome: 'failed' })
    process.stderr.write(`${result.output.trim().split('\n').slice(-20).join('\n')}\n`)
    sayNativeFailed()
  }
}

function sayNativeFailed() {
  say('the native engine did not compile: the TypeScript engine serves (`npm run build` shows why)')
}

function nativeHash() {
  const files = listFiles(root, [dirname(nativeBuilder)], (file) => !file.endsWith('.ts') && !file.endsWith('.md'))
  return hashFiles(root, [...files, 'package-lock.json'],
    [process.platform, process.arch, process.env['CXX'] ?? '', process.env['CXXFLAGS'] ?? ''])
}

/** @param {string} hash */
function isNativeReady(hash) {
  const stamp = readStamp(root, 'native')
  return stamp?.hash === hash && (stamp.outputs ?? []).every((output) => existsSync(join(root, output)))
}

/** Everything in place? Read without the lock: an install or a build under way shows as something missing. */
function isReady() {
  const node = presentNode()
  if (force || node === undefined || (isOurs(node) && !isLinked(root, node))) return false
  if (installNeeded(root) !== undefined) return false
  const inputs = buildInputs(root)
  if (readStamp(root, 'build')?.hash !== buildHash(root, inputs) || missingOutput(root, inputs) !== undefined) return false
  return !existsSync(join(root, nativeBuilder)) || (isNativeReady(nativeHash()) && readStamp(root, 'native')?.outcome === 'built')
}

async function main() {
  if (unknown !== undefined) throw new SetupError(`unknown option ${unknown} (known: --quiet, --build)`)
  if (!isGoodNode(process.versions.node)) nodePackageFor(process.platform, process.arch)
  if (isReady()) return
  const lock = await acquireLock(join(root, '.setup.lock'), {
    onWait: (owner) => say(`another set-up works in this folder${owner ? ` (process ${owner.pid})` : ''}: waiting`),
  })
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.once(signal, () => {
      void stopCommands(signal).then(() => {
        lock.release()
        process.exit(128 + constants.signals[signal])
      })
    })
  }
  try {
    const node = await bringNode()
    await bringPackages(node)
    await build(node)
    await buildNative(node)
  } finally {
    lock.release()
  }
}

main().catch((/** @type {unknown} */ error) => {
  const { message, stack, code } = /** @type {NodeJS.ErrnoException} */ (error)
  // a `code` is the file system speaking (full, read-only, not ours): its message says it in one line
  say(error instanceof SetupError || code !== undefined ? message : (stack ?? message))
  process.exitCode = 1
})
