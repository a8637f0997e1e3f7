/** One assistant's traffic: every prompt starts with the same instructions, and some questions come again and again. */
import { createGovernor, sloMet, systemClock, type Backend, type Call, type Plugin, type SloClass } from '../../src/index.ts'
import { FIRST_PLAIN_TOKEN, SHAPES } from '../random-model.ts'

export const INSTRUCTION_TOKENS = 384
export const QUESTION_TOKENS = 32
/** At most; most end earlier, at one of `STOPS`: an answer that was cut off is not worth caching, and is not cached. */
export const ANSWER_TOKENS = 64
/** In the text of about one token in thirteen of the vocabulary. */
const STOPS = ['11', '33', '55', '77', '99']
/** This share of questions is one of `FREQUENT`. */
export const REPEAT_SHARE = 0.3
const FREQUENT = 16

export interface Ask {
  readonly prompt: readonly number[]
  readonly maxTokens: number
  readonly stop?: readonly string[]
  /** Prompts of one space may share prefixes and answers. */
  readonly tenant: string
  readonly className?: string
}

function numbers(seed: number): () => number {
  let state = (seed * 2_654_435_761) >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

export function tokensOf(length: number, seed: number): number[] {
  const next = numbers(seed)
  return Array.from({ length }, () => FIRST_PLAIN_TOKEN + Math.floor(next() * (SHAPES['34m'].vocabulary - FIRST_PLAIN_TOKEN)))
}

/** Same seed, same questions. `shared`: all in one space, so that the instructions need to be computed once. */
export function assistant(seed: number, shared: boolean): () => Ask {
  const next = numbers(seed)
  const instructions = tokensOf(INSTRUCTION_TOKENS, 1)
  let asked = 0
  return () => {
    const question = next() < REPEAT_SHARE ? 1 + Math.floor(next() * FREQUENT) : 1_000 + seed * 100_000 + asked
    asked++
    return { prompt: [...instructions, ...tokensOf(QUESTION_TOKENS, question + 7)], maxTokens: ANSWER_TOKENS, stop: STOPS, tenant: shared ? 'one' : `each-${seed}-${asked}` }
  }
}

export interface Driven {
  readonly answeredPerS: number
  /** Share of those offered that were answered within the targets of their class: of all, and of one class. */
  attainment(className?: string): number
}

interface Drive {
  readonly backend: Backend
  readonly plugins: readonly Plugin[]
  readonly classes?: readonly SloClass[]
  readonly ask: () => Ask
  readonly seconds: number
}

/** As many clients as given, each asking again as soon as it has its answer. */
export async function closedLoop(drive: Drive, clients: number): Promise<Driven> {
  return withGovernor(drive, async (send) => {
    const from = systemClock.monoMs()
    const until = from + drive.seconds * 1_000
    await Promise.all(Array.from({ length: clients }, async () => { while (systemClock.monoMs() < until) await send(drive.ask()) }))
    return systemClock.monoMs() - from
  })
}

/** Poisson arrivals that wait for nobody. */
export async function openLoop(drive: Drive, perS: number, seed: number): Promise<Driven> {
  return withGovernor(drive, async (send) => {
    const next = numbers(seed)
    const open: Promise<void>[] = []
    const from = systemClock.monoMs()
    for (let atMs = 0; atMs < drive.seconds * 1_000; atMs += (-Math.log(1 - next()) / perS) * 1_000) {
      const waitMs = from + atMs - systemClock.monoMs()
      if (waitMs > 0) await new Promise((resolve) => void setTimeout(resolve, waitMs))
      open.push(send(drive.ask()))
    }
    await Promise.all(open)
    return drive.seconds * 1_000
  })
}

async function withGovernor({ backend, plugins, classes }: Drive, run: (send: (ask: Ask) => Promise<void>) => Promise<number>): Promise<Driven> {
  const governor = createGovernor({ backends: [backend], plugins, env: {}, ...(classes ? { classes } : {}) })
  await governor.start()
  const calls: Call[] = []
  const send = async ({ prompt, maxTokens, stop = [], tenant, className }: Ask): Promise<void> => {
    const model = (backend.models as readonly string[])[0] as string
    const canonical = { kind: 'completion', model, prompts: [prompt], stream: false, includeUsage: true, sampling: { maxTokens, temperature: 0, stop: [...stop] } } as const
    const call = governor.call({ operation: 'completions', model, tenant, input: { model, prompt, max_tokens: maxTokens, temperature: 0, stop }, work: prompt.length + maxTokens, maxOutputTokens: maxTokens, canonical: () => canonical as never, ...(className === undefined ? {} : { class: className }) })
    calls.push(call)
    try {
      const reply = await governor.send(call)
      for await (const chunk of reply.body) void chunk
    } catch {
      // Turned away: offered and not answered.
    }
  }
  const ms = await run(send)
  await governor.close()
  const answered = calls.filter(({ settlement }) => settlement?.outcome === 'ok').length
  return {
    answeredPerS: (answered / ms) * 1_000,
    attainment(className) {
      const offered = className === undefined ? calls : calls.filter((call) => call.class === className)
      return offered.filter((call) => call.settlement && sloMet(call, call.settlement)).length / Math.max(1, offered.length)
    },
  }
}
