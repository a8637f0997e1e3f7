/**
 * A continuous batcher's parameters from whole calls. Single gaps between tokens say little: under load tokens reach a
 * reader in clumps, up to a whole answer at once. But while a call is there, the server makes one step for each of its
 * tokens, and each step pays for every sequence that it decodes and every prompt token that it computes, whoever they belong
 * to. So a call's whole time is base × its own tokens + price × everybody's tokens meanwhile + price × everybody's prompt
 * tokens meanwhile.
 */
import { quantile } from '../signals/signal-window.ts'
import { checkCount, rounded, type Fitted, type ServedCall } from './fit.ts'
import { readPlant } from './plants/parameters.ts'
import { evenly, RateOverTime } from './rate-over-time.ts'
import { leastRelativeError } from './robust-fit.ts'

/** A call comes in the middle of a step and waits for its end. */
const STEP_UNDER_WAY = 0.5
/** Prices say when a call began to decode, which says who decoded beside whom, which says the prices. */
const ROUNDS = 3

/** `maxSequences`: how many it decodes at once; calls that had to wait inside for that are left out. Throws a RangeError when there are too few calls. */
export function fitLlmServer(served: readonly ServedCall[], limits: { name?: string; maxSequences?: number } = {}): Fitted {
  const calls = served.filter((call) => call.outputTokens > 0 && call.endMs > call.startMs)
  const present = new RateOverTime(calls.flatMap(({ startMs, endMs }) => [{ atMs: startMs, perMs: 1 }, { atMs: endMs, perMs: -1 }]))
  const maxSequences = limits.maxSequences ?? calls.reduce((most, { startMs, endMs }) => Math.max(most, present.most(startMs, endMs)), 1)
  const waitedNot = calls.map(({ startMs, endMs }) => present.most(startMs, endMs) <= maxSequences)
  const usable = calls.filter((_, i) => waitedNot[i])
  checkCount(usable.length, usable.length === calls.length ? 'streamed calls' : `streamed calls with at most ${maxSequences} at once`)

  const times = usable.map(({ startMs, endMs }) => endMs - startMs)
  let rows: number[][] = []
  let prices = { stepBaseMs: 0, decodeTokenMs: 0, prefillTokenMs: 0 }
  for (let round = 0; round < ROUNDS; round++) {
    // The first token is told late at worst: what came after it took as long as that many steps do.
    const decodesFromMs = calls.map(({ startMs, firstMs, endMs, outputTokens }) => {
      const together = present.total(startMs, endMs) / (endMs - startMs)
      const decodeMs = (outputTokens - 1) * (prices.stepBaseMs + prices.decodeTokenMs * Math.min(maxSequences, together))
      return round === 0 ? startMs : Math.max(startMs, Math.min(firstMs, endMs - decodeMs))
    })
    const decoded = new RateOverTime(calls.flatMap(({ endMs, outputTokens }, i) => evenly(decodesFromMs[i] as number, endMs, outputTokens)))
    const prefilled = new RateOverTime(calls.flatMap(({ startMs, inputTokens }, i) => evenly(startMs, decodesFromMs[i] as number, inputTokens)))
    rows = usable.map(({ startMs, endMs, outputTokens }) => [outputTokens + STEP_UNDER_WAY, decoded.total(startMs, endMs), prefilled.total(startMs, endMs)])
    const [stepBaseMs = 0, decodeTokenMs = 0, prefillTokenMs = 0] = leastRelativeError(rows, times)
    prices = { stepBaseMs, decodeTokenMs, prefillTokenMs }
  }
  const errors = rows.map(([steps = 0, tokens = 0, prompt = 0], i) => {
    const expected = Math.max(1e-6, prices.stepBaseMs * steps + prices.decodeTokenMs * tokens + prices.prefillTokenMs * prompt)
    return Math.abs((times[i] as number) - expected) / expected
  })
  const plant = readPlant({ kind: 'llm-server', name: limits.name ?? 'fitted', maxSequences, ...rounded(prices), contextTokenMs: 0 }, 'fit')
  return { plant, quality: { points: usable.length, medianError: quantile(errors, 0.5) } }
}
