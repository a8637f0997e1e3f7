/** The same work for each engine: prompts, decode batches, mixed load. All figures are tokens per second unless named otherwise. */
import { performance } from 'node:perf_hooks'
import type { CpuEngine } from '../../plugins/backends/native/engine.ts'
import { GREEDY } from '../../plugins/backends/native/engine-contract.ts'
import type { GenerateRequest } from '../../plugins/backends/native/engine-contract.ts'
import type { LlamaCpp } from './llama-cpp.ts'

const SHORT_PROMPT = 16

/** Milliseconds. Wall time, or on a machine that others use too: this process's CPU time per engine thread. */
let now: () => number = () => performance.now()
export function measureCpuTime(threads: number): void {
  now = () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000 / threads
  }
}
const forever = new AbortController().signal

/** Distinct tokens, so that no prefix is shared by accident. */
export function promptOf(length: number, seed: number, vocabulary: number): number[] {
  let state = (seed * 2654435761) >>> 0
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return 300 + (state >>> 8) % (vocabulary - 300)
  })
}

let seeds = 1

export interface Subject {
  readonly name: string
  prefill(length: number): Promise<number>
  decode(batch: number, steps: number): Promise<number>
  /** Milliseconds until a prompt's first token while `others` sequences decode. */
  ttftMixed(length: number, others: number): Promise<number>
  /** Milliseconds to the first tokens, summed over turns of a conversation that grows by `turnTokens` each. */
  conversation(turns: number, turnTokens: number, reuse: boolean): Promise<number>
  /** Tokens per second of a prompt of `length`, and of decoding after it. */
  long(length: number, steps: number): Promise<{ prefill: number; decode: number }>
  /** One sequence, for about `ms`, while JavaScript computes in bursts of `burstMs`; 0: undisturbed. */
  decodeBeside(burstMs: number, ms: number): Promise<number>
}

export function ours(engine: CpuEngine): Subject {
  const vocabulary = engine.info.config.vocabularySize
  const ask = (length: number, maxTokens: number, more: Partial<GenerateRequest> = {}): GenerateRequest => ({ promptTokens: promptOf(length, seeds++, vocabulary), maxTokens, sampling: GREEDY, stopTokens: [], stopStrings: [], ...more })
  const first = async (request: GenerateRequest): Promise<number> => {
    const start = now()
    for await (const step of engine.generate(request, forever)) if (step.tokens.length > 0) break
    return now() - start
  }
  return {
    name: 'flyball',
    prefill: async (length) => (length / (await first(ask(length, 1)))) * 1000,
    decode: async (batch, steps) => {
      let started = 0
      let startedAt = 0
      await Promise.all(Array.from({ length: batch }, async () => {
        let seen = false
        for await (const { tokens } of engine.generate(ask(SHORT_PROMPT, steps + 1), forever)) {
          if (seen || tokens.length === 0) continue
          seen = true
          if (++started === batch) startedAt = now()
        }
      }))
      return (batch * steps * 1000) / (now() - startedAt)
    },
    ttftMixed: async (length, others) => {
      const abort = new AbortController()
      const running = Array.from({ length: others }, async () => {
        for await (const step of engine.generate(ask(SHORT_PROMPT, 4096), abort.signal)) void step
      })
      while (engine.stats().running < others || engine.stats().batchTokens > others) await new Promise((resolve) => setTimeout(resolve, 5))
      const ms = await first(ask(length, 1))
      abort.abort()
      await Promise.allSettled(running)
      return ms
    },
    conversation: async (turns, turnTokens, reuse) => {
      const all = promptOf(turns * turnTokens, seeds++, vocabulary)
      let ms = 0
      for (let turn = 1; turn <= turns; turn++) ms += await first({ ...ask(1, 1), promptTokens: all.slice(0, turn * turnTokens), ...(reuse ? { cacheSpace: 'bench' } : {}) })
      engine.dropCache()
      return ms
    },
    long: (length, steps) => longRun(engine, ask(length, steps + 1), steps),
    decodeBeside: async (burstMs, ms) => {
      const abort = new AbortController()
      const running = (async () => {
        for await (const step of engine.generate(ask(SHORT_PROMPT, 100_000), abort.signal)) void step
      })()
      while (engine.stats().generatedTokens === 0 || engine.stats().running === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      const before = engine.stats().generatedTokens
      const took = await passTime(burstMs, ms)
      const count = engine.stats().generatedTokens - before
      abort.abort()
      await Promise.allSettled([running])
      return (count / took) * 1000
    },
  }
}

/** Also with an attention window, which llama.cpp has no way to ask for. */
export async function longRun(engine: CpuEngine, request: GenerateRequest, steps: number): Promise<{ prefill: number; decode: number }> {
  const start = now()
  let first = 0
  for await (const { tokens } of engine.generate(request, forever)) if (first === 0 && tokens.length > 0) first = now()
  return { prefill: (request.promptTokens.length * 1000) / (first - start), decode: (steps * 1000) / (now() - first) }
}

export function theirs(llama: LlamaCpp, vocabulary: number): Subject {
  const prompt = (length: number, sequence: number): { token: number; position: number; sequence: number; logits: boolean }[] =>
    promptOf(length, seeds++, vocabulary).map((token, position) => ({ token, position, sequence, logits: position === length - 1 }))
  const step = (batch: number, position: number): { token: number; position: number; sequence: number; logits: boolean }[] =>
    Array.from({ length: batch }, (_, sequence) => ({ token: 300 + ((position * 131 + sequence * 17) % 20000) % (vocabulary - 300), position, sequence, logits: true }))
  return {
    name: 'llama.cpp (C)',
    prefill: async (length) => {
      llama.clear()
      const batch = prompt(length, 0)
      const start = now()
      llama.decode(batch)
      return (length / (now() - start)) * 1000
    },
    decode: async (batch, steps) => {
      llama.clear()
      llama.decode(Array.from({ length: batch }, (_, sequence) => prompt(SHORT_PROMPT, sequence)).flat())
      const start = now()
      for (let i = 0; i < steps; i++) llama.decode(step(batch, SHORT_PROMPT + i))
      return (batch * steps * 1000) / (now() - start)
    },
    ttftMixed: async (length, others) => {
      llama.clear()
      llama.decode(Array.from({ length: others }, (_, sequence) => prompt(SHORT_PROMPT, sequence)).flat())
      llama.decode(step(others, SHORT_PROMPT))
      const start = now()
      llama.decode([...step(others, SHORT_PROMPT + 1), ...prompt(length, others)])
      return now() - start
    },
    conversation: async (turns, turnTokens, reuse) => {
      llama.clear()
      const all = prompt(turns * turnTokens, 0)
      let ms = 0
      for (let turn = 1; turn <= turns; turn++) {
        if (!reuse) llama.clear()
        const tokens = all.slice(reuse ? (turn - 1) * turnTokens : 0, turn * turnTokens)
        const start = now()
        llama.decode(tokens.map((token, i) => ({ ...token, logits: i === tokens.length - 1 })))
        ms += now() - start
      }
      return ms
    },
    long: async (length, steps) => {
      llama.clear()
      const all = prompt(length, 0)
      const start = now()
      for (let at = 0; at < length; at += 512) llama.decode(all.slice(at, at + 512))
      const first = now()
      for (let i = 0; i < steps; i++) llama.decode(step(1, length + i))
      return { prefill: (length * 1000) / (first - start), decode: (steps * 1000) / (now() - first) }
    },
    decodeBeside: async (burstMs, ms) => {
      llama.clear()
      llama.decode(prompt(SHORT_PROMPT, 0))
      let count = 0
      let on = true
      const running = (async () => {
        while (on) await llama.decodeAside(step(1, SHORT_PROMPT + count++))
      })()
      const took = await passTime(burstMs, ms)
      const counted = count
      on = false
      await running
      return (counted / took) * 1000
    },
  }
}

/** Lets `ms` pass, computing in bursts where asked to. Returns how long it took. */
async function passTime(burstMs: number, ms: number): Promise<number> {
  const start = performance.now()
  while (performance.now() - start < ms) {
    if (burstMs > 0) {
      const until = performance.now() + burstMs
      let sink = 0
      while (performance.now() < until) for (let i = 0; i < 1000; i++) sink += Math.sqrt(i)
      if (sink < 0) throw new Error('unreachable')
      await new Promise((resolve) => setImmediate(resolve))
    } else await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return performance.now() - start
}
