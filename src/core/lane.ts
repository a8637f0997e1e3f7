/**
 * The only queue in front of a backend. Policies decide how many, who next, and who together; the lane keeps the books.
 * Invariants: every submitted call is dispatched at most once and settles exactly once; in-flight returns to 0; an aborted
 * waiter leaves at once; an idle backend with a waiting call is given at least one.
 */
import type { Backend } from './backend.ts'
import { ManagedBody, settleWithBody } from './body.ts'
import type { Call, LiveCall } from './call.ts'
import type { Cancel, Clock } from './clock.ts'
import { FlyballError, toFlyballError } from './errors.ts'
import { fifoQueue } from './fifo-queue.ts'
import type { BatchPlan, DispatchedBatch, LanePolicy, LaneView, Waiter, WaitQueue } from './lane-policy.ts'
import { RateMeter } from './rate-meter.ts'
import type { Reply } from './reply.ts'
import type { Settlement } from './settlement.ts'

export interface LaneObserver {
  onArrive?(call: LiveCall, lane: LaneView): void
  onDispatch?(batch: DispatchedBatch, lane: LaneView): void
  /** `batch` is undefined for a call that never left the queue. */
  onSettle?(call: LiveCall, settlement: Settlement, batch: DispatchedBatch | undefined, lane: LaneView): void
}

export interface LaneOptions {
  backend: Backend
  clock: Clock
  policies: readonly LanePolicy[]
  observer?: LaneObserver
  /** Most waiting calls; read at each arrival. */
  maxQueue: () => number
  unreadMs?: number
}

class Entry implements Waiter {
  readonly call: LiveCall
  readonly arrivedMs: number
  readonly key: string | null
  readonly work: number
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: FlyballError) => void
  readonly queue: WaitQueue
  unlisten: (() => void) | undefined
  cancelDeadline: Cancel | undefined

  constructor(call: LiveCall, queue: WaitQueue, arrivedMs: number, key: string | null, work: number, resolve: (reply: Reply) => void, reject: (error: FlyballError) => void) {
    this.call = call
    this.queue = queue
    this.arrivedMs = arrivedMs
    this.key = key
    this.work = work
    this.resolve = resolve
    this.reject = reject
  }

  /** The call's priority has risen. */
  moved(): void {
    if (this.queue.remove(this)) this.queue.add(this)
  }

  /** It waits no longer. */
  leave(): void {
    this.call.waiter = undefined
    this.unlisten?.()
    this.cancelDeadline?.()
  }
}

const NO_GROUPING: BatchPlan = { maxCalls: Number.POSITIVE_INFINITY, maxWork: Number.POSITIVE_INFINITY, holdMs: 0 }

export class Lane implements LaneView {
  readonly backend: string
  readonly clock: Clock
  readonly #backend: Backend
  readonly #policies: LanePolicy[]
  readonly #observer: LaneObserver
  readonly #maxQueue: () => number
  readonly #unreadMs: number | undefined
  #queue: WaitQueue = fifoQueue()
  #grouper: LanePolicy | undefined
  #inFlight = 0
  #inFlightWork = 0
  #waitingWork = 0
  #busySlots = 0
  #batchCalls: number | undefined
  #pumpQueued = false
  #timer: Cancel | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  #draining = false
  #onIdle: (() => void)[] = []
  readonly #rate: RateMeter

  constructor(options: LaneOptions) {
    this.#backend = options.backend
    this.backend = options.backend.name
    this.clock = options.clock
    this.#policies = [...options.policies]
    this.#observer = options.observer ?? {}
    this.#maxQueue = options.maxQueue
    this.#unreadMs = options.unreadMs
    this.#rate = new RateMeter(options.clock)
  }

  /** Policies see the lane they serve, so they are made after it. Throws when two bring an order, or two group. */
  attach(policies: readonly LanePolicy[]): void {
    for (const policy of policies) {
      this.#policies.push(policy)
      if (policy.queue) {
        if (this.#policies.some((other) => other !== policy && other.queue)) throw new TypeError(`lane ${this.backend}: two policies bring an order; only one may`)
        this.#queue = policy.queue()
      }
      if (policy.group) {
        if (this.#grouper) throw new TypeError(`lane ${this.backend}: policies ${this.#grouper.name} and ${policy.name} both group; only one may`)
        this.#grouper = policy
      }
    }
  }

  get limits(): Backend['limits'] {
    return this.#backend.limits
  }
  get waiting(): number {
    return this.#queue.size
  }
  get waitingWork(): number {
    return this.#waitingWork
  }
  get inFlight(): number {
    return this.#inFlight
  }
  get inFlightWork(): number {
    return this.#inFlightWork
  }
  get busySlots(): number {
    return this.#busySlots
  }
  get completionsPerS(): number | undefined {
    return this.#rate.perSecond()
  }

  get limit(): number {
    const { slots, maxBatch, batching } = this.#backend.limits
    let limit = batching === 'merge' ? slots * maxBatch : slots
    for (const policy of this.#policies) if (policy.limit) limit = Math.min(limit, policy.limit())
    return Math.max(1, Math.floor(limit))
  }

  get batchCalls(): number {
    const { maxBatch, batching } = this.#backend.limits
    return batching === 'merge' ? Math.min(maxBatch, this.#batchCalls ?? maxBatch) : 1
  }

  runMs(calls: number): number | undefined {
    return this.#grouper?.runMs?.(calls)
  }

  drainMs(): number {
    if (this.waiting === 0 && this.#inFlight < this.limit && this.#busySlots < this.#backend.limits.slots) return 0
    const perS = this.#rate.perSecond()
    return perS === undefined || perS <= 0 ? 1_000 : ((this.waiting + 1) * 1_000) / perS
  }

  aheadWork(call: Call): number | undefined {
    return this.#queue.aheadWork?.(call)
  }

  waiters(): Iterable<Waiter> {
    return this.#queue.waiters()
  }

  evict(waiter: Waiter, error: FlyballError): boolean {
    if (!(waiter instanceof Entry) || !this.#queue.remove(waiter)) return false
    this.#leave(waiter, error)
    return true
  }

  /** Rejects with a `FlyballError` for a call that is turned away, expires, is aborted while waiting, or whose backend fails. */
  submit(call: LiveCall): Promise<Reply> {
    const now = this.clock.monoMs()
    call.timings.enqueuedMs = now
    const key = this.#backend.batch ? this.#backend.batch.key(call) : null
    const work = this.#backend.batch?.work?.(call) ?? call.work
    this.#observer.onArrive?.(call, this)
    const refusal = this.#refuse(call, work, now)
    if (refusal) {
      this.#settle(call, refusal, undefined)
      return Promise.reject(refusal)
    }
    return new Promise((resolve, reject) => {
      const entry = new Entry(call, this.#queue, now, key, work, resolve, reject)
      this.#queue.add(entry)
      this.#waitingWork += work
      for (const policy of this.#policies) policy.onEnqueue?.(entry)
      call.waiter = entry
      entry.unlisten = call.onAbort(() => {
        if (this.#queue.remove(entry)) this.#leave(entry, toFlyballError(call.abortReason, 'cancelled'))
      })
      if (call.deadlineMs !== undefined) entry.cancelDeadline = this.clock.after(call.deadlineMs - now, () => this.evict(entry, new FlyballError('deadline_exceeded')))
      this.wake()
    })
  }

  /** Coalesced to the end of the current turn: calls made together can be batched together. */
  wake(): void {
    if (this.#pumpQueued) return
    this.#pumpQueued = true
    queueMicrotask(() => {
      this.#pumpQueued = false
      this.#pump()
    })
  }

  /** No new calls; resolves when nothing waits or runs. */
  drain(): Promise<void> {
    this.#draining = true
    return this.#inFlight === 0 && this.waiting === 0 ? Promise.resolve() : new Promise((resolve) => this.#onIdle.push(resolve))
  }

  #refuse(call: LiveCall, work: number, now: number): FlyballError | undefined {
    if (call.abortReason) return call.abortReason
    if (this.#draining) return new FlyballError('draining', { retryAfterMs: 1_000 })
    if (call.deadlineMs !== undefined && call.deadlineMs <= now) return new FlyballError('deadline_exceeded')
    const envelope = this.#backend.limits.maxBatchWork
    if (envelope !== undefined && work > envelope) {
      return new FlyballError('request_too_large', { message: `The request needs ${work} units of work; the backend takes at most ${envelope} at once.` })
    }
    if (this.waiting >= this.#maxQueue()) return new FlyballError('queue_full', { retryAfterMs: Math.ceil(this.drainMs()) })
    for (const policy of this.#policies) {
      const error = policy.admit?.(call, work)
      if (error) return error
    }
    return undefined
  }

  #pump(): void {
    for (;;) {
      const head = this.#queue.first()
      if (!head) return
      const { limits } = this.#backend
      if (this.#busySlots >= limits.slots) return
      const plan = limits.batching === 'merge' ? this.#plan(head) : undefined
      // Cross-knob rule: a limit below what the slots' batches hold would starve the batcher, not protect the backend.
      const limit = plan ? Math.max(this.limit, Math.min(plan.maxCalls, limits.maxBatch)) : this.limit
      const room = limit - this.#inFlight
      if (room < 1) return
      const now = this.clock.monoMs()
      const gateMs = this.#gateMs(head)
      if (gateMs > 0) return this.#wakeAt(now + gateMs)
      if (!plan) {
        this.#dispatch(this.#queue.take(1, () => true) as Entry[])
        continue
      }
      const taken = this.#formBatch(head, plan, room, now)
      if (!taken) return
      this.#dispatch(taken)
    }
  }

  #plan(head: Waiter): BatchPlan {
    const plan = this.#grouper?.group?.(head) ?? NO_GROUPING
    this.#batchCalls = plan.maxCalls
    return plan
  }

  #gateMs(head: Waiter): number {
    let ms = 0
    for (const policy of this.#policies) if (policy.gate) ms = Math.max(ms, policy.gate(head))
    return ms
  }

  /** Undefined: the batch is held open, and a timer will look again. */
  #formBatch(head: Waiter, plan: BatchPlan, room: number, now: number): Entry[] | undefined {
    const { maxBatch, maxBatchWork } = this.#backend.limits
    const maxCalls = head.key === null ? 1 : Math.max(1, Math.floor(Math.min(plan.maxCalls, maxBatch, room)))
    const maxWork = Math.max(head.work, Math.min(plan.maxWork, maxBatchWork ?? Number.POSITIVE_INFINITY))
    const heldSince = head.call.timings.heldMs ?? now
    // An idle backend never waits; nor does a batch that is already full.
    if (this.#busySlots > 0 && plan.holdMs > 0 && this.waiting < maxCalls && now < heldSince + plan.holdMs) {
      head.call.timings.heldMs = heldSince
      this.#wakeAt(heldSince + plan.holdMs)
      return undefined
    }
    let work = 0
    return this.#queue.take(maxCalls, (waiter) => {
      if (waiter !== head && (head.key === null || waiter.key !== head.key || work + waiter.work > maxWork)) return false
      work += waiter.work
      return true
    }) as Entry[]
  }

  #wakeAt(atMs: number): void {
    if (this.#timer && this.#timerAtMs <= atMs) return
    this.#timer?.()
    this.#timerAtMs = atMs
    this.#timer = this.clock.after(Math.max(0, atMs - this.clock.monoMs()), () => {
      this.#timer = undefined
      this.#timerAtMs = Number.POSITIVE_INFINITY
      this.wake()
    })
  }

  #dispatch(entries: readonly Entry[]): void {
    if (entries.length === 0) return
    const now = this.clock.monoMs()
    const alone = entries.length === 1 ? (entries[0] as Entry).call : undefined
    const abort = alone ? undefined : new AbortController()
    let alive = entries.length
    let open = entries.length
    const calls = entries.map((entry) => entry.call)
    const work = entries.reduce((sum, entry) => sum + entry.work, 0)
    const batch: DispatchedBatch = { id: (entries[0] as Entry).call.id, calls, work, dispatchedMs: now }
    this.#busySlots++
    this.#inFlight += entries.length
    this.#inFlightWork += work
    this.#waitingWork -= work
    for (const entry of entries) {
      entry.leave()
      entry.call.timings.dispatchedMs = now
      if (abort) entry.call.onAbort(() => { if (--alive === 0) abort.abort(entry.call.abortReason) })
    }
    for (const policy of this.#policies) policy.onDispatch?.(batch)
    this.#observer.onDispatch?.(batch, this)
    const heads = this.#run(calls, abort?.signal ?? (alone as LiveCall).signal)
    entries.forEach((entry, i) => {
      let given = false
      const giveBack = (): void => {
        if (given) return
        given = true
        this.#inFlight--
        this.#inFlightWork -= entry.work
        if (--open === 0) this.#busySlots--
        this.wake()
        this.#checkIdle()
      }
      entry.call.onSettle((settlement) => {
        if (settlement.outcome === 'ok') this.#rate.mark(1)
        for (const policy of this.#policies) policy.onSettle?.(entry.call, settlement, batch)
        this.#observer.onSettle?.(entry.call, settlement, batch, this)
      })
      this.#serve(entry, heads[i] ?? Promise.reject(new FlyballError('backend_failed', { message: `backend ${this.backend} answered too few calls` })), giveBack)
    })
  }

  #run(calls: readonly LiveCall[], signal: AbortSignal): readonly Promise<Reply>[] {
    try {
      return this.#backend.run(calls, signal)
    } catch (thrown) {
      const error = toFlyballError(thrown, 'backend_failed')
      return calls.map(() => Promise.reject(error))
    }
  }

  /** The slot is held until the backend has let go, even when the caller left earlier: a slot is a fact about the backend. */
  #serve(entry: Entry, head: Promise<Reply>, giveBack: () => void): void {
    const { call } = entry
    const onAbort = (): void => {
      const error = toFlyballError(call.abortReason, 'cancelled')
      call.settle(error.outcome, error.reason)
      entry.reject(error)
    }
    const unlisten = call.onAbort(onAbort)
    head.then(
      (reply) => {
        unlisten()
        if (call.settlement) {
          reply.cancel(call.abortReason)
          giveBack()
          return
        }
        for (const policy of this.#policies) policy.onHead?.(call, reply)
        if (reply.complete) giveBack()
        const settled = settleWithBody(reply, call, this.clock, this.#unreadMs)
        ;(settled.body as ManagedBody).onEnd(giveBack)
        entry.resolve(settled)
      },
      (thrown: unknown) => {
        unlisten()
        const error = toFlyballError(thrown, 'backend_failed')
        call.settle(error.outcome, error.reason)
        giveBack()
        entry.reject(error)
      },
    )
  }

  /** A waiter goes without having been served. */
  #leave(entry: Entry, error: FlyballError): void {
    entry.leave()
    this.#waitingWork -= entry.work
    this.#settle(entry.call, error, undefined)
    entry.reject(error)
    this.wake()
    this.#checkIdle()
  }

  #settle(call: LiveCall, error: FlyballError, batch: DispatchedBatch | undefined): void {
    call.onSettle((settlement) => this.#observer.onSettle?.(call, settlement, batch, this))
    call.settle(error.outcome, error.reason)
  }

  #checkIdle(): void {
    if (this.#onIdle.length === 0 || this.#inFlight > 0 || this.waiting > 0) return
    const waiting = this.#onIdle
    this.#onIdle = []
    for (const resolve of waiting) resolve()
  }
}
