/** The waiting calls of one priority: fair between tenants, earliest start target first within each. */
import type { Waiter } from '../../../src/index.ts'
import { IndexedHeap, type HeapItem } from './indexed-heap.ts'
import type { Account, TenantLedger } from './tenant-ledger.ts'

export interface Ticket extends HeapItem {
  readonly waiter: Waiter
  readonly line: ClassLine
  /** Start target, monotonic ms; Infinity without one. */
  readonly dueMs: number
  readonly seq: number
  /** Where it stands; undefined while taken out. */
  tenantLine: TenantLine | undefined
}

interface TenantLine extends HeapItem {
  readonly account: Account
  /** Of when it last began to wait. */
  seq: number
  readonly onTime: IndexedHeap<Ticket>
  /** Past their start target. Serving them first would make those behind them late as well. */
  readonly late: IndexedHeap<Ticket>
  lateTurn: number
  work: number
  readonly unwatch: () => boolean
}

/** One in so many picks goes to a late call while calls that can still be on time wait: late is not lost. */
const LATE_EVERY = 8

/** Tenants of whom nobody waits and whose lines are kept all the same. */
const MAX_IDLE_TENANTS = 256

const byDue = (a: Ticket, b: Ticket): boolean => a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.seq < b.seq)
const byCounter = (a: TenantLine, b: TenantLine): boolean => a.account.counter < b.account.counter || (a.account.counter === b.account.counter && a.seq < b.seq)

export class ClassLine {
  readonly name: string
  readonly priority: number
  /** Work that the class is owed under its floor. */
  owed = 0
  size = 0
  work = 0
  readonly #ledger: TenantLedger
  readonly #tenants = new Map<string, TenantLine>()
  readonly #heap = new IndexedHeap<TenantLine>(byCounter)
  #seq = 0

  constructor(name: string, priority: number, ledger: TenantLedger) {
    this.name = name
    this.priority = priority
    this.#ledger = ledger
  }

  issue(waiter: Waiter, seq: number): Ticket {
    const { call } = waiter
    const startMs = call.slo.startMs === undefined ? Number.POSITIVE_INFINITY : call.timings.receivedMs + call.slo.startMs
    return { waiter, line: this, dueMs: Math.min(startMs, call.deadlineMs ?? Number.POSITIVE_INFINITY), seq, tenantLine: undefined, index: -1 }
  }

  /** Puts a ticket in, or back. */
  insert(ticket: Ticket): void {
    const line = this.#tenantLine(ticket.waiter.call.tenant)
    ticket.tenantLine = line
    line.onTime.add(ticket)
    line.work += ticket.waiter.work
    this.work += ticket.waiter.work
    if (!this.#heap.has(line)) {
      line.seq = this.#seq++
      this.#heap.add(line)
    }
    this.size++
  }

  remove(ticket: Ticket): boolean {
    const line = ticket.tenantLine
    if (!line || (!line.onTime.remove(ticket) && !line.late.remove(ticket))) return false
    ticket.tenantLine = undefined
    this.size--
    this.work = this.size === 0 ? 0 : this.work - ticket.waiter.work
    line.work -= ticket.waiter.work
    if (line.onTime.size + line.late.size === 0) {
      this.#heap.remove(line)
      line.lateTurn = 0
      line.work = 0
      // A tenant whose calls come one by one would otherwise have its line made anew for each.
      if (this.#tenants.size > MAX_IDLE_TENANTS) this.#drop(line)
    }
    return true
  }

  /**
   * Work that would be served before a call of this tenant arriving now. Tenants take turns, so what the others have waiting
   * counts only as far as they get their turns while this tenant's own is served.
   */
  ahead(tenant: string): number {
    const own = this.#tenants.get(tenant)
    const others = this.#heap.size - (own && this.#heap.has(own) ? 1 : 0)
    const turn = this.size === 0 ? 0 : this.work / this.size
    return Math.min(this.work, ((own?.work ?? 0) + turn) * (others + 1))
  }

  /** Who of this class is next. Asking twice at one instant gives the same answer. */
  first(nowMs: number): Ticket | undefined {
    const line = this.#heap.top
    if (!line) return undefined
    for (let ticket = line.onTime.top; ticket && ticket.dueMs < nowMs; ticket = line.onTime.top) {
      line.onTime.remove(ticket)
      line.late.add(ticket)
    }
    return line.late.top && (line.onTime.size === 0 || line.lateTurn >= LATE_EVERY - 1) ? line.late.top : line.onTime.top
  }

  /** Called when a ticket is about to be taken for service. */
  serving(ticket: Ticket): void {
    const line = ticket.tenantLine
    if (line) line.lateTurn = line.late.has(ticket) ? 0 : line.late.size > 0 ? line.lateTurn + 1 : 0
  }

  waiters(): Waiter[] {
    const waiters: Waiter[] = []
    for (const line of this.#heap.values()) for (const heap of [line.onTime, line.late]) for (const ticket of heap.values()) waiters.push(ticket.waiter)
    return waiters
  }

  #drop(line: TenantLine): void {
    line.unwatch()
    this.#tenants.delete(line.account.tenant)
  }

  #tenantLine(tenant: string): TenantLine {
    const account = this.#ledger.account(tenant)
    const known = this.#tenants.get(tenant)
    // The ledger may have forgotten an idle tenant's account and opened another since.
    if (known?.account === account) return known
    if (known) this.#drop(known)
    const watcher = (): void => this.#heap.moved(line)
    const line: TenantLine = { account, seq: 0, onTime: new IndexedHeap(byDue), late: new IndexedHeap(byDue), lateTurn: 0, work: 0, unwatch: () => account.watchers.delete(watcher), index: -1 }
    account.watchers.add(watcher)
    this.#tenants.set(tenant, line)
    return line
  }
}
