/** The native backend: a GGUF model served in this process, by the C++ engine where it is built, else by the TypeScript one. */
import { z } from 'zod'
import { CANONICAL, FlyballError, systemClock, type Backend, type BackendHost, type Call, type ChatRequest, type Chunk, type Clock, type Controller, type Delta, type Reply } from '../../../src/index.ts'
import { nativeController } from './native-controller.ts'
import { openModel } from './open-engine.ts'
import type { NativeEngine } from './engine-contract.ts'
import { NATIVE_INSTRUMENTS, NATIVE_KNOBS, NATIVE_SIGNALS } from './native-declares.ts'
import { choiceDeltas, mergedChunks, type ChoiceStats } from './native-reply.ts'
import { chatPrompt, completionPrompts, embeddingInputs, generateRequest, type RequestContext } from './native-request.ts'
import { watchEngine } from './watch-engine.ts'

export const nativeOptions = z.strictObject({
  name: z.string().min(1).default('native'),
  /** A GGUF file. */
  model: z.string().min(1),
  /** What clients call it. Default: the file's name without `.gguf`. */
  modelName: z.string().min(1).optional(),
  /** `auto`: C++ where it is built, else TypeScript. */
  engine: z.enum(['auto', 'cpu', 'reference']).default('auto'),
  /** Sequences decoded at once. */
  maxSequences: z.int().min(1).max(1024).optional(),
  /** Memory for keys and values, MiB. */
  kvBudgetMiB: z.number().positive().optional(),
  threads: z.int().min(1).max(256).optional(),
})
export type NativeOptions = z.input<typeof nativeOptions>

const WARM_PASSES = 3

/** @throws ModelError, in one line, when the file is not a model that we can run. */
export async function native(options: NativeOptions): Promise<Backend> {
  const parsed = nativeOptions.parse(options)
  const { maxSequences, kvBudgetMiB, threads } = parsed
  const { engine, tokenizer, template } = await openModel(parsed.model, {
    engine: parsed.engine,
    ...(maxSequences === undefined ? {} : { maxSequences }),
    ...(kvBudgetMiB === undefined ? {} : { kvBudgetMiB }),
    ...(threads === undefined ? {} : { threads }),
  })
  const modelName = parsed.modelName ?? (parsed.model.split(/[\\/]/).at(-1) as string).replace(/\.gguf$/, '')
  let clock: Clock = systemClock
  let host: BackendHost | undefined
  let stopWatching: (() => void) | undefined

  function contextOf(call: Call): RequestContext {
    const window = host?.knobs['attentionWindow']?.for({ backend: parsed.name }).value ?? 0
    return { tokenizer, template, contextLength: engine.info.contextLength, random: () => clock.random(), wallMs: clock.wallMs(), tenant: call.tenant, priority: call.priority, attentionWindow: window > 0 ? window : undefined }
  }

  async function serve(call: Call, batchSignal: AbortSignal): Promise<Reply> {
    const request = call.canonical?.()
    if (!request) throw new FlyballError('invalid_request', { message: 'The native engine serves protocol calls only.' })
    const context = contextOf(call)
    if (request.kind === 'embedding') return embed(engine, embeddingInputs(request, context), call, batchSignal)
    const prompts = request.kind === 'chat' ? [chatPrompt(request, context)] : completionPrompts(request, context)
    const copies = request.sampling.n ?? 1
    const requests = prompts.flatMap((prompt, p) => Array.from({ length: copies }, (_, c) => generateRequest(prompt, request.sampling, p * copies + c, context)))
    const stats: ChoiceStats = { cachedPromptTokens: 0, outputTokens: 0 }
    const stop = new AbortController()
    const signal = AbortSignal.any([call.signal, stop.signal])
    const choices = requests.map((one, index) => choiceDeltas(engine.generate(one, signal), one, index, tokenizer, stats))
    const inputTokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0)
    const usage = (): Delta => ({ type: 'usage', usage: { inputTokens, outputTokens: stats.outputTokens, ...(stats.cachedPromptTokens > 0 ? { cachedInputTokens: stats.cachedPromptTokens } : {}) } })
    const chunks = mergedChunks(choices, { type: 'start', model: modelName }, usage)
    // The head waits for the first chunk: until then an error can still be told with a status of its own.
    const first = await chunks.next()
    noteTimes(call, stats)
    return { status: 200, rawHeaders: [], protocol: CANONICAL, stream: call.stream, body: withFirst(first, chunks), cancel: (reason) => stop.abort(reason) }
  }

  return {
    name: parsed.name,
    provider: 'flyball',
    inProcess: true,
    models: [modelName],
    limits: { slots: engine.stats().maxSequences, maxBatch: 1, batching: 'internal' },
    knobs: NATIVE_KNOBS,
    signals: NATIVE_SIGNALS,
    instruments: NATIVE_INSTRUMENTS,
    controllers: { nativeBatching: nativeController as Controller },
    attach(attached) {
      host = attached
      clock = attached.clock
      stopWatching = watchEngine(engine, parsed.name, attached)
    },
    run: (calls, signal) => calls.map((call) => serve(call, signal)),
    async warm(signal) {
      // A whole call, through template and reply, not the engine alone; more than once: the first passes compile.
      for (let pass = 0; pass < WARM_PASSES; pass++) {
        const reply = await serve(warmCall(modelName, signal, clock), signal)
        for await (const _ of reply.body);
      }
    },
    async health() {
      return { healthy: true, detail: engine.info.name }
    },
    async close() {
      stopWatching?.()
      await engine.close()
    },
  }
}

/** Tells of nothing and belongs to nobody: a call as far as `serve` looks at one. */
function warmCall(model: string, signal: AbortSignal, clock: Clock): Call {
  const request: ChatRequest = { kind: 'chat', model, stream: false, includeUsage: false, messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }], sampling: { temperature: 0, maxTokens: 16 } }
  const call: Pick<Call, 'id' | 'operation' | 'model' | 'tenant' | 'priority' | 'stream' | 'signal' | 'canonical' | 'note'> = { id: clock.id(), operation: 'chat', model, tenant: '', priority: 0, stream: false, signal, canonical: () => request, note() {} }
  return call as Call
}

async function embed(engine: NativeEngine, inputs: readonly number[][], call: Call, signal: AbortSignal): Promise<Reply> {
  const deltas: Delta[] = [{ type: 'start' }]
  for (const [index, tokens] of inputs.entries()) {
    if (tokens.length > engine.info.contextLength) throw new FlyballError('invalid_request', { message: `Input ${index} has ${tokens.length} tokens; the model's context holds ${engine.info.contextLength}.`, param: `input[${index}]` })
    deltas.push({ type: 'embedding', index, vector: unit(await engine.embed(tokens, 'mean', AbortSignal.any([call.signal, signal]))) })
  }
  deltas.push({ type: 'usage', usage: { inputTokens: inputs.reduce((sum, tokens) => sum + tokens.length, 0), outputTokens: 0 } })
  const chunk: Chunk = { deltas, tokens: 0 }
  return { status: 200, rawHeaders: [], protocol: CANONICAL, stream: false, complete: true, body: withFirst({ done: false, value: chunk }), cancel() {} }
}

/** Clients compare embeddings by dot product: unit length, as the OpenAI API gives them. */
function unit(vector: Float32Array): Float32Array {
  let norm = 0
  for (const value of vector) norm += value * value
  norm = Math.sqrt(norm) || 1
  return vector.map((value) => value / norm)
}

async function* withFirst(first: IteratorResult<Chunk>, rest?: AsyncGenerator<Chunk>): AsyncGenerator<Chunk> {
  if (!first.done) yield first.value
  if (rest) yield* rest
}

function noteTimes(call: Call, stats: ChoiceStats): void {
  if (stats.queueMs !== undefined) call.note('engine_queue_ms', stats.queueMs)
  if (stats.prefillMs !== undefined) call.note('prefill_ms', stats.prefillMs)
  if (stats.cachedPromptTokens > 0) call.note('prefix_tokens_saved', stats.cachedPromptTokens)
}
