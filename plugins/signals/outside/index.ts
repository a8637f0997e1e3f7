/**
 * Signals from outside: what a backend says of itself on its Prometheus page, or what a Prometheus server knows of it. A
 * scrape that fails makes its signals stale, so that the loops that read them hold, and then fall back.
 */
import { z } from 'zod'
import { definePlugin, type SignalWriter } from '../../../src/index.ts'
import { instruments, knobs, signals } from './declares.ts'
import { fetchText, ScrapeError, withTimeout, type FetchText } from './fetch-text.ts'
import { mapped, OUTSIDE_SIGNALS, SOURCES, type MetricFacts, type MetricMap, type OutsideSignal, type SourceKind } from './maps.ts'
import { queryUrl, queryValue } from './promql.ts'
import { parseMetrics } from './text-format.ts'

const headers = z.record(z.string(), z.string()).default({})
const labels = z.record(z.string(), z.string())
const name = z.enum(OUTSIDE_SIGNALS)
const combine = z.enum(['sum', 'max'])
const scale = z.number().positive()
const facts = z.strictObject({ metrics: z.array(z.string().min(1)).min(1), combine: combine.default('max'), scale: scale.optional(), labels: labels.optional() })
const http = z.url({ protocol: /^https?$/ })

const page = z
  .strictObject({
    /** Whose page it is, by the backend's configured name. */
    backend: z.string().min(1),
    url: http,
    /** Whose metric names it has. Without one, `map` says all. */
    source: z.enum(Object.keys(SOURCES) as [SourceKind, ...SourceKind[]]).optional(),
    /** Metric names of your own, by signal; instead of the source's. */
    map: z.partialRecord(name, facts).default({}),
    /** Only these signals of it. Default: all that are mapped. */
    signals: z.array(name).min(1).optional(),
    /** Only series with these label values: one model of several, the GPUs of one host. */
    labels: labels.default({}),
    headers,
  })
  .refine((given) => given.source !== undefined || Object.keys(given.map).length > 0, { error: 'expected a source or a map' })

const query = z.strictObject({
  backend: z.string().min(1),
  signal: name,
  /** Base address of the Prometheus server, or of what speaks its API. */
  server: http,
  /** PromQL. */
  query: z.string().min(1),
  combine: combine.default('max'),
  /** From the query's unit to ours. */
  scale: scale.default(1),
  headers,
})

const options = z.strictObject({
  pages: z.array(page).max(64).default([]),
  promql: z.array(query).max(64).default([]),
  /** Instead of HTTP. */
  fetch: z.custom<FetchText>((given) => typeof given === 'function', 'expected a function').default(() => fetchText),
})

/** Something to ask regularly. */
interface Target {
  readonly backend: string
  readonly source: SourceKind | 'custom' | 'promql'
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly feeds: readonly OutsideSignal[]
  /** What an answer says. Throws a `ScrapeError`. */
  read(text: string): Partial<Record<OutsideSignal, number>>
}

export const outside = definePlugin({
  name: 'outside',
  phase: 'observe',
  doc: 'Scrapes the metrics pages of vLLM, SGLang, llama.cpp, Triton, DCGM or anybody else, or asks Prometheus, so that loops can read GPU use, queue length and KV use.',
  options,
  declares: { signals, knobs, instruments },
  create(host, settings) {
    const { clock } = host
    const targets = [...settings.pages.map(pageTarget), ...settings.promql.map(queryTarget)]
    refuseTwoSources(targets)
    const stop = new AbortController()
    host.onClose(() => stop.abort())
    const states = new Map(targets.map((target) => [target, { ok: false, outcome: 'not asked yet' }]))
    host.describe(() => [...states].map(([{ backend, source, feeds }, state]) => ({ backend, source, feeds, ...state })))

    function watch(target: Target): void {
      const scope = { backend: target.backend }
      const knob = { interval: host.knobs.intervalMs.for(scope), timeout: host.knobs.timeoutMs.for(scope), maxBytes: host.knobs.maxBytes.for(scope) }
      const writers = new Map(target.feeds.map((feed): [OutsideSignal, SignalWriter] => [feed, host.signals[feed].for(scope)]))
      const seen = new Set<OutsideSignal>()
      const about = { backend: target.backend, source: target.source }

      async function scrape(): Promise<void> {
        const startMs = clock.monoMs()
        try {
          const text = await withTimeout(clock, knob.timeout.value, stop.signal, (signal) => settings.fetch(target.url, { headers: target.headers, maxBytes: knob.maxBytes.value, signal }))
          const values = target.read(text)
          for (const [feed, writer] of writers) {
            const value = values[feed]
            if (value !== undefined) {
              writer.push(value)
              seen.add(feed)
            } else if (seen.has(feed)) writer.fail() // It was there before. What never was is not missed.
          }
          succeeded()
        } catch (thrown) {
          failed(thrown)
        } finally {
          if (!stop.signal.aborted) host.instruments.scrape.record((clock.monoMs() - startMs) / 1_000, about)
        }
      }

      function succeeded(): void {
        if (states.get(target)?.ok === false) host.log.info(about, 'metrics from outside are read')
        states.set(target, { ok: true, outcome: 'ok' })
      }

      function failed(thrown: unknown): void {
        if (stop.signal.aborted) return
        const reason = thrown instanceof ScrapeError ? thrown.failure : 'bad_reply'
        for (const writer of writers.values()) writer.fail()
        host.instruments.failures.add(1, { ...about, reason })
        // Once when it begins, not every two seconds. Never the address: it may hold a credential.
        if (states.get(target)?.outcome !== reason) host.log.warn({ ...about, reason }, 'metrics from outside cannot be read; the loops that need them hold')
        states.set(target, { ok: false, outcome: reason })
      }

      let cancel = (): void => {}
      stop.signal.addEventListener('abort', () => cancel(), { once: true })
      const again = (waitMs: number): void => {
        if (stop.signal.aborted) return
        cancel = clock.after(waitMs, () => void scrape().then(() => again(knob.interval.value)))
      }
      // Spread over the first interval's tenth, so that many gateways do not ask at the same instant.
      cancel = clock.after(clock.random() * 0.1 * knob.interval.value, () => {
        // Backends come after plugins, so a misspelt name shows only now.
        if (!host.backends.some(({ name: known }) => known === target.backend)) host.log.warn(about, 'there is no backend of this name, so nothing reads what its page says')
        void scrape().then(() => again(knob.interval.value))
      })
    }

    targets.forEach(watch)
    return {}
  },
})

function pageTarget(given: z.output<typeof page>): Target {
  const all = { ...(given.source === undefined ? {} : (SOURCES[given.source] as MetricMap)), ...given.map } as Partial<Record<OutsideSignal, MetricFacts>>
  const feeds = OUTSIDE_SIGNALS.filter((feed) => all[feed] !== undefined && (given.signals?.includes(feed) ?? true))
  if (feeds.length === 0) throw new TypeError(`outside: nothing of the page of ${given.backend} is mapped to ${given.signals?.join(', ')}`)
  const wanted = new Set(feeds.flatMap((feed) => all[feed]?.metrics ?? []))
  return {
    backend: given.backend,
    source: given.source ?? 'custom',
    url: given.url,
    headers: given.headers,
    feeds,
    read(text) {
      const series = parseMetrics(text, wanted)
      const values = Object.fromEntries(feeds.flatMap((feed) => {
        const value = mapped(feed, all[feed] as MetricFacts, series, given.labels)
        return value === undefined ? [] : [[feed, value]]
      }))
      if (Object.keys(values).length === 0) throw new ScrapeError('no_metric')
      return values
    },
  }
}

function queryTarget(given: z.output<typeof query>): Target {
  return { backend: given.backend, source: 'promql', url: queryUrl(given.server, given.query), headers: given.headers, feeds: [given.signal], read: (text) => ({ [given.signal]: queryValue(text, given.signal, given) }) }
}

/** Two that take turns writing one signal would make it jump. */
function refuseTwoSources(targets: readonly Target[]): void {
  const taken = new Set<string>()
  for (const { backend, feeds } of targets) {
    for (const feed of feeds) {
      const key = `${backend} ${feed}`
      if (taken.has(key)) throw new TypeError(`outside: two sources for outside.${feed} of backend ${backend}: name the signals that each is for`)
      taken.add(key)
    }
  }
}
