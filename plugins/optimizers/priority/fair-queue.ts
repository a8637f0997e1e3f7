/**
 * The order of service: class floors, then priority; within a class the tenant that had least; within a tenant the
 * earliest start target. Adding, removing and taking cost O(log n) in waiting calls, however many wait.
 */
import { Slot, type Clock, type Waiter, type WaitQueue } from '../../../src/index.ts'
import { ClassLine, type Ticket } from './class-line.ts'
import type { TenantLedger } from './tenant-ledger.ts'

export interface FairQueueOptions {
  readonly clock: Clock
  readonly ledger: TenantLedger
  /** Least share of the work (0-1) that a class gets while it waits. */
  readonly floor: (className: string) => number
  /** A class whose next call has waited this long has its floor doubled; thrice at twice that, and so on, ms. */
  readonly agingMs: () => number
  /** Told what a call was charged, once, when it is taken. */
  readonly onCharge?: (waiter: Waiter, work: number) => void
}

export interface FairQueue extends WaitQueue {
  readonly classes: () => { class: string; priority: number; waiting: number; owed: number }[]
}

/** `take` gives up after this many refusals: a queue full of other keys must not make dispatch linear. */
const LOOKAHEAD = 256
/** Priorities kept apart; calls with yet another one join the nearest. */
const MAX_LINES = 64
/** Aging never lifts a floor above this: urgent classes keep at least three quarters. */
const MAX_AGED_FLOOR = 0.25
/** A class is never owed more than this many of its next call: what it did not use long ago is not paid in one go. */
const MAX_OWED_CALLS = 2

export function fairQueue(options: FairQueueOptions): FairQueue {
  const { clock, ledger } = options
  const tickets = new Slot<Waiter, Ticket>('ticket')
  let size = 0
  /** Most urgent first. */
  let lines: ClassLine[] = []
  let seq = 0

  function lineOf(name: string, priority: number): ClassLine {
    const exact = lines.find((line) => line.priority === priority && line.name === name)
    if (exact) return exact
    if (lines.length >= MAX_LINES) lines = lines.filter((line) => line.size > 0)
    if (lines.length >= MAX_LINES) {
      return lines.reduce((best, line) => (Math.abs(line.priority - priority) < Math.abs(best.priority - priority) ? line : best))
    }
    const made = new ClassLine(name, priority, ledger)
    lines = [...lines, made].sort((a, b) => a.priority - b.priority || (a.name < b.name ? -1 : 1))
    return made
  }

  const costOf = (waiter: Waiter): number => Math.max(1, waiter.work)

  /** The floor in force for a class whose next call is `head`. */
  function floorOf(line: ClassLine, head: Ticket, nowMs: number): number {
    const floor = options.floor(line.name)
    const aged = floor * (1 + Math.max(0, nowMs - head.waiter.arrivedMs) / Math.max(1, options.agingMs()))
    return Math.max(floor, Math.min(MAX_AGED_FLOOR, aged))
  }

  function next(): Ticket | undefined {
    const nowMs = clock.monoMs()
    let urgent: Ticket | undefined
    let owed: Ticket | undefined
    for (const line of lines) {
      if (line.size === 0) continue
      const head = line.first(nowMs) as Ticket
      if (!urgent) urgent = head
      else if (line.owed >= costOf(head.waiter) && (!owed || line.owed > owed.line.owed)) owed = head
    }
    return owed ?? urgent
  }

  /** Books `ticket` as served: its tenant has had more, and every class that still waits is owed its share of that. */
  function charge(ticket: Ticket): void {
    const { waiter, line } = ticket
    const cost = costOf(waiter)
    const nowMs = clock.monoMs()
    ledger.charge(ledger.account(waiter.call.tenant), cost)
    options.onCharge?.(waiter, cost)
    line.owed = Math.max(0, line.owed - cost)
    for (const other of lines) {
      if (other === line) continue
      const head = other.first(nowMs)
      if (!head) {
        other.owed = 0
        continue
      }
      const floor = floorOf(other, head, nowMs)
      other.owed = Math.min(other.owed + (cost * floor) / (1 - floor), costOf(head.waiter) * MAX_OWED_CALLS)
    }
    if (line.size === 0) line.owed = 0
  }

  return {
    get size() {
      return size
    },
    add(waiter) {
      if (tickets.get(waiter)) return
      const line = lineOf(waiter.call.class, waiter.call.priority)
      const ticket = line.issue(waiter, seq++)
      tickets.set(waiter, ticket)
      size++
      ledger.arrive(ledger.account(waiter.call.tenant))
      line.insert(ticket)
    },
    remove(waiter) {
      const ticket = tickets.take(waiter)
      if (!ticket) return false
      size--
      ticket.line.remove(ticket)
      ledger.leave(ledger.account(waiter.call.tenant))
      return true
    },
    first: () => next()?.waiter,
    take(max, accept) {
      const taken: Waiter[] = []
      const refused: Ticket[] = []
      while (taken.length < max && refused.length < LOOKAHEAD) {
        const ticket = next()
        if (!ticket) break
        if (!accept(ticket.waiter)) {
          // Out of sight until the end of this take; still waiting in every other respect.
          ticket.line.remove(ticket)
          refused.push(ticket)
          continue
        }
        ticket.line.serving(ticket)
        ticket.line.remove(ticket)
        tickets.take(ticket.waiter)
        size--
        charge(ticket)
        ledger.leave(ledger.account(ticket.waiter.call.tenant))
        taken.push(ticket.waiter)
      }
      for (const ticket of refused) ticket.line.insert(ticket)
      return taken
    },
    waiters: () => lines.flatMap((line) => line.waiters()),
    aheadWork(call) {
      let work = 0
      for (const line of lines) {
        if (line.priority < call.priority) work += line.work
        else if (line.priority === call.priority && line.name === call.class) work += line.ahead(call.tenant)
      }
      return work
    },
    classes: () => lines.map((line) => ({ class: line.name, priority: line.priority, waiting: line.size, owed: line.owed })),
  }
}
