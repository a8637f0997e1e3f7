/**
 * Plant (b): a continuous-batching language-model server. Each step it decodes one token for every running sequence and
 * spends what is left of its token budget on waiting prompts; a step costs a base, a price per decoded and per prefilled
 * token, and a price per token of context read. KV memory is bounded: when it is full the youngest sequence is put back.
 * Steps in which nothing but decoding happens are leapt over in one event; chunks are aggregated accordingly.
 */
import { z } from 'zod'
import type { Call } from '../../core/call.ts'
import type { Cancel, Clock } from '../../core/clock.ts'
import { FlyballError } from '../../core/errors.ts'
import { CANONICAL, type Chunk, type Reply } from '../../core/reply.ts'
import { onCallAbort, requestOf, reshape, type Plant } from './plant.ts'

export const llmServerParameters = z.strictObject({
  kind: z.literal('llm-server'),
  name: z.string().default('llm-server'),
  /** Sequences decoded at once. */
  maxSequences: z.int().min(1).default(64),
  /** Tokens per step, prefill and decode together. */
  tokensPerStep: z.int().min(1).default(2_048),
  /** Tokens that KV memory holds. */
  kvTokens: z.int().min(1).default(200_000),
  stepBaseMs: z.number().min(0).default(8),
  decodeTokenMs: z.number().min(0).default(0.15),
  prefillTokenMs: z.number().min(0).default(0.05),
  /** Per token of context of the running sequences, per step, ms. */
  contextTokenMs: z.number().min(0).default(0.00002),
  /** Waiting calls beyond this are answered 503. */
  maxWaiting: z.int().min(0).default(10_000),
})
export type LlmServerParameters = z.output<typeof llmServerParameters>

interface Sequence {
  readonly call: Call
  readonly inputTokens: number
  readonly outputTokens: number
  prefillLeft: number
  decoded: number
  /** Tokens made since the reader was last told. */
  untold: number
  toldMs: number
  started: boolean
  done: boolean
  wake: (() => void) | undefined
  readonly head: { resolve: (reply: Reply) => void; reject: (error: unknown) => void }
  failure: FlyballError | undefined
}

/** Longest leap, ms: readers see a chunk at least this often. */
const MAX_LEAP_MS = 250

export interface LlmServer extends Plant {
  readonly running: number
  readonly waitingInside: number
  readonly preemptions: number
  /** Tokens of KV memory in use. */
  readonly kvUsed: number
}

export function llmServer(parameters: LlmServerParameters, clock: Clock): LlmServer {
  const p = { ...parameters }
  const running: Sequence[] = []
  const waiting: Sequence[] = []
  let slowdown = 1
  let down = false
  let wastedMs = 0
  let preemptions = 0
  let step: { cancel: Cancel; startMs: number; stepMs: number; steps: number; prefill: Map<Sequence, number> } | undefined

  const contextOf = (sequence: Sequence): number => sequence.inputTokens - sequence.prefillLeft + sequence.decoded
  const kvUsed = (): number => running.reduce((sum, sequence) => sum + contextOf(sequence), 0)

  function plan(): void {
    if (step || down) return
    admit()
    if (running.length === 0) return
    let decodingCount = 0
    let least = Number.POSITIVE_INFINITY
    let used = 0
    for (const sequence of running) {
      used += contextOf(sequence)
      if (sequence.prefillLeft > 0) continue
      decodingCount++
      least = Math.min(least, sequence.outputTokens - sequence.decoded)
    }
    let budget = p.tokensPerStep - decodingCount
    const prefill = new Map<Sequence, number>()
    for (const sequence of running) {
      if (sequence.prefillLeft === 0 || budget <= 0) continue
      const tokens = Math.min(budget, sequence.prefillLeft)
      prefill.set(sequence, tokens)
      budget -= tokens
    }
    const prefilled = p.tokensPerStep - decodingCount - budget
    const stepMs = (p.stepBaseMs + p.decodeTokenMs * decodingCount + p.prefillTokenMs * prefilled + p.contextTokenMs * used) * slowdown
    const room = Math.floor((p.kvTokens - used) / Math.max(1, decodingCount))
    const steps = prefill.size > 0 || decodingCount === 0 ? 1 : Math.max(1, Math.min(least, room, Math.floor(MAX_LEAP_MS / Math.max(stepMs, 1e-6))))
    step = { cancel: clock.after(stepMs * steps, finish), startMs: clock.monoMs(), stepMs, steps, prefill }
  }

  /** First come, first served, as long as the prompt fits beside what runs. */
  function admit(): void {
    while (waiting.length > 0 && running.length < p.maxSequences) {
      const next = waiting[0] as Sequence
      if (running.length > 0 && kvUsed() + next.inputTokens + running.length > p.kvTokens) return
      waiting.shift()
      running.push(next)
    }
  }

  function finish(): void {
    const done = step
    step = undefined
    if (done) apply(done.steps, done.prefill)
    plan()
  }

  /** A leap is cut short when somebody arrives or leaves: the steps that have passed count. */
  function interrupt(): void {
    if (!step) return
    const passed = Math.floor((clock.monoMs() - step.startMs) / Math.max(step.stepMs, 1e-6))
    if (step.steps <= 1 || passed >= step.steps) return
    // The step under way is finished first: arrivals wait for the next one, as in a real server.
    step.cancel()
    const endMs = step.startMs + step.stepMs * (passed + 1)
    step = { ...step, steps: passed + 1, cancel: clock.after(endMs - clock.monoMs(), finish) }
  }

  function apply(steps: number, prefill: ReadonlyMap<Sequence, number>): void {
    for (const [sequence, tokens] of prefill) sequence.prefillLeft -= tokens
    for (const sequence of [...running]) {
      if (sequence.prefillLeft > 0) continue
      // The step that ends the prompt makes the first token.
      const made = prefill.has(sequence) ? 1 : steps
      sequence.decoded = Math.min(sequence.outputTokens, sequence.decoded + made)
      sequence.untold += made
      if (sequence.decoded >= sequence.outputTokens) leave(sequence)
      // A leap that arrivals cut into many pieces is still told as one chunk.
      if (!sequence.started || sequence.done || clock.monoMs() - sequence.toldMs >= MAX_LEAP_MS) tell(sequence)
    }
    while (kvUsed() > p.kvTokens && running.length > 1) preempt()
  }

  /** Put back by recompute: its context must be computed again. */
  function preempt(): void {
    const youngest = running.pop() as Sequence
    preemptions++
    wastedMs += youngest.decoded * p.decodeTokenMs
    youngest.prefillLeft = youngest.inputTokens
    waiting.unshift(youngest)
  }

  function leave(sequence: Sequence): void {
    sequence.done = true
    for (const list of [running, waiting]) {
      const at = list.indexOf(sequence)
      if (at >= 0) list.splice(at, 1)
    }
  }

  function tell(sequence: Sequence): void {
    sequence.toldMs = clock.monoMs()
    if (!sequence.started) {
      sequence.started = true
      sequence.head.resolve(replyFor(sequence))
    }
    sequence.wake?.()
  }

  function replyFor(sequence: Sequence): Reply {
    async function* body(): AsyncGenerator<Chunk> {
      for (;;) {
        if (sequence.failure) throw sequence.failure
        if (sequence.untold > 0) {
          const tokens = sequence.untold
          sequence.untold = 0
          yield { tokens }
        } else if (sequence.done) {
          yield { tokens: 0, deltas: [{ type: 'usage', usage: { inputTokens: sequence.inputTokens, outputTokens: sequence.decoded } }] }
          return
        } else {
          await new Promise<void>((wake) => (sequence.wake = wake))
          sequence.wake = undefined
        }
      }
    }
    return { status: 200, rawHeaders: [], protocol: CANONICAL, stream: true, body: body(), cancel: () => abandon(sequence) }
  }

  function abandon(sequence: Sequence): void {
    if (sequence.done) return
    wastedMs += (sequence.inputTokens - sequence.prefillLeft) * p.prefillTokenMs + sequence.decoded * p.decodeTokenMs
    leave(sequence)
    sequence.wake?.()
    interrupt()
  }

  return {
    name: p.name,
    provider: 'simulated',
    inProcess: true,
    models: [p.name],
    limits: { slots: p.maxWaiting + p.maxSequences, maxBatch: 1, batching: 'internal' },
    reshape: (values) => reshape(p, values),
    setSlowdown: (factor) => void (slowdown = factor),
    setDown(value) {
      down = value
      if (!down) return plan()
      step?.cancel()
      step = undefined
      for (const sequence of [...running, ...waiting]) {
        sequence.failure = new FlyballError('upstream_unreachable')
        leave(sequence)
        sequence.head.reject(sequence.failure)
        sequence.wake?.()
      }
    },
    get wastedMs() {
      return wastedMs
    },
    get running() {
      return running.length
    },
    get waitingInside() {
      return waiting.length
    },
    get preemptions() {
      return preemptions
    },
    get kvUsed() {
      return kvUsed()
    },
    run: (calls) => calls.map((call) => start(call)),
    async close() {},
  }

  function start(call: Call): Promise<Reply> {
    if (down) return Promise.reject(new FlyballError('upstream_unreachable'))
    const { inputTokens, outputTokens } = requestOf(call)
    if (inputTokens + outputTokens > p.kvTokens) return Promise.reject(new FlyballError('request_too_large'))
    if (waiting.length >= p.maxWaiting) return Promise.reject(new FlyballError('overloaded', { reason: 'upstream_503' }))
    return new Promise((resolve, reject) => {
      const sequence: Sequence = { call, inputTokens, outputTokens: Math.max(1, outputTokens), prefillLeft: inputTokens, decoded: 0, untold: 0, toldMs: 0, started: false, done: false, wake: undefined, head: { resolve, reject }, failure: undefined }
      waiting.push(sequence)
      const release = onCallAbort(call, () => {
        abandon(sequence)
        reject(new FlyballError('cancelled'))
      })
      call.onSettle(release)
      if (running.length < p.maxSequences) interrupt()
      plan()
    })
  }
}
