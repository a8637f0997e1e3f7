// @ts-check
/**
 * Builds the native engine with nothing but a C++17 compiler: headers come from npm packages that are installed already.
 *
 *   node plugins/backends/native/build.mjs [--program NAME] [--sanitize address|thread] [--jobs N]
 *
 * Prints `output: PATH` for what it made. Exit 0: built (or up to date), 2: no compiler here, 1: it did not compile.
 * CXX names another compiler, CXXFLAGS adds flags.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const sources = join(here, 'kernels')
const root = findRoot(here)
const flags = parse(process.argv.slice(2))

/** Files of other programs than the addon: only they have a `main`. */
const programs = ['native_test']
/** One file per instruction set: compiled only where the compiler knows its flags. */
const variants = process.arch === 'x64'
  ? [
      { file: 'isa_avx2.cpp', define: 'FLYBALL_AVX2', flags: ['-mavx2', '-mfma', '-mf16c'] },
      { file: 'isa_avx512.cpp', define: 'FLYBALL_AVX512', flags: avx512() },
      { file: 'isa_avx512bf16.cpp', define: 'FLYBALL_AVX512BF16', flags: [...avx512(), '-mavx512bf16'] },
    ]
  : process.arch === 'arm64'
    ? [{ file: 'isa_neon.cpp', define: 'FLYBALL_NEON', flags: process.platform === 'darwin' ? [] : ['-march=armv8.2-a+dotprod'] }]
    : []

main().catch((error) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})

async function main() {
  const compiler = findCompiler()
  if (compiler === undefined) {
    process.stderr.write('no C++17 compiler found: install g++ or clang++, or set CXX\n')
    process.exitCode = 2
    return
  }
  const output = join(root, 'build', 'native', flags.program === undefined ? 'flyball-native.node' : `${flags.program}${flags.sanitize === undefined ? '' : `-${flags.sanitize}`}`)
  const objects = join(root, 'build', 'native', `objects${flags.sanitize === undefined ? '' : `-${flags.sanitize}`}`)
  mkdirSync(objects, { recursive: true })

  const known = variants.filter(({ flags: needed }) => accepts(compiler, needed))
  const common = [
    '-std=c++17', '-fPIC', '-fvisibility=hidden', '-Wall', '-Wextra', '-ffp-contract=off', '-pthread',
    // GCC 12's own AVX-512 headers start values from themselves
    '-Wno-maybe-uninitialized', '-Wno-uninitialized',
    ...(flags.sanitize === undefined ? ['-O3'] : ['-O1', '-g', '-fno-omit-frame-pointer', ...sanitizers(flags.sanitize)]),
    ...known.map(({ define }) => `-D${define}`),
    ...(process.env['CXXFLAGS'] ?? '').split(' ').filter(Boolean),
  ]
  const addonOnly = ['addon.cpp', 'addon_kernels.cpp']
  const files = readdirSync(sources).filter((file) => file.endsWith('.cpp')).sort().filter((file) => {
    const name = file.slice(0, -4)
    if (programs.includes(name)) return name === flags.program
    if (addonOnly.includes(file)) return flags.program === undefined
    return !name.startsWith('isa_') || name === 'isa_scalar' || known.some((variant) => variant.file === file)
  })
  const headers = hash(readdirSync(sources).filter((file) => file.endsWith('.h')).sort().map((file) => readFileSync(join(sources, file))))
  const version = spawnSync(compiler, ['--version'], { encoding: 'utf8' }).stdout

  const jobs = files.map((file) => {
    const args = [
      ...common,
      ...(known.find((variant) => variant.file === file)?.flags ?? []),
      ...(addonOnly.includes(file) ? addonFlags() : []),
    ]
    const key = hash([headers, readFileSync(join(sources, file)), JSON.stringify(args), compiler, version]).slice(0, 16)
    return { file, args, object: join(objects, `${file.slice(0, -4)}-${key}.o`) }
  })
  const linked = hash(jobs.map(({ object }) => object)).slice(0, 16)
  const stamp = `${output}.stamp`
  if (!existsSync(output) || !existsSync(stamp) || readFileSync(stamp, 'utf8') !== linked) {
    await compileAll(compiler, jobs.filter(({ object }) => !existsSync(object)))
    const fresh = `${output}.${process.pid}.tmp`
    const shared = flags.program !== undefined ? [] : process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared']
    const runtime = process.platform === 'darwin' || flags.sanitize !== undefined ? [] : ['-static-libstdc++', '-static-libgcc']
    await run(compiler, [...shared, '-pthread', ...(flags.sanitize === undefined ? ['-s'] : sanitizers(flags.sanitize)), ...runtime, ...jobs.map(({ object }) => object), '-o', fresh])
    renameSync(fresh, output)
    writeFileSync(stamp, linked)
    // objects of earlier versions
    const wanted = new Set(jobs.map(({ object }) => object))
    if (flags.program === undefined) for (const file of readdirSync(objects)) if (!wanted.has(join(objects, file)) && !programs.some((name) => file.startsWith(name))) rmSync(join(objects, file))
  }
  const missing = variants.filter((variant) => !known.includes(variant)).map(({ file }) => file)
  if (missing.length > 0) process.stdout.write(`left out, since the compiler does not know their flags: ${missing.join(', ')}\n`)
  process.stdout.write(`output: ${relative(root, output)}\n`)
}

/** @param {string[]} args */
function parse(args) {
  /** @type {{ program?: string, sanitize?: 'address' | 'thread', jobs: number }} */
  const parsed = { jobs: Math.min(availableParallelism(), 8) }
  for (let i = 0; i < args.length; i += 2) {
    const value = args[i + 1]
    if (args[i] === '--program' && value !== undefined) parsed.program = value
    else if (args[i] === '--sanitize' && (value === 'address' || value === 'thread')) parsed.sanitize = value
    else if (args[i] === '--jobs' && Number(value) > 0) parsed.jobs = Number(value)
    else {
      process.stderr.write(`unknown option ${args[i]} ${value ?? ''}\n`)
      process.exit(1)
    }
  }
  return parsed
}

function avx512() {
  return ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mavx512vnni', '-mavx2', '-mfma', '-mf16c']
}

/** @param {'address' | 'thread'} kind */
function sanitizers(kind) {
  return kind === 'address' ? ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'] : ['-fsanitize=thread']
}

function addonFlags() {
  const require = createRequire(import.meta.url)
  const packageFolder = (/** @type {string} */ name) => dirname(require.resolve(`${name}/package.json`))
  return ['-DNAPI_VERSION=9', '-DNAPI_CPP_EXCEPTIONS', '-isystem', packageFolder('node-addon-api'), '-isystem', join(packageFolder('node-api-headers'), 'include')]
}

function findCompiler() {
  for (const candidate of [process.env['CXX'], 'c++', 'g++', 'clang++']) {
    if (candidate && accepts(candidate, ['-std=c++17'])) return candidate
  }
  return undefined
}

/** @param {string} compiler @param {string[]} needed */
function accepts(compiler, needed) {
  const probe = spawnSync(compiler, [...needed, '-x', 'c++', '-fsyntax-only', '-'], { input: 'int main() { return 0; }\n' })
  return probe.status === 0
}

/** @param {string} compiler @param {{ file: string, args: string[], object: string }[]} jobs */
async function compileAll(compiler, jobs) {
  const queue = [...jobs]
  const worker = async () => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
      const fresh = `${job.object}.${process.pid}.tmp`
      await run(compiler, [...job.args, '-c', join(sources, job.file), '-o', fresh])
      renameSync(fresh, job.object)
    }
  }
  await Promise.all(Array.from({ length: Math.min(flags.jobs, queue.length) }, worker))
}

/** @param {string} command @param {string[]} args @returns {Promise<void>} */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    child.stdout.on('data', (data) => (said += data))
    child.stderr.on('data', (data) => (said += data))
    child.on('error', reject)
    child.on('close', (code) => {
      if (said !== '') process.stderr.write(said)
      if (code === 0) resolve()
      else reject(new Error(`${command} failed with ${code} on ${args.at(-3)}`))
    })
  })
}

/** @param {(string | Uint8Array)[]} parts */
function hash(parts) {
  const sum = createHash('sha256')
  for (const part of parts) sum.update(part).update('\0')
  return sum.digest('hex')
}

/** The package's folder: the nearest one above with a package.json. @param {string} from @returns {string} */
function findRoot(from) {
  if (existsSync(join(from, 'package.json'))) return from
  const parent = dirname(from)
  if (parent === from) throw new Error('no package.json above the native sources')
  return findRoot(parent)
}
