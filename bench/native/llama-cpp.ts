/**
 * llama.cpp's C library, called by FFI with batches of our choosing: the strongest honest baseline, since its own JS
 * wrapper adds work. It comes prebuilt in npm packages, locked in tools/llama-cpp or fetched by this benchmark into a
 * cache folder together with the wrapper; none of them is a dependency of the project.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const PACKAGES = ['node-llama-cpp@3.22.1', 'koffi@2']

/** FLYBALL_BENCH_CACHE, or a folder in the user's cache. */
export function benchCache(): string {
  return process.env['FLYBALL_BENCH_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'flyball-bench')
}

/** Installs the packages on first use. @throws when npm cannot fetch them */
export function fetchLlamaCpp(): string {
  const cache = benchCache()
  if (!existsSync(join(cache, 'node_modules', 'node-llama-cpp')) || !existsSync(join(cache, 'node_modules', 'koffi'))) {
    mkdirSync(cache, { recursive: true })
    writeFileSync(join(cache, 'package.json'), '{ "private": true }\n')
    process.stderr.write('bench: fetching llama.cpp (node-llama-cpp) into the cache, once\n')
    execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...PACKAGES], { cwd: cache, stdio: ['ignore', 'ignore', 'inherit'] })
  }
  return cache
}

/** Where the library lies already: tools/llama-cpp, else the benchmark's cache. */
export function findLlamaCpp(): string | undefined {
  // from the sources, and from dist
  const places = ['../../tools/llama-cpp', '../../../tools/llama-cpp'].map((place) => fileURLToPath(new URL(place, import.meta.url)))
  return [...places, benchCache()].find((place) => existsSync(join(place, 'node_modules', 'koffi')) && existsSync(libraries(place)))
}

function libraries(folder: string): string {
  const platform = `${process.platform === 'darwin' ? 'mac' : process.platform === 'win32' ? 'win' : 'linux'}-${process.arch}${process.platform === 'darwin' && process.arch === 'arm64' ? '-metal' : ''}`
  return join(folder, 'node_modules', '@node-llama-cpp', platform, 'bins', platform)
}

type Native = (...args: unknown[]) => unknown
interface AsyncNative extends Native {
  async(...args: unknown[]): void
}
interface Koffi {
  load(path: string, options?: { global?: boolean }): { func(name: string, result: unknown, args: unknown[]): AsyncNative }
  struct(fields: Record<string, unknown>): unknown
  array(type: string, length: number): unknown
  decode(pointer: unknown, type: string, length: number): Float32Array
  address(value: unknown): bigint
}

export interface LlamaToken {
  readonly token: number
  readonly position: number
  readonly sequence: number
  readonly logits: boolean
}

/** Places of the parameters that we set, in 32-bit words, checked against the library's own defaults. */
const WORD = { context: 0, batch: 1, microBatch: 2, sequences: 3, threads: 7, threadsBatch: 8 }
const PARAMETER_WORDS = 64

export class LlamaCpp {
  readonly cpuLibrary: string
  readonly #koffi: Koffi
  readonly #functions: Record<string, AsyncNative>
  readonly #model: unknown
  readonly #context: unknown
  readonly #vocabulary: number
  readonly #memory: unknown

  /** Loads the model with the CPU library that llama.cpp picks for this machine. */
  constructor(file: string, options: { readonly threads: number; readonly sequences: number; readonly contextPerSequence: number }) {
    const folder = findLlamaCpp() ?? fetchLlamaCpp()
    const koffi = createRequire(join(folder, 'package.json'))('koffi') as Koffi
    const bins = libraries(folder)
    const named = (start: string): string => {
      const file = readdirSync(bins).find((entry) => entry.startsWith(start) && /\.(so|dylib)$/.test(entry))
      if (file === undefined) throw new Error(`no ${start} in ${bins}`)
      return join(bins, file)
    }
    koffi.load(named('libggml-base'), { global: true })
    const ggml = koffi.load(named(existsSync(join(bins, 'libggml.so')) ? 'libggml.so' : 'libggml.v'), { global: true })
    const llama = koffi.load(named('libllama.'), { global: true })
    const parameters = koffi.struct({ words: koffi.array('uint32', PARAMETER_WORDS) })
    const batch = koffi.struct({ count: 'int32', token: 'void *', embedding: 'void *', position: 'void *', sequenceCounts: 'void *', sequences: 'void *', logits: 'void *' })
    this.#koffi = koffi
    const f = (name: string, result: unknown, ...args: unknown[]): AsyncNative => llama.func(name, result, args)
    this.#functions = {
      decode: f('llama_decode', 'int32', 'void *', batch),
      logits: f('llama_get_logits_ith', 'float *', 'void *', 'int32'),
      remove: f('llama_memory_seq_rm', 'bool', 'void *', 'int32', 'int32', 'int32'),
      clear: f('llama_memory_clear', 'void', 'void *', 'bool'),
      synchronize: f('llama_synchronize', 'void', 'void *'),
      freeContext: f('llama_free', 'void', 'void *'),
      freeModel: f('llama_model_free', 'void', 'void *'),
    }
    const quiet = f('llama_log_set', 'void', 'void *', 'void *')
    if (process.env['FLYBALL_BENCH_VERBOSE'] === undefined) {
      quiet(logSink(koffi), null)
    }
    ggml.func('ggml_backend_load_all_from_path', 'void', ['str'])(bins)
    f('llama_backend_init', 'void')()
    const modelDefaults = f('llama_model_default_params', parameters)() as { words: Uint32Array }
    const contextDefaults = f('llama_context_default_params', parameters)() as { words: Uint32Array }
    const words = Uint32Array.from(contextDefaults.words)
    if (words[WORD.context] !== 512 || words[WORD.microBatch] !== 512 || words[WORD.sequences] !== 1 || words[WORD.threads] !== words[WORD.threadsBatch]) {
      throw new Error('this llama.cpp lays its context parameters out in another way than this benchmark knows')
    }
    words[WORD.context] = options.sequences * options.contextPerSequence
    words[WORD.batch] = 2048
    words[WORD.sequences] = options.sequences
    words[WORD.threads] = words[WORD.threadsBatch] = options.threads
    const model = f('llama_model_load_from_file', 'void *', 'str', parameters)(file, { words: modelDefaults.words })
    if (model === null) throw new Error(`llama.cpp cannot load ${file}`)
    const context = f('llama_init_from_model', 'void *', 'void *', parameters)(model, { words })
    if (context === null) throw new Error('llama.cpp cannot make a context')
    this.#model = model
    this.#context = context
    this.#memory = f('llama_get_memory', 'void *', 'void *')(context)
    this.#vocabulary = f('llama_vocab_n_tokens', 'int32', 'void *')(f('llama_model_get_vocab', 'void *', 'void *')(model)) as number
    this.cpuLibrary = mapped(bins)
  }

  /** One forward pass. @throws when llama.cpp refuses the batch */
  decode(tokens: readonly LlamaToken[]): void {
    const { batch, keep } = this.#batch(tokens)
    const code = (this.#functions['decode'] as Native)(this.#context, batch) as number
    if (code !== 0 || keep.length === 0) throw new Error(`llama_decode: ${code}`)
    ;(this.#functions['synchronize'] as Native)(this.#context)
  }

  /** The same on a thread of its own, while JavaScript goes on. */
  decodeAside(tokens: readonly LlamaToken[]): Promise<void> {
    const { batch, keep } = this.#batch(tokens)
    return new Promise((resolve, reject) => {
      ;(this.#functions['decode'] as AsyncNative).async(this.#context, batch, (error: Error | null, code: number) => {
        if (error !== null || code !== 0 || keep.length === 0) reject(error ?? new Error(`llama_decode: ${code}`))
        else resolve()
      })
    })
  }

  /** Logits of the batch's token at `index`. */
  logits(index: number): Float32Array {
    return this.#koffi.decode((this.#functions['logits'] as Native)(this.#context, index), 'float', this.#vocabulary)
  }

  clear(): void {
    ;(this.#functions['clear'] as Native)(this.#memory, false)
  }

  /** Forgets positions from `from` on. */
  truncate(sequence: number, from: number): void {
    ;(this.#functions['remove'] as Native)(this.#memory, sequence, from, -1)
  }

  close(): void {
    ;(this.#functions['freeContext'] as Native)(this.#context)
    ;(this.#functions['freeModel'] as Native)(this.#model)
  }

  #batch(tokens: readonly LlamaToken[]): { batch: unknown; keep: unknown[] } {
    const count = tokens.length
    const ids = Int32Array.from(tokens, ({ token }) => token)
    const positions = Int32Array.from(tokens, ({ position }) => position)
    const counts = new Int32Array(count).fill(1)
    const sequences = Int32Array.from(tokens, ({ sequence }) => sequence)
    const logits = Int8Array.from(tokens, ({ logits }) => (logits ? 1 : 0))
    const address = (array: ArrayBufferView): bigint => this.#koffi.address(array)
    const start = address(sequences)
    const pointers = BigUint64Array.from({ length: count }, (_, i) => start + BigInt(i * 4))
    return { batch: { count, token: ids, embedding: null, position: positions, sequenceCounts: counts, sequences: pointers, logits }, keep: [ids, positions, counts, sequences, pointers, logits] }
  }
}

let sink: unknown // one for the process: koffi knows its type by name
/** Swallows the library's log. */
function logSink(koffi: Koffi): unknown {
  if (sink !== undefined) return sink
  const k = koffi as unknown as { proto(declaration: string): unknown; register(fn: () => void, type: unknown): unknown; pointer(type: unknown): unknown }
  return sink = k.register(() => {}, k.pointer(k.proto('void flyball_quiet_log(int level, const char *text, void *data)')))
}

/** The CPU library that llama.cpp chose, as the process has it mapped. */
function mapped(bins: string): string {
  try {
    const maps = execFileSync('cat', [`/proc/${process.pid}/maps`], { encoding: 'utf8', maxBuffer: 1 << 26 })
    return /libggml-cpu-([a-z0-9]+)\.so/.exec(maps)?.[1] ?? bins
  } catch {
    return 'unknown'
  }
}
