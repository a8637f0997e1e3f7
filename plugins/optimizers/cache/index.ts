/** Answers asked for before: exact keys, single-flight, and a TTL per class from how often answers really change. */
import { z } from 'zod'
import { definePlugin, describeIssues, FlyballError, type Call } from '../../../src/index.ts'
import { createCache, type CacheHost } from './cache-handler.ts'
import { instruments, knobs, signals } from './declares.ts'
import { ttlController } from './ttl-controller.ts'

const keyFunction = z.custom<(call: Call) => string | null | undefined>((value) => typeof value === 'function', 'expected a function')
const classFunction = z.custom<(call: Call) => string | undefined>((value) => typeof value === 'function', 'expected a function')

const options = z.strictObject({
  /** Most entries, expired ones included. */
  maxEntries: z.int().min(1).default(100_000),
  maxBytes: z.int().min(1).default(256 * 1024 * 1024),
  /** A larger answer is not kept. */
  maxEntryBytes: z.int().min(1).default(1024 * 1024),
  /** Most bytes of an answer under way that are kept for those who join it. */
  replayBytes: z.int().min(1).default(1024 * 1024),
  /** Share of hits that are asked again in the background, to learn how often answers change. */
  shadowRate: z.number().min(0).max(0.5).default(0.01),
  /** Cache answers drawn at random (temperature above 0) as well. */
  cacheSampled: z.boolean().default(false),
  /** Serve an answer near the end of its TTL and fetch it again at once. */
  staleWhileRevalidate: z.boolean().default(true),
  /** Serve an answer past its TTL instead of an error, as long as the stale budget has room. */
  staleIfError: z.boolean().default(true),
  /** What identifies the answer; null: not this one; undefined: as usual. Tenant, operation and model are always part of it. */
  key: keyFunction.optional(),
  /** Cache class of a call; classes have TTLs of their own. Default: the call’s own, else its operation. */
  classOf: classFunction.optional(),
})

const selection = z.strictObject({ key: z.string().optional(), class: z.string().optional(), tenant: z.string().optional(), model: z.string().optional(), operation: z.string().optional() })
const inspection = selection.extend({ limit: z.int().min(1).max(1_000).default(50) })

export const cache = definePlugin({
  name: 'cache',
  phase: 'reuse',
  doc: 'Exact cache with single-flight; the TTL of each class is turned so that stale hits stay within a budget.',
  options,
  declares: { knobs, signals, instruments, controllers: { ttlController } },
  create(host, settings) {
    const { handler, store, flights } = createCache(host as unknown as CacheHost, settings)
    host.onClose(host.instruments.bytes.collect((report) => report(store.bytes, {})))
    host.onClose(host.instruments.entries.collect((report) => report(store.size, {})))
    host.onClose(host.instruments.flights.collect((report) => report(flights.size, {})))
    host.describe(() => ({ entries: store.size, bytes: store.bytes, flights: flights.size, maxEntries: settings.maxEntries, maxBytes: settings.maxBytes }))
    host.command('purge', (args) => ({ purged: store.purge(parse(selection, args)) }))
    host.command('inspect', (args) => {
      const { limit, ...which } = parse(inspection, args)
      const now = host.clock.monoMs()
      const entries = []
      for (const [key, entry] of store.select(which)) {
        if (entries.length >= limit) break
        // Who asked what is nobody's business: no prompt, no answer.
        entries.push({ key, class: entry.cacheClass, tenant: entry.tenant, model: entry.model, operation: entry.operation, stream: entry.stream, bytes: entry.bytes, chunks: entry.chunks, ageS: (now - entry.fetchedMs) / 1_000, hits: entry.hits })
      }
      return { entries, total: store.size }
    })
    return { handler }
  },
})

function parse<Z extends z.ZodType>(schema: Z, args: unknown): z.output<Z> {
  const parsed = schema.safeParse(args ?? {})
  if (!parsed.success) throw new FlyballError('invalid_request', { message: describeIssues(parsed.error) })
  return parsed.data
}
