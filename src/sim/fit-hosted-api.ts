/** A hosted API's own latency: first token and per token; its quotas are not to be seen from latencies and are given. */
import { quantile } from '../signals/signal-window.ts'
import { checkCount, rounded, type Fitted, type ServedCall } from './fit.ts'
import { readPlant } from './plants/parameters.ts'
import { spreadOf, theilSen } from './robust-fit.ts'

/** Throws a RangeError when there are too few calls. */
export function fitHostedApi(calls: readonly ServedCall[], quotas: { requestsPerMinute: number; inputTokensPerMinute: number; outputTokensPerMinute: number; name?: string }): Fitted {
  checkCount(calls.length, 'calls')
  const times = calls.map(({ startMs, endMs }) => endMs - startMs)
  const line = theilSen(calls.map(({ outputTokens }, i) => ({ x: outputTokens, y: times[i] as number })))
  const tokenMs = Math.max(0, line?.slope ?? 0)
  const ttftMs = Math.max(0, line?.intercept ?? quantile([...times], 0.5))
  const expected = calls.map(({ outputTokens }) => Math.max(1e-6, ttftMs + tokenMs * outputTokens))
  const tail = spreadOf(times.map((ms, i) => Math.log(Math.max(1e-6, ms) / (expected[i] as number))))
  const plant = readPlant({ kind: 'hosted-api', name: 'fitted', ...quotas, ...rounded({ ttftMs, tokenMs }), tail: Number(tail.toPrecision(3)) }, 'fit')
  return { plant, quality: { points: calls.length, medianError: quantile(times.map((ms, i) => Math.abs(ms - (expected[i] as number)) / (expected[i] as number)), 0.5) } }
}
