/** Finds and loads the compiled addon, and gives its functions their types. The C++ side: `kernels/addon.cpp`. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What `load` takes; sizes and offsets have been validated against the file. */
export interface AddonSpec {
  readonly path: string
  /** Kernels by name, such as `avx2`; empty for the best. */
  readonly isa: string
  readonly vocabulary: number
  readonly context: number
  readonly dim: number
  readonly layers: number
  readonly ffn: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly ropeDims: number
  readonly ropeAdjacent: boolean
  readonly eps: number
  readonly window: number
  readonly ropeFrequencies: Float64Array
  /** Five numbers per tensor: GGUF type or -1, offset, bytes, columns, rows. */
  readonly tensors: Float64Array
  /** 0: physical cores. */
  readonly threads: number
  readonly spinMicros: number
  readonly kvBytes: number
  /** 0: 32-bit floats, 1: bfloat16, 2: half as llama.cpp. */
  readonly kvType: 0 | 1 | 2
  readonly expand: boolean
  readonly collect: boolean
  readonly maxSequences: number
  readonly tokensPerStep: number
  readonly tokenOffsets: Uint32Array
  readonly tokenBytes: Uint8Array
}

export const REQUEST_KIND = { generate: 0, embedMean: 1, embedLast: 2, score: 3 } as const

export interface AddonRequest {
  readonly id: number
  readonly kind: (typeof REQUEST_KIND)[keyof typeof REQUEST_KIND]
  readonly prompt: Int32Array
  readonly maxTokens: number
  readonly stopTokens: Int32Array
  readonly stopStrings: readonly string[]
  /** -1: none. */
  readonly topLogprobs: number
  /** 0: full attention. */
  readonly window: number
  readonly sinks: number
  readonly priority: number
  readonly temperature: number
  readonly topP: number
  readonly minP: number
  readonly repetitionPenalty: number
  readonly topK: number
  readonly seed: number
  readonly cacheSpace: string | undefined
}

export interface AddonCore {
  submit(request: AddonRequest): void
  cancel(id: number): void
  setLimits(maxSequences: number, tokensPerStep: number): void
  dropCache(): void
  /** See `STAT`. */
  stats(): Float64Array
  describe(): { readonly kernels: string; readonly threads: number; readonly contextLength: number; readonly weightBytes: number }
  energies(): Float32Array[]
  hold(up: boolean): void
  close(): Promise<void>
}

/** Places in `stats()`. */
export const STAT = { steps: 0, promptTokens: 1, cachedTokens: 2, generatedTokens: 3, preemptions: 4, running: 5, waiting: 6, kvPages: 7, kvCapacityPages: 8, cachedPages: 9, batchTokens: 10, stepMs: 11, busyMs: 12 } as const

/** Words of event packets; floats as their bits. */
export const EVENT = { first: 1, token: 2, finish: 3, floats: 4 } as const
export const FINISH = { stop: 0, length: 1, failed: 2, done: 3 } as const

/** Single kernels, for tests. */
export interface AddonProbes {
  gemm(isa: string, ggufType: number, n: number, k: number, weights: Uint8Array, x: Float32Array, m: number, start?: Float32Array): Float32Array
  dequantize(ggufType: number, n: number, k: number, weights: Uint8Array): Float32Array
  quantizeRow(isa: string, x: Float32Array): Float32Array
  rmsNorm(isa: string, x: Float32Array, weight: Float32Array, eps: number): Float32Array
  siluMul(isa: string, gate: Float32Array, up: Float32Array): Float32Array
  /** Bytes read and 8-bit operations done per second by all threads; 0 where there is no such instruction. */
  limits(isa: string, threads: number, megabytes: number, rounds: number): Float64Array
  attend(isa: string, kvType: 0 | 1 | 2, headDim: number, k: Float32Array, v: Float32Array, q: Float32Array, qpos: Int32Array, window: number, sinks: number, pageOrder: Int32Array): Float32Array
}

export interface Addon {
  load(spec: AddonSpec, onEvents: (words: Int32Array) => void): Promise<AddonCore>
  /** Names of the kernels that this build has and this CPU runs, best first. */
  kernels(): string[]
  physicalCores(): number
  readonly probes: AddonProbes
}

/** Forces kernels by name where the options do not. */
export const ISA_VARIABLE = 'FLYBALL_NATIVE_ISA'

let loaded: { readonly addon: Addon | undefined } | undefined

/** Where `build.mjs` puts it: `build/native` of this package, seen from the sources and from `dist` alike. */
export function addonPath(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder)
  return join(folder, 'build', 'native', 'flyball-native.node')
}

/** The addon, or undefined where it has not been built (or cannot be loaded on this machine). */
export function loadAddon(): Addon | undefined {
  loaded ??= { addon: tryLoad() }
  return loaded.addon
}

function tryLoad(): Addon | undefined {
  const path = addonPath()
  if (!existsSync(path)) return undefined
  try {
    return createRequire(import.meta.url)(path) as Addon
  } catch {
    // built for another system or Node: as good as not built
    return undefined
  }
}
