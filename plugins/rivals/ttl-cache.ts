/** A plain result cache with a time to live by rule: fixed, by popularity, d-TTL; with or without stale-while-revalidate. */
import { z } from 'zod'
import { definePlugin, replyOf, type Call, type Delta, type PluginFactory, type Reply } from '../../src/index.ts'

interface Entry {
  readonly deltas: readonly Delta[]
  readonly storedMs: number
  ttlMs: number
  refreshing: boolean
  hits: number
}

/** What a rule sees and says. */
export interface TtlRule {
  /** At each lookup, before the answer: did it hit? */
  looked(key: string, hit: boolean, nowMs: number): void
  ttlMs(key: string): number
}

export const fixedRule = (ttlMs: number): TtlRule => ({ looked() {}, ttlMs: () => ttlMs })

/** As long as it takes for a key to be asked for `factor` times, by a moving average of its gaps: popular keys expire sooner. */
export function popularityRule(factor: number, maxMs: number): TtlRule {
  const gaps = new Map<string, { lastMs: number; gapMs: number | undefined }>() // capped below
  return {
    looked(key, _, nowMs) {
      const known = gaps.get(key)
      if (!known) {
        if (gaps.size >= 100_000) gaps.delete(gaps.keys().next().value as string)
        gaps.set(key, { lastMs: nowMs, gapMs: undefined })
        return
      }
      const gapMs = nowMs - known.lastMs
      known.gapMs = known.gapMs === undefined ? gapMs : 0.8 * known.gapMs + 0.2 * gapMs
      known.lastMs = nowMs
    },
    ttlMs: (key) => Math.min(maxMs, factor * (gaps.get(key)?.gapMs ?? maxMs / factor)),
  }
}

/** d-TTL (Basu et al. 2018): stochastic approximation towards a hit ratio, θ ← θ + η(h* − hit), kept in [0, max]. */
export function dTtlRule(targetHitRatio: number, stepMs: number, maxMs: number, startMs = 0): TtlRule & { readonly thetaMs: number } {
  let theta = startMs
  return {
    get thetaMs() {
      return theta
    },
    looked(_, hit) {
      theta = Math.min(maxMs, Math.max(0, theta + stepMs * (targetHitRatio - (hit ? 1 : 0))))
    },
    ttlMs: () => theta,
  }
}

const options = z.strictObject({
  rule: z.enum(['fixed', 'popularity', 'd-ttl']).default('fixed'),
  ttlMs: z.number().min(0).default(60_000),
  factor: z.number().positive().default(10),
  targetHitRatio: z.number().min(0).max(1).default(0.8),
  stepMs: z.number().positive().default(500),
  maxMs: z.number().positive().default(3_600_000),
  /** After its time an entry is served for this much longer while one call fetches it anew. */
  swrMs: z.number().min(0).default(0),
  maxEntries: z.int().min(1).default(100_000),
})
type Options = z.output<typeof options>

function ruleOf(settings: Options): TtlRule {
  if (settings.rule === 'popularity') return popularityRule(settings.factor, settings.maxMs)
  if (settings.rule === 'd-ttl') return dTtlRule(settings.targetHitRatio, settings.stepMs, settings.maxMs, settings.ttlMs)
  return fixedRule(settings.ttlMs)
}

export type TtlCacheOptions = z.input<typeof options>

export const ttlCache: PluginFactory<TtlCacheOptions> = definePlugin({
  name: 'ttl-cache',
  phase: 'reuse',
  doc: 'Result cache with a fixed, popularity or d-TTL rule, and stale-while-revalidate.',
  options,
  create(host, settings) {
    const rule = ruleOf(settings)
    const entries = new Map<string, Entry>()

    function store(key: string, deltas: readonly Delta[]): void {
      entries.delete(key)
      if (entries.size >= settings.maxEntries) entries.delete(entries.keys().next().value as string)
      entries.set(key, { deltas, storedMs: host.clock.monoMs(), ttlMs: rule.ttlMs(key), refreshing: false, hits: 0 })
    }

    async function collect(reply: Reply): Promise<Delta[]> {
      const deltas: Delta[] = []
      for await (const chunk of reply.body) if (chunk.deltas) deltas.push(...chunk.deltas)
      return deltas
    }

    function refresh(call: Call, key: string, entry: Entry): void {
      entry.refreshing = true
      host.attempt(call, { purpose: 'refresh', background: true, signal: new AbortController().signal, deadlineMs: null }).then(collect).then((deltas) => store(key, deltas), () => { entry.refreshing = false })
    }

    return {
      async handler(call, next) {
        if (typeof call.cacheKey !== 'string') return next(call)
        const key = `${call.tenant}\u0000${call.cacheKey}`
        const now = host.clock.monoMs()
        const entry = entries.get(key)
        const age = entry ? now - entry.storedMs : Number.POSITIVE_INFINITY
        const fresh = entry !== undefined && age < entry.ttlMs
        const stale = entry !== undefined && !fresh && age < entry.ttlMs + settings.swrMs
        rule.looked(key, fresh || stale, now)
        if (entry && (fresh || stale)) {
          if (stale && !entry.refreshing) refresh(call, key, entry)
          return replyOf([{ deltas: entry.deltas, tokens: 1 }])
        }
        const reply = await next(call)
        const deltas = await collect(reply)
        if (call.settlement === undefined && reply.status < 400) store(key, deltas)
        return replyOf([{ deltas, tokens: 1 }])
      },
    }
  },
}) as PluginFactory<TtlCacheOptions>
