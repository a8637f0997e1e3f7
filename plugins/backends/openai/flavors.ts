/** What differs between servers that speak OpenAI's protocol, as data. */

export type Flavor = 'openai' | 'azure' | 'vllm' | 'llama.cpp' | 'ollama' | 'tgi' | 'sglang' | 'groq' | 'mistral' | 'deepseek' | 'compatible'

export interface FlavorFacts {
  /** `gen_ai.provider.name`. */
  readonly provider: string
  /** From the origin (`/health`), or from the base URL where it starts with `.`. */
  readonly healthPath: string
  readonly modelsPath: string
  /** Prometheus page, from the origin; undefined where there is none. */
  readonly metricsPath?: string
  /** The header of the key. */
  readonly credential: 'bearer' | 'api-key'
  /**
   * Usage in streams. `asked`: with `stream_options.include_usage`. `always`: the last event has it unasked.
   */
  readonly streamUsage: 'asked' | 'always'
  /** What the bound on a chat's output is called. */
  readonly outputLimit: 'max_tokens' | 'max_completion_tokens'
  /** Calls at once where the user names none: the server's own default, or what a small paid tier bears. */
  readonly slots: number
  /** What a control loop can turn from here. None of these servers lets a client change its batch while it runs. */
  readonly lever: 'concurrency'
}

const COMPATIBLE: FlavorFacts = { provider: 'openai', healthPath: './models', modelsPath: '/models', credential: 'bearer', streamUsage: 'asked', outputLimit: 'max_tokens', slots: 64, lever: 'concurrency' }

export const FLAVORS: { readonly [F in Flavor]: FlavorFacts } = {
  compatible: COMPATIBLE,
  // Its reasoning models take the new name only, all others take both.
  openai: { ...COMPATIBLE, outputLimit: 'max_completion_tokens' },
  azure: { ...COMPATIBLE, provider: 'azure.ai.openai', credential: 'api-key', outputLimit: 'max_completion_tokens' },
  // --max-num-seqs defaults to 256 (1,024 on the largest GPUs).
  vllm: { ...COMPATIBLE, provider: 'vllm', healthPath: '/health', metricsPath: '/metrics', slots: 256 },
  // --parallel defaults to a handful of slots; /metrics only with --metrics.
  'llama.cpp': { ...COMPATIBLE, provider: 'llama.cpp', healthPath: '/health', metricsPath: '/metrics', slots: 4 },
  // OLLAMA_NUM_PARALLEL.
  ollama: { ...COMPATIBLE, provider: 'ollama', healthPath: '/api/version', slots: 4 },
  // --max-concurrent-requests defaults to 128.
  tgi: { ...COMPATIBLE, provider: 'tgi', healthPath: '/health', metricsPath: '/metrics', slots: 128 },
  sglang: { ...COMPATIBLE, provider: 'sglang', healthPath: '/health', metricsPath: '/metrics', slots: 256 },
  groq: { ...COMPATIBLE, provider: 'groq', streamUsage: 'always' },
  mistral: { ...COMPATIBLE, provider: 'mistral_ai', streamUsage: 'always' },
  deepseek: { ...COMPATIBLE, provider: 'deepseek', streamUsage: 'always' },
}
