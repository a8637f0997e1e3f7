/** Our own plugins and backends, by the names that configuration files use. The one place that knows them all. */
import { z } from 'zod'
import type { BackendFactory, Registry } from '../src/index.ts'
import { anthropic, type AnthropicOptions } from './backends/anthropic/anthropic.ts'
import { native, nativeOptions, type NativeOptions } from './backends/native/index.ts'
import { FLAVORS, type Flavor } from './backends/openai/flavors.ts'
import { openai, type OpenAiOptions } from './backends/openai/openai.ts'
import { httpOptionsShape } from './http-options.ts'
import { genai } from './observers/genai/index.ts'
import { usage } from './observers/usage/index.ts'
import { batching } from './optimizers/batching/index.ts'
import { cache } from './optimizers/cache/index.ts'
import { priority } from './optimizers/priority/index.ts'
import { throttle } from './optimizers/throttle/index.ts'
import { warmup } from './optimizers/warmup/index.ts'
import { outside } from './signals/outside/index.ts'

export { anthropic, batching, cache, genai, native, openai, outside, priority, throttle, usage, warmup }

/** For the command line: what it does with one model file. Loaded on demand. */
export const nativeTools = async () => ({ ...(await import('./backends/native/generate.ts')), ...(await import('./backends/native/perplexity.ts')), ...(await import('./backends/native/quantize.ts')) })
/** Others' algorithms, for `simulate` and the benchmarks. Loaded on demand. */
export const rivalPolicies = () => import('./rivals/index.ts')
/** Its build, relative to the package's folder. */
export const NATIVE_BUILD_SCRIPT = 'plugins/backends/native/build.mjs'

const flavors = Object.keys(FLAVORS) as [Flavor, ...Flavor[]]

/** Keeps each kind's own option type while the table forgets it. */
const backend = <O>(factory: BackendFactory<O>): BackendFactory => factory as BackendFactory

export const builtin: Registry = {
  backends: {
    native: backend<NativeOptions>({ doc: 'A GGUF model served in this process.', options: nativeOptions, paths: ['model'], create: native }),
    openai: backend<OpenAiOptions>({
      doc: 'An upstream that speaks OpenAI’s protocol: hosted APIs, vLLM, llama.cpp’s server, Ollama, TGI.',
      options: z.strictObject({ ...httpOptionsShape, flavor: z.enum(flavors).optional(), trackUsage: z.boolean().optional() }),
      address: 'baseUrl',
      create: openai,
    }),
    anthropic: backend<AnthropicOptions>({
      doc: 'Anthropic’s Messages API, and servers compatible with it.',
      options: z.strictObject({ ...httpOptionsShape, baseUrl: z.url().optional(), version: z.string().min(1).optional() }),
      address: 'baseUrl',
      create: anthropic,
    }),
  },
  plugins: { batching, cache, genai, outside, priority, throttle, usage, warmup },
  asks: { outside: ['pages', 'promql'] },
  variables: ['FLYBALL_NATIVE_ISA'],
}
