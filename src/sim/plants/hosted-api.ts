/** Plant (c): a hosted API. Continuously refilled buckets for requests, input and output tokens; a latency tail of its own. */
import { z } from 'zod'
import type { Call } from '../../core/call.ts'
import type { Reply } from '../../core/reply.ts'
import type { Clock } from '../../core/clock.ts'
import { FlyballError } from '../../core/errors.ts'
import { logNormal } from './batch-server.ts'
import { onCallAbort, requestOf, reshape, unaryReply, type Plant } from './plant.ts'

export const hostedApiParameters = z.strictObject({
  kind: z.literal('hosted-api'),
  name: z.string().default('hosted-api'),
  requestsPerMinute: z.number().positive(),
  inputTokensPerMinute: z.number().positive(),
  outputTokensPerMinute: z.number().positive(),
  /** Buckets hold this many seconds' worth. */
  burstS: z.number().positive().default(10),
  ttftMs: z.number().min(0).default(300),
  tokenMs: z.number().min(0).default(15),
  /** Spread of the logarithm of latency. */
  tail: z.number().min(0).default(0.4),
  /** What the headers look like. `malformed`: −1, 0, words and missing ones, as some servers send. */
  headers: z.enum(['good', 'none', 'malformed']).default('good'),
})
export type HostedApiParameters = z.output<typeof hostedApiParameters>

interface Bucket {
  level: number
  readonly capacity: number
  readonly perMs: number
}

export interface HostedApi extends Plant {
  /** Replies 429 so far. */
  readonly refusals: number
  /** A quota cut or raise, as a share of the first limits. */
  setQuota(share: number): void
}

const bucket = (perMinute: number, burstS: number): Bucket => ({ level: (perMinute / 60) * burstS, capacity: (perMinute / 60) * burstS, perMs: perMinute / 60_000 })

export function hostedApi(parameters: HostedApiParameters, clock: Clock): HostedApi {
  const p = { ...parameters }
  const buckets = { requests: bucket(p.requestsPerMinute, p.burstS), input: bucket(p.inputTokensPerMinute, p.burstS), output: bucket(p.outputTokensPerMinute, p.burstS) }
  let filledMs = clock.monoMs()
  let slowdown = 1
  let quota = 1
  let down = false
  let refusals = 0
  let wastedMs = 0

  function refill(): void {
    const now = clock.monoMs()
    for (const one of Object.values(buckets)) one.level = Math.min(one.capacity * quota, one.level + one.perMs * quota * (now - filledMs))
    filledMs = now
  }

  function headers(retryMs?: number): string[] {
    if (p.headers === 'none') return []
    if (p.headers === 'malformed') return ['x-ratelimit-limit-requests', '-1', 'x-ratelimit-remaining-requests', 'plenty', 'x-ratelimit-reset-requests', '', ...(retryMs === undefined ? [] : ['retry-after', 'soon'])]
    const limits = ['requests', 'input', 'output'] as const
    const names = { requests: 'requests', input: 'input-tokens', output: 'output-tokens' }
    return [
      ...limits.flatMap((name) => [`anthropic-ratelimit-${names[name]}-limit`, String(Math.floor(buckets[name].perMs * 60_000 * quota)), `anthropic-ratelimit-${names[name]}-remaining`, String(Math.max(0, Math.floor(buckets[name].level)))]),
      ...(retryMs === undefined ? [] : ['retry-after', String(Math.ceil(retryMs / 1_000))]),
    ]
  }

  function serve(call: Call): Promise<Reply> {
    if (down) return Promise.reject(new FlyballError('upstream_unreachable'))
    refill()
    const { inputTokens, outputTokens } = requestOf(call)
    const reserve = call.maxOutputTokens ?? outputTokens
    const wants = { requests: 1, input: inputTokens, output: reserve }
    let retryMs = 0
    for (const name of ['requests', 'input', 'output'] as const) {
      const lacking = wants[name] - buckets[name].level
      if (lacking > 0) retryMs = Math.max(retryMs, lacking / (buckets[name].perMs * quota))
    }
    if (retryMs > 0) {
      refusals++
      return Promise.resolve(unaryReply([{ type: 'error', code: 'rate_limit', message: 'rate limited', status: 429 }], 0, 429, headers(retryMs)))
    }
    for (const name of ['requests', 'input', 'output'] as const) buckets[name].level -= wants[name]
    const ms = (p.ttftMs + p.tokenMs * outputTokens) * slowdown * logNormal(clock, p.tail)
    return new Promise((resolve, reject) => {
      const release = onCallAbort(call, () => {
        cancel()
        wastedMs += ms
        reject(new FlyballError('cancelled'))
      })
      const cancel = clock.after(ms, () => {
        release()
        // What was reserved and not used comes back.
        refill()
        buckets.output.level = Math.min(buckets.output.capacity * quota, buckets.output.level + reserve - outputTokens)
        resolve(unaryReply([{ type: 'usage', usage: { inputTokens, outputTokens } }], outputTokens, 200, headers()))
      })
    })
  }

  return {
    name: p.name,
    provider: 'simulated',
    inProcess: true,
    models: [p.name],
    limits: { slots: 100_000, maxBatch: 1, batching: 'none' },
    run: (calls) => calls.map(serve),
    reshape: (values) => reshape(p, values),
    setSlowdown: (factor) => void (slowdown = factor),
    setDown: (value) => void (down = value),
    setQuota(share) {
      refill()
      quota = share
    },
    get refusals() {
      return refusals
    },
    get wastedMs() {
      return wastedMs
    },
    async close() {},
  }
}
