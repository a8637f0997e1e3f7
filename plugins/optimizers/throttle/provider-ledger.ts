/** A hosted provider's limits, kept on our side: nothing is sent that would be turned away. */
import { readRateLimits, Slot, type Call, type Clock, type Reply, type Settlement, type Waiter } from '../../../src/index.ts'
import { TokenBucket, type Charge } from './token-bucket.ts'

export const BUDGETS = ['requests', 'tokens', 'inputTokens', 'outputTokens'] as const
export type Budget = (typeof BUDGETS)[number]
/** Per minute; left out: as the provider's headers say, or none. */
export type BudgetLimits = { readonly [K in Budget]?: number | undefined }

/** Reserved for the answer of a call that names no bound. */
const ASSUMED_OUTPUT_TOKENS = 1_024
/** A 429 that does not say when to come back: a short pause, doubled while nothing but 429 comes. */
const UNNAMED_RETRY_MS = 100
const MAX_UNNAMED_RETRY_MS = 4_000
/** Callers that were all held by one retry-after do not come back in the same instant: up to this share later. */
const RETRY_SPREAD = 0.1

export class ProviderLedger {
  readonly #clock: Clock
  readonly #callersQuota: (call: Call) => boolean
  readonly #budgets: Readonly<Record<Budget, TokenBucket>>
  readonly #open = new Slot<Call, { readonly [K in Budget]: Charge }>('charges')
  #closedUntilMs = 0
  /** Unnamed 429s since the last call that was let in. */
  #unnamed = 0

  /** `callersQuota`: see `Backend`. */
  constructor(limits: BudgetLimits, clock: Clock, callersQuota: (call: Call) => boolean) {
    this.#clock = clock
    this.#callersQuota = callersQuota
    this.#budgets = Object.fromEntries(BUDGETS.map((name) => [name, new TokenBucket(limits[name])])) as Record<Budget, TokenBucket>
  }

  /** Time until this call may be sent, ms; 0: now. */
  waitMs(waiter: Waiter): number {
    const now = this.#clock.monoMs()
    const need = needs(waiter.call)
    let wait = Math.max(0, this.#closedUntilMs - now)
    for (const name of BUDGETS) wait = Math.max(wait, this.#budgets[name].waitMs(need[name], now))
    return wait
  }

  /** Expected time until a call arriving now may be sent, those ahead of it having gone, ms. */
  expectedMs(call: Call, ahead: { readonly calls: number; readonly work: number }): number {
    const now = this.#clock.monoMs()
    const need = needs(call)
    // Those ahead are taken to be of this call's kind: their work is known, not what it is made of.
    const scale = ahead.work / Math.max(1, need.tokens)
    let wait = Math.max(0, this.#closedUntilMs - now)
    for (const name of BUDGETS) wait = Math.max(wait, this.#budgets[name].waitMs(need[name], now, name === 'requests' ? ahead.calls : need[name] * scale))
    return wait
  }

  /** Reserves what the call may come to. */
  sent(call: Call): void {
    const now = this.#clock.monoMs()
    const need = needs(call)
    const { requests, tokens, inputTokens, outputTokens } = this.#budgets
    this.#open.set(call, { requests: requests.charge(need.requests, now), tokens: tokens.charge(need.tokens, now), inputTokens: inputTokens.charge(need.inputTokens, now), outputTokens: outputTokens.charge(need.outputTokens, now) })
  }

  /**
   * The provider's own word. `retry-after` holds for every caller, not only the one who was told, unless the limit is that of
   * the caller's own key.
   */
  answered(call: Call, reply: Pick<Reply, 'status' | 'rawHeaders'>): void {
    const now = this.#clock.monoMs()
    const truth = readRateLimits(reply.rawHeaders, this.#clock)
    const limitIsNamed = truth.retryAfterMs !== undefined || BUDGETS.some((name) => truth[name] !== undefined)
    if (limitIsNamed && reply.status !== 503 && reply.status !== 529 && this.#callersQuota(call)) return
    const charges = this.#open.get(call)
    for (const name of BUDGETS) {
      const one = truth[name]
      if (one && charges) this.#budgets[name].reconcile(one, charges[name], now)
    }
    if (reply.status === 429 && truth.retryAfterMs !== undefined && charges) for (const name of BUDGETS) this.#budgets[name].refused(charges[name], now)
    if (reply.status < 400) this.#unnamed = 0
    if (reply.status !== 429 && reply.status !== 503 && reply.status !== 529) return
    // What was turned away used no tokens; the request itself may have been counted.
    // Those that were under way when the pause began say nothing new.
    const news = reply.status === 429 && truth.retryAfterMs === undefined && now >= this.#closedUntilMs
    const waitMs = truth.retryAfterMs ?? (news ? Math.min(MAX_UNNAMED_RETRY_MS, UNNAMED_RETRY_MS * 2 ** this.#unnamed++) : 0)
    if (waitMs > 0) this.#closedUntilMs = Math.max(this.#closedUntilMs, now + waitMs * (1 + RETRY_SPREAD * this.#clock.random()))
  }

  /** The call is over: what it really used is charged, the rest given back. */
  settled(call: Call, settlement: Settlement): void {
    const charges = this.#open.take(call)
    if (!charges) return
    const now = this.#clock.monoMs()
    const { inputTokens, outputTokens } = settlement.usage
    const turnedAway = (settlement.status ?? 0) >= 400
    const counted = inputTokens + outputTokens > 0
    // A call that broke off without a count may have used anything up to its reservation.
    if (!turnedAway && !(counted && settlement.outcome === 'ok')) return
    this.#budgets.inputTokens.correct(charges.inputTokens, turnedAway ? 0 : inputTokens, now)
    this.#budgets.outputTokens.correct(charges.outputTokens, turnedAway ? 0 : outputTokens, now)
    this.#budgets.tokens.correct(charges.tokens, turnedAway ? 0 : inputTokens + outputTokens, now)
  }

  closedMs(): number {
    return Math.max(0, this.#closedUntilMs - this.#clock.monoMs())
  }

  /** What is left of each budget that has a limit, as a share. */
  left(): { budget: Budget; share: number; limit: number }[] {
    const now = this.#clock.monoMs()
    return BUDGETS.filter((name) => Number.isFinite(this.#budgets[name].limit)).map((name) => {
      const { limit, capacity } = this.#budgets[name]
      return { budget: name, share: Math.max(0, this.#budgets[name].level(now)) / Math.max(1, capacity), limit }
    })
  }
}

function needs(call: Call): Record<Budget, number> {
  const outputTokens = call.maxOutputTokens ?? (call.operation === 'embeddings' ? 0 : ASSUMED_OUTPUT_TOKENS)
  const inputTokens = Math.max(0, call.work - (call.maxOutputTokens ?? 0))
  return { requests: 1, tokens: inputTokens + outputTokens, inputTokens, outputTokens }
}
