/** The shop's orders: what their status is, and how soon that changes. A stand-in for a database, with its delay. */

/** How often the answer changes, by the stage that an order is in: mean time between changes, seconds. */
export const ORDER_KINDS = { delivered: 3_600, shipped: 60, packing: 8 } as const
export type OrderKind = keyof typeof ORDER_KINDS

export interface OrderStatus {
  readonly order: string
  readonly kind: OrderKind
  readonly status: string
  /** Counts the changes so far: two answers with the same version are the same answer. */
  readonly version: number
}

const STEPS: Record<OrderKind, readonly string[]> = {
  delivered: ['delivered', 'delivered, receipt sent', 'delivered, invoice archived'],
  shipped: ['left the warehouse', 'at the depot', 'on the van', 'one street away'],
  packing: ['in the pick list', 'picked', 'in the box', 'labelled'],
}

/** `packing-17` → packing. */
export function kindOf(order: string): OrderKind {
  const kind = order.slice(0, order.indexOf('-'))
  if (kind in ORDER_KINDS) return kind as OrderKind
  throw new TypeError(`expected an order like packing-17, got ${JSON.stringify(order.slice(0, 40))}`)
}

export interface OrderBook {
  /** Takes as long as a database would. */
  status(order: string, signal: AbortSignal): Promise<OrderStatus>
  /** What the answer is right now, at no cost: for checking how fresh a cached one is. */
  truth(order: string): OrderStatus
}

export interface OrderBookOptions {
  nowMs: () => number
  sleep: (ms: number, signal: AbortSignal) => Promise<void>
  /** Speeds up or slows down how often answers change. */
  changeRate?: number
  lookupMs?: number
}

/** Change times are a Poisson process per order, drawn from its name: the same order has the same story every time. */
export function orderBook({ nowMs, sleep, changeRate = 1, lookupMs = 25 }: OrderBookOptions): OrderBook {
  const startMs = nowMs()
  const stories = new Map<string, { random: () => number; nextMs: number; version: number }>()
  function truth(order: string): OrderStatus {
    const kind = kindOf(order)
    const meanMs = (ORDER_KINDS[kind] * 1_000) / changeRate
    let story = stories.get(order)
    if (!story) {
      // The shop keeps a thousand open orders; the oldest story starts over.
      if (stories.size >= 1_000) stories.delete(stories.keys().next().value as string)
      const random = seeded(order)
      story = { random, nextMs: startMs - Math.log(1 - random()) * meanMs, version: 0 }
      stories.set(order, story)
    }
    while (story.nextMs <= nowMs()) {
      story.version++
      story.nextMs -= Math.log(1 - story.random()) * meanMs
    }
    const steps = STEPS[kind]
    return { order, kind, status: steps[story.version % steps.length] as string, version: story.version }
  }
  return {
    truth,
    async status(order, signal) {
      kindOf(order)
      await sleep(lookupMs, signal)
      return truth(order)
    },
  }
}

/** A small multiplicative generator seeded by a string (FNV-1a). */
export function seeded(text: string): () => number {
  let state = 2_166_136_261
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 16_777_619) >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 4_294_967_296
  }
}
