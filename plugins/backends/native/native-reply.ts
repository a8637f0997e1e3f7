/** From an engine's steps to a reply's chunks. */
import type { Chunk, Delta, TokenLogprob } from '../../../src/index.ts'
import type { GenerateRequest, GenerateStep, TokenLogprobs } from './engine-contract.ts'
import type { Tokenizer } from './tokenizer/tokenizer.ts'

export interface ChoiceStats {
  cachedPromptTokens: number
  outputTokens: number
  queueMs?: number
  prefillMs?: number
}

/**
 * One choice's text as it comes. Text that may be the start of a stop string is held back until it is known not to be, so
 * that a stop string never reaches the client, not even in part.
 */
export async function* choiceDeltas(steps: AsyncIterable<GenerateStep>, request: GenerateRequest, index: number, tokenizer: Tokenizer, stats: ChoiceStats): AsyncGenerator<{ deltas: Delta[]; tokens: number }> {
  const decoder = tokenizer.streamDecoder()
  let held = ''
  for await (const step of steps) {
    if (step.cachedPromptTokens !== undefined) stats.cachedPromptTokens += step.cachedPromptTokens
    if (step.queueMs !== undefined) stats.queueMs = step.queueMs
    if (step.prefillMs !== undefined) stats.prefillMs = step.prefillMs
    stats.outputTokens += step.tokens.length
    for (const token of step.tokens) held += decoder.push(token)
    if (step.finish) held += decoder.end()
    let stopSequence: string | undefined
    if (step.finish && step.stopString !== undefined) {
      const cut = held.indexOf(step.stopString)
      if (cut >= 0) [held, stopSequence] = [held.slice(0, cut), step.stopString]
    }
    const keep = step.finish ? 0 : heldBack(held, request.stopStrings)
    const text = held.slice(0, held.length - keep)
    held = held.slice(held.length - keep)
    const deltas: Delta[] = []
    const logprobs = step.logprobs?.map((one, i) => logprobOf(step.tokens[i] as number, one, tokenizer))
    if (text !== '' || logprobs?.length) deltas.push({ type: 'text', index, text, ...(logprobs ? { logprobs } : {}) })
    if (step.finish) deltas.push({ type: 'finish', index, reason: step.finish, ...(stopSequence === undefined ? {} : { stopSequence }) })
    if (deltas.length > 0 || step.tokens.length > 0) yield { deltas, tokens: step.tokens.length }
  }
}

/** Length of the longest end of `text` that a stop string begins with. */
function heldBack(text: string, stopStrings: readonly string[]): number {
  let keep = 0
  for (const stop of stopStrings) {
    for (let length = Math.min(stop.length - 1, text.length); length > keep; length--) {
      if (text.endsWith(stop.slice(0, length))) keep = length
    }
  }
  return keep
}

function logprobOf(token: number, one: TokenLogprobs, tokenizer: Tokenizer): TokenLogprob {
  const text = (id: number): string => tokenizer.decode([id])
  return { token: text(token), logprob: one.logprob, ...(one.top.length > 0 ? { top: one.top.map((alternative) => ({ token: text(alternative.token), logprob: alternative.logprob })) } : {}) }
}

/**
 * Several choices or prompts as one stream, whichever has something next; then the usage of all. Ends early, and ends the
 * others, when one fails.
 */
export async function* mergedChunks(choices: readonly AsyncGenerator<{ deltas: Delta[]; tokens: number }>[], start: Delta, usage: () => Delta): AsyncGenerator<Chunk> {
  const next = (i: number) => (choices[i] as AsyncGenerator<{ deltas: Delta[]; tokens: number }>).next().then((result) => ({ i, result }))
  const pending = new Map(choices.map((_, i) => [i, next(i)]))
  let lead: Delta[] = [start]
  try {
    while (pending.size > 0) {
      const { i, result } = await Promise.race(pending.values())
      if (result.done) {
        pending.delete(i)
        continue
      }
      pending.set(i, next(i))
      yield { deltas: [...lead, ...result.value.deltas], tokens: result.value.tokens }
      lead = []
    }
    yield { deltas: [...lead, usage()], tokens: 0 }
  } finally {
    for (const choice of choices) choice.return(undefined).catch(() => {})
  }
}
