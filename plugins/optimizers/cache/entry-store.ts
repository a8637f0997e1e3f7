/** Kept answers: least recently used out first, capped in entries and bytes. Freshness is asked at lookup, not kept here. */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../../src/index.ts'
import type { KeptAnswer } from './kept-answer.ts'

export interface Entry {
  readonly cacheClass: string
  readonly tenant: string
  readonly operation: string
  readonly model: string
  readonly protocol: string
  readonly stream: boolean
  readonly answer: KeptAnswer
  readonly chunks: number
  readonly bytes: number
  /** What the answer says; worked out when there is another to compare it with, which most answers never see. */
  digest: string | undefined
  /** When upstream last said this. */
  readonly fetchedMs: number
  hits: number
}

export interface StoreOptions {
  readonly clock: Clock
  readonly maxEntries: number
  readonly maxBytes: number
  readonly onEvicted: (reason: 'room' | 'purge') => void
}

export interface Selection {
  readonly key?: string | undefined
  readonly class?: string | undefined
  readonly tenant?: string | undefined
  readonly model?: string | undefined
  readonly operation?: string | undefined
}

/** Key, map slots and list links of one entry. */
const ENTRY_BYTES = 400

export class EntryStore {
  readonly #lru: LRUCache<string, Entry>

  constructor(options: StoreOptions) {
    this.#lru = new LRUCache<string, Entry>({
      max: options.maxEntries,
      maxSize: options.maxBytes,
      sizeCalculation: (entry) => entry.bytes + ENTRY_BYTES,
      perf: { now: () => options.clock.monoMs() },
      dispose: (_entry, _key, reason) => {
        if (reason === 'evict') options.onEvicted('room')
        else if (reason === 'delete') options.onEvicted('purge')
      },
    })
  }

  get(key: string): Entry | undefined {
    return this.#lru.get(key)
  }

  /** Too large for the whole store: not kept. */
  set(key: string, entry: Entry): void {
    this.#lru.set(key, entry)
  }

  get size(): number {
    return this.#lru.size
  }

  get bytes(): number {
    return this.#lru.calculatedSize
  }

  /** Removes what matches every given part; nothing given: everything. Returns how many. */
  purge(selection: Selection): number {
    if (selection.key !== undefined) {
      const entry = this.#lru.peek(selection.key)
      return entry && matches(entry, selection) && this.#lru.delete(selection.key) ? 1 : 0
    }
    let purged = 0
    for (const [key, entry] of [...this.#lru.entries()]) if (matches(entry, selection) && this.#lru.delete(key)) purged++
    return purged
  }

  *select(selection: Selection): Generator<[string, Entry]> {
    for (const [key, entry] of this.#lru.entries()) if ((selection.key === undefined || selection.key === key) && matches(entry, selection)) yield [key, entry]
  }
}

function matches(entry: Entry, selection: Selection): boolean {
  return (
    (selection.class === undefined || entry.cacheClass === selection.class) &&
    (selection.tenant === undefined || entry.tenant === selection.tenant) &&
    (selection.model === undefined || entry.model === selection.model) &&
    (selection.operation === undefined || entry.operation === selection.operation)
  )
}
