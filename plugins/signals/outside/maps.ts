/**
 * What others call what our loops read: metric names as data, one record per kind of page. After each project's
 * documentation of its metrics; a page that lacks one (llama.cpp dropped its KV metric in 2025) just does not feed that signal.
 */
import type { Series } from './text-format.ts'

export const OUTSIDE_SIGNALS = ['gpu_use', 'queue_length', 'kv_used', 'running'] as const
export type OutsideSignal = (typeof OUTSIDE_SIGNALS)[number]

export interface MetricFacts {
  /** In order of preference: the first that the page has counts (projects rename). */
  readonly metrics: readonly string[]
  /** Several series (GPUs, engines, models): counts add up, of shares the fullest is the one that hurts. */
  readonly combine: 'sum' | 'max'
  /** From the page's unit to ours. Default 1. */
  readonly scale?: number
  /** Only series with these label values. */
  readonly labels?: Readonly<Record<string, string>>
  /** Copies of the same number: where a series has the label, only this value counts. */
  readonly onlyIfPresent?: Readonly<Record<string, string>>
}

export type MetricMap = { readonly [S in OutsideSignal]?: MetricFacts }

const FIRST_RANK = { tp_rank: '0', pp_rank: '0', moe_ep_rank: '0' } as const

export const SOURCES = {
  vllm: {
    queue_length: { metrics: ['vllm:num_requests_waiting'], combine: 'sum' },
    running: { metrics: ['vllm:num_requests_running'], combine: 'sum' },
    // Named percent, given as a share. Renamed with the V1 engine.
    kv_used: { metrics: ['vllm:kv_cache_usage_perc', 'vllm:gpu_cache_usage_perc'], combine: 'max' },
  },
  sglang: {
    queue_length: { metrics: ['sglang:num_queue_reqs'], combine: 'sum', onlyIfPresent: FIRST_RANK },
    running: { metrics: ['sglang:num_running_reqs'], combine: 'sum', onlyIfPresent: FIRST_RANK },
    kv_used: { metrics: ['sglang:token_usage'], combine: 'max' },
  },
  llamacpp: {
    queue_length: { metrics: ['llamacpp:requests_deferred'], combine: 'sum' },
    running: { metrics: ['llamacpp:requests_processing'], combine: 'sum' },
    kv_used: { metrics: ['llamacpp:kv_cache_usage_ratio'], combine: 'max' },
  },
  tgi: {
    queue_length: { metrics: ['tgi_queue_size'], combine: 'sum' },
    running: { metrics: ['tgi_batch_current_size'], combine: 'sum' },
  },
  triton: {
    gpu_use: { metrics: ['nv_gpu_utilization'], combine: 'max' },
    queue_length: { metrics: ['nv_inference_pending_request_count'], combine: 'sum' },
    // Of its TensorRT-LLM backend.
    running: { metrics: ['nv_trt_llm_request_metrics'], combine: 'sum', labels: { request_type: 'scheduled' } },
    kv_used: { metrics: ['nv_trt_llm_kv_cache_block_metrics'], combine: 'max', labels: { kv_cache_block_type: 'fraction' } },
  },
  dcgm: {
    gpu_use: { metrics: ['DCGM_FI_DEV_GPU_UTIL'], combine: 'max', scale: 0.01 },
  },
} as const satisfies Readonly<Record<string, MetricMap>>

export type SourceKind = keyof typeof SOURCES

const SHARES: ReadonlySet<OutsideSignal> = new Set(['gpu_use', 'kv_used'])
/** Rounding of others; what is farther above 1 is no share (DCGM writes about 2³¹ for "not known"). */
const SHARE_SLACK = 1.02

/** In our unit, or undefined when it cannot be: not a finite number, below 0, a share above 1. */
export function inOurUnit(signal: OutsideSignal, raw: number, scale = 1): number | undefined {
  const value = raw * scale
  if (!Number.isFinite(value) || value < 0) return undefined
  if (!SHARES.has(signal)) return value
  return value > SHARE_SLACK ? undefined : Math.min(1, value)
}

/** One signal's value of a page. A series that cannot be is left out; undefined when none is left. */
export function mapped(signal: OutsideSignal, facts: MetricFacts, page: readonly Series[], labels: Readonly<Record<string, string>> = {}): number | undefined {
  const wanted = Object.entries({ ...facts.labels, ...labels })
  const single = Object.entries(facts.onlyIfPresent ?? {})
  for (const metric of facts.metrics) {
    const values = page
      .filter((series) => series.name === metric && wanted.every(([key, value]) => series.labels[key] === value) && single.every(([key, value]) => (series.labels[key] ?? value) === value))
      .flatMap((series) => inOurUnit(signal, series.value, facts.scale) ?? [])
    if (values.length > 0) return facts.combine === 'sum' ? values.reduce((a, b) => a + b, 0) : values.reduce((a, b) => Math.max(a, b))
  }
  return undefined
}
