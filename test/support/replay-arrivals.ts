/** Real arrivals with real keys, made to fit a small machine: times scaled, lengths bounded. */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { dataPath } from './data.ts'

export interface Arrival {
  readonly atMs: number
  readonly kind: 'chat' | 'order' | 'message'
  /** Which order or question: repeats as the cache trace repeats. */
  readonly key: number
}

/** `perSecond` on average over `seconds`, with the gaps of the Azure conversation trace and the keys of a cache trace. */
export function replayArrivals(options: { seconds: number; perSecond: (atS: number) => number; kind: (atS: number, index: number) => Arrival['kind']; keys?: number }): Arrival[] {
  const lines = gunzipSync(readFileSync(dataPath('traces/azure-conv.csv.gz'))).toString('utf8').trim().split('\n').slice(1)
  const times = lines.map((line) => Date.parse(`${line.slice(0, 23).replace(' ', 'T')}Z`))
  const gaps = times.slice(1).map((time, i) => time - (times[i] as number))
  const mean = gaps.reduce((a, b) => a + b, 0) / gaps.length
  const raw = gunzipSync(readFileSync(dataPath('cache/caffeine_cache2k_web07.trace.gz')))
  const arrivals: Arrival[] = []
  let atMs = 0
  for (let i = 0; ; i++) {
    // The trace's own rhythm, stretched to the rate that is wanted now.
    atMs += ((gaps[i % gaps.length] as number) / mean) * (1_000 / options.perSecond(atMs / 1_000))
    if (atMs >= options.seconds * 1_000) return arrivals
    const key = raw.readUInt32LE((i * 4) % (raw.length - 4 - (raw.length % 4)))
    arrivals.push({ atMs, kind: options.kind(atMs / 1_000, i), key: options.keys === undefined ? key : key % options.keys })
  }
}
