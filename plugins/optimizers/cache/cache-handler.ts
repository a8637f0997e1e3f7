/** The cache on the request path: look up, join, fetch, keep; and what it asks for in the background. */
import { bodyOf, FlyballError, type Call, type Chunk, type Handler, type Host, type Reply, type SloClass } from '../../../src/index.ts'
import { cacheKey, type KeyOptions } from './cache-key.ts'
import type { CacheOutcome, instruments, knobs, signals } from './declares.ts'
import { EntryStore, type Entry } from './entry-store.ts'
import { Flight } from './flight.ts'
import { KeptAnswer } from './kept-answer.ts'
import { answerDigest, chunkBytes, keptHeaders, mayKeep, ownChunk } from './reply-verdict.ts'
import { StaleAllowance } from './stale-allowance.ts'

export type CacheHost = Host<{ knobs: typeof knobs; signals: typeof signals; instruments: typeof instruments }>

export interface CacheSettings extends KeyOptions {
  readonly maxEntries: number
  readonly maxBytes: number
  readonly maxEntryBytes: number
  readonly replayBytes: number
  readonly shadowRate: number
  readonly staleWhileRevalidate: boolean
  readonly staleIfError: boolean
  readonly classOf?: ((call: Call) => string | undefined) | undefined
}

export interface CacheParts {
  readonly handler: Handler
  readonly store: EntryStore
  readonly flights: ReadonlyMap<string, FlightCell>
}

/** Emptied when nobody can join any more: a table that the map has thrown away then keeps nothing alive (see `Slot`). */
interface FlightCell {
  flight: Flight | undefined
}

/** From this share of the TTL on an answer is served and fetched again: whoever comes later finds it fresh. */
const REVALIDATE_FROM = 0.8
/** Background fetches under way at most: they must never be the load. */
const MAX_BACKGROUND = 16
/** A background fetch may take this long, ms. */
const BACKGROUND_MS = 60_000
/** Nobody waits for it, so everybody goes first. */
const BACKGROUND: SloClass = { name: 'background', priority: 1_000, quantile: 0.95 }
/** Less in flight than this share of the limit, and nobody waiting: upstream has room for a question nobody asked. */
const ROOM = 0.8

/** Observations of change after which a class counts as known. */
const LEARNED = 24
/** Share of an unknown class's hits that are checked against the backend. */
const LEARNING_RATE = 0.25

export function createCache(host: CacheHost, settings: CacheSettings): CacheParts {
  const { clock } = host
  const closing = new AbortController()
  const flights = new Map<string, FlightCell>() // capped by the calls that wait or run
  const background = new Set<string>() // capped by MAX_BACKGROUND
  const allowances = new Map<string, StaleAllowance>() // capped by MAX_CLASSES
  const store = new EntryStore({ clock, maxEntries: settings.maxEntries, maxBytes: settings.maxBytes, onEvicted: (reason) => host.instruments.evictions.add(1, { reason }) })
  host.onClose(() => closing.abort(new FlyballError('draining')))

  const classOf = (call: Call): string => settings.classOf?.(call) ?? call.cacheClass ?? call.operation
  const ttlMsOf = (cacheClass: string): number => host.knobs.ttlS.for({ class: cacheClass }).value * 1_000
  const budgetOf = (cacheClass: string): number => host.knobs.staleBudget.for({ class: cacheClass }).value

  function allowanceOf(cacheClass: string): StaleAllowance {
    const known = allowances.get(cacheClass)
    if (known) return known
    const name = allowances.size < MAX_CLASSES ? cacheClass : OTHER_CLASSES
    let allowance = allowances.get(name)
    if (!allowance) allowances.set(name, (allowance = new StaleAllowance()))
    return allowance
  }

  function report(call: Call, cacheClass: string, outcome: CacheOutcome): void {
    call.note('cache', outcome)
    host.instruments.requests.add(1, { class: cacheClass, outcome })
    if (outcome !== 'bypass') host.signals.hit.for({ class: cacheClass }).push(outcome === 'hit' || outcome === 'stale' ? 1 : 0)
  }

  function learnChange(cacheClass: string, ageMs: number, changed: boolean): void {
    host.signals.staleBudget.for({ class: cacheClass }).push(budgetOf(cacheClass))
    host.signals.change.for({ class: cacheClass }).push(changed ? 1 : 0, ageMs / 1_000)
  }

  /** Keeps a finished answer if it may be kept; what it replaces tells how often answers change. */
  function keep(call: Call, key: string, cacheClass: string, reply: Reply, chunks: readonly Chunk[], bytes: number): 'changed' | 'same' | 'failed' {
    if (!mayKeep(call, reply.status, chunks)) return 'failed'
    const old = store.get(key)
    const now = clock.monoMs()
    const digest = old && answerDigest(reply, chunks)
    // Only answers with status 200 are kept.
    const changed = old !== undefined && (old.digest ??= answerDigest({ status: 200 }, old.answer.open().chunks)) !== digest
    if (old) learnChange(cacheClass, now - old.fetchedMs, changed)
    if (bytes <= settings.maxEntryBytes) {
      store.set(key, { cacheClass, tenant: call.tenant, operation: call.operation, model: call.model, protocol: reply.protocol, stream: reply.stream, answer: new KeptAnswer({ rawHeaders: keptHeaders(reply.rawHeaders), chunks }), chunks: chunks.length, bytes, digest, fetchedMs: now, hits: old?.hits ?? 0 })
    } else if (old) store.purge({ key })
    return changed ? 'changed' : 'same'
  }

  function serve(call: Call, entry: Entry, ageMs: number, ttlMs: number, outcome: 'hit' | 'stale'): Reply {
    entry.hits++
    allowanceOf(entry.cacheClass).served(ageMs, ttlMs, budgetOf(entry.cacheClass))
    report(call, entry.cacheClass, outcome)
    return replay(entry, ageMs)
  }

  function fetchShared(call: Call, key: string, cacheClass: string): Promise<Reply> {
    const under = flights.get(key)?.flight
    if (under?.joinable) {
      report(call, cacheClass, 'join')
      return under.join(call)
    }
    report(call, cacheClass, 'miss')
    const cell: FlightCell = { flight: undefined }
    const flight = new Flight(
      {
        clock,
        replayBytes: settings.replayBytes,
        start: (signal, onChild) => host.attempt(call, { signal, onChild, deadlineMs: null, purpose: 'serve' }),
        onComplete: (reply, chunks, bytes) => void keep(call, key, cacheClass, reply, chunks, bytes),
        onClosed: () => {
          if (flights.get(key) === cell) flights.delete(key)
          cell.flight = undefined
        },
      },
      call.priority,
    )
    if (flight.joinable) {
      cell.flight = flight
      flights.set(key, cell)
    }
    return flight.join(call)
  }

  /** A fetch that nobody waits for. Its own errors change nothing. */
  async function refresh(call: Call, key: string, cacheClass: string, purpose: 'shadow' | 'revalidate'): Promise<void> {
    if (background.size >= MAX_BACKGROUND || background.has(key) || flights.has(key) || closing.signal.aborted) return
    background.add(key)
    let result: 'changed' | 'same' | 'failed' = 'failed'
    try {
      const reply = await host.attempt(call, { background: true, purpose: purpose === 'shadow' ? 'shadow' : 'refresh', signal: closing.signal, priority: BACKGROUND.priority, slo: BACKGROUND, deadlineMs: clock.monoMs() + BACKGROUND_MS })
      const chunks: Chunk[] = []
      let bytes = 0
      for await (const chunk of reply.body) {
        bytes += chunkBytes(chunk) ?? Number.POSITIVE_INFINITY
        if (bytes > settings.maxEntryBytes) break // leaving the loop cancels the reply
        chunks.push(chunk)
      }
      if (bytes <= settings.maxEntryBytes) result = keep(call, key, cacheClass, reply, chunks, bytes)
    } catch {
      // Turned away or failed upstream: the lane has counted it, and the entry stays as it was.
    } finally {
      background.delete(key)
    }
    host.instruments.refreshes.add(1, { class: cacheClass, purpose, result })
  }

  function hasRoom(call: Call): boolean {
    try {
      const lane = host.lane(host.route(call).name)
      return lane.waiting === 0 && lane.inFlight < ROOM * lane.limit
    } catch {
      return false // no backend serves the model any more
    }
  }

  /** A class that nothing is known about yet is asked about more often: its TTL is a guess until then, and so is its staleness. */
  function shadowRate(cacheClass: string): number {
    const known = host.signals.change.for({ class: cacheClass }).count
    return known >= LEARNED ? settings.shadowRate : Math.max(settings.shadowRate, LEARNING_RATE)
  }

  function refreshMaybe(call: Call, key: string, entry: Entry, ageMs: number, ttlMs: number): void {
    if (call.once) return
    if (settings.staleWhileRevalidate && ageMs > ttlMs * REVALIDATE_FROM) void refresh(call, key, entry.cacheClass, 'revalidate')
    else if (settings.shadowRate > 0 && host.loops === 'on' && clock.random() < shadowRate(entry.cacheClass) && hasRoom(call)) void refresh(call, key, entry.cacheClass, 'shadow')
  }

  const handler: Handler = async function cache(call, next) {
    const found = cacheKey(call, settings)
    if ('bypass' in found) {
      report(call, classOf(call), 'bypass')
      return next(call)
    }
    const { key } = found
    const cacheClass = classOf(call)
    const entry = store.get(key)
    const ttlMs = ttlMsOf(cacheClass)
    const ageMs = entry ? clock.monoMs() - entry.fetchedMs : Number.POSITIVE_INFINITY
    if (entry && ageMs <= ttlMs) {
      refreshMaybe(call, key, entry, ageMs, ttlMs)
      return serve(call, entry, ageMs, ttlMs, ageMs > ttlMs * REVALIDATE_FROM ? 'stale' : 'hit')
    }
    const affordable = (): boolean => entry !== undefined && settings.staleIfError && allowanceOf(cacheClass).allows(clock.monoMs() - entry.fetchedMs, ttlMs, budgetOf(cacheClass))
    try {
      const reply = await fetchShared(call, key, cacheClass)
      if (!entry || (reply.status < 500 && reply.status !== 429) || !affordable()) return reply
      reply.cancel()
    } catch (thrown) {
      if (!entry || call.abortReason !== undefined || (thrown instanceof FlyballError && thrown.code === 'deadline_exceeded') || !affordable()) throw thrown
    }
    return serve(call, entry, clock.monoMs() - entry.fetchedMs, ttlMs, 'stale')
  }

  return { handler, store, flights }
}

/** Classes with an allowance of their own. */
const MAX_CLASSES = 64
const OTHER_CLASSES = '_other'

/** The same chunks, byte for byte. */
function replay(entry: Entry, ageMs: number): Reply {
  const { rawHeaders, chunks } = entry.answer.open()
  return {
    status: 200,
    rawHeaders: [...rawHeaders, 'age', String(Math.floor(ageMs / 1_000))],
    protocol: entry.protocol,
    stream: entry.stream,
    complete: true,
    body: bodyOf(chunks, ownChunk),
    cancel() {},
  }
}
