/**
 * Who has had how much: the virtual token counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024).
 * The tenant with the smallest counter is served next; one that comes back from idling is lifted to the smallest active
 * counter, so that nobody saves up credit.
 */
import { IndexedHeap, type HeapItem } from './indexed-heap.ts'

export interface Account extends HeapItem {
  readonly tenant: string
  readonly weight: number
  /** Weighted work served so far. */
  counter: number
  /** Calls of the tenant that wait. */
  waiting: number
  /** Told when `counter` changes. */
  readonly watchers: Set<() => void>
}

export interface LedgerOptions {
  /** Share by tenant; 1 unless named. Twice the weight, twice the service. */
  readonly weights: Readonly<Record<string, number>>
  /** Most tenants remembered; beyond it idle ones are forgotten, smallest counter first. */
  readonly maxTenants: number
}

export class TenantLedger {
  readonly #options: LedgerOptions
  readonly #accounts = new Map<string, Account>()
  readonly #active = new IndexedHeap<Account>((a, b) => a.counter < b.counter)
  /** Counter of whoever was served last: where a newcomer starts when nobody waits. */
  #lastServed = 0

  constructor(options: LedgerOptions) {
    this.#options = options
  }

  account(tenant: string): Account {
    let found = this.#accounts.get(tenant)
    if (!found) {
      if (this.#accounts.size >= this.#options.maxTenants) this.#forget()
      found = { tenant, weight: Object.hasOwn(this.#options.weights, tenant) ? (this.#options.weights[tenant] as number) : 1, counter: 0, waiting: 0, watchers: new Set(), index: -1 }
      this.#accounts.set(tenant, found)
    }
    return found
  }

  /** One more call of the tenant waits. */
  arrive(account: Account): void {
    if (account.waiting++ > 0) return
    account.counter = Math.max(account.counter, this.#active.top?.counter ?? this.#lastServed)
    this.#active.add(account)
  }

  /** One fewer. */
  leave(account: Account): void {
    if (--account.waiting === 0) this.#active.remove(account)
  }

  /** `work` was served, or, negative, was charged too much earlier. */
  charge(account: Account, work: number): void {
    if (!Number.isFinite(work) || work === 0) return
    if (work > 0) this.#lastServed = Math.max(this.#lastServed, account.counter)
    account.counter = Math.max(0, account.counter + work / account.weight)
    this.#active.moved(account)
    for (const watcher of account.watchers) watcher()
  }

  /** A settled call's true cost is known. A forgotten tenant stays forgotten. */
  correct(tenant: string, difference: number): void {
    const account = this.#accounts.get(tenant)
    if (account) this.charge(account, difference)
  }

  get size(): number {
    return this.#accounts.size
  }

  /** The tenants that wait, with counters relative to the smallest: how far apart they are. */
  gaps(limit: number): { tenant: string; ahead: number; waiting: number }[] {
    const least = this.#active.top?.counter ?? 0
    return [...this.#active.values()].slice(0, limit).map(({ tenant, counter, waiting }) => ({ tenant, ahead: counter - least, waiting }))
  }

  /** Drops an eighth of the memory at a time, so that a flood of tenants pays for it once in a while only. */
  #forget(): void {
    const idle = [...this.#accounts.values()].filter((account) => account.waiting === 0).sort((a, b) => a.counter - b.counter)
    for (const account of idle.slice(0, Math.max(1, this.#options.maxTenants >> 3))) this.#accounts.delete(account.tenant)
  }
}
