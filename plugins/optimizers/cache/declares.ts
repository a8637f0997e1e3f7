/** Everything that the cache declares but its controller, once. */
import { instrument, knob, label, signal } from '../../../src/index.ts'

export const knobs = {
  ttlS: knob({
    name: 'cache.ttl_s',
    default: 1,
    min: 0.1,
    max: 7 * 86_400,
    unit: 's',
    doc: 'How long an answer of a cache class may be served. Asked at lookup: a cut holds for what is stored already.',
    scope: ['class'],
    maxUp: 2,
    maxDown: 0,
    cooldownMs: 10_000,
    safeDirection: 'down',
  }),
  staleBudget: knob({
    name: 'cache.stale_budget',
    default: 0.02,
    min: 0.0001,
    max: 0.5,
    unit: '1',
    doc: 'Share of hits that may be out of date. The TTL loop keeps the upper confidence bound of it under this.',
    scope: ['class'],
    tunable: false,
  }),
} as const

export const signals = {
  change: signal({
    name: 'cache.change',
    unit: '1',
    doc: 'Whether an answer fetched again had changed (1) or not (0), at the age in seconds of the one it replaced.',
    scope: ['class'],
    windowMs: 600_000,
    capacity: 512,
    staleAfterMs: 3_600_000,
  }),
  staleBudget: signal({ name: 'cache.stale_budget_in_force', unit: '1', doc: 'The stale budget of the class when it was last measured.', scope: ['class'], aggregate: 'last', capacity: 1, windowMs: 3_600_000 }),
  hit: signal({ name: 'cache.hit', unit: '1', doc: 'Whether a cacheable call was answered from the cache (1) or not (0).', scope: ['class'], capacity: 1_024 }),
} as const

export const OUTCOMES = ['hit', 'miss', 'join', 'stale', 'bypass'] as const
export type CacheOutcome = (typeof OUTCOMES)[number]

const cacheClass = label('Cache class.', 64)

export const instruments = {
  requests: instrument({ name: 'flyball.cache_requests', kind: 'counter', unit: '{call}', doc: 'Calls by what the cache did: hit, miss, join (of a call under way), stale (served while it is fetched again, or instead of an error), bypass.', labels: { class: cacheClass, outcome: label('What the cache did.', OUTCOMES.length + 1, OUTCOMES) } }),
  refreshes: instrument({ name: 'flyball.cache_refreshes', kind: 'counter', unit: '{call}', doc: 'Background fetches: shadow (a sample of hits), revalidate (stale while revalidating).', labels: { class: cacheClass, purpose: label('Why.', 3, ['shadow', 'revalidate']), result: label('What came of it.', 4, ['changed', 'same', 'failed']) } }),
  evictions: instrument({ name: 'flyball.cache_evictions', kind: 'counter', unit: '{entry}', doc: 'Entries that left the cache, by the reason.', labels: { reason: label('Why.', 3, ['room', 'purge']) } }),
  bytes: instrument({ name: 'flyball.cache_bytes', kind: 'gauge', unit: 'By', doc: 'Estimated memory of the entries.', labels: {}, observed: true }),
  entries: instrument({ name: 'flyball.cache_entries', kind: 'gauge', unit: '{entry}', doc: 'Entries, expired ones included.', labels: {}, observed: true }),
  flights: instrument({ name: 'flyball.cache_flights', kind: 'gauge', unit: '{call}', doc: 'Upstream calls under way that others can join.', labels: {}, observed: true }),
} as const
