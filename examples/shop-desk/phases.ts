/** The demo load's phases: what comes in per second, and how. */
import { seeded } from './orders.ts'

export interface Phase {
  readonly name: string
  readonly doc: string
  readonly seconds: number
  /** Offered per second, at this many seconds into the phase. */
  rates(atS: number): { readonly chat: number; readonly orders: number; readonly messages: number }
  /** How many different orders are asked for: few make repeats. */
  readonly orders: number
}

const steady = (chat: number, orders: number, messages: number) => () => ({ chat, orders, messages })

export const PHASES: readonly Phase[] = [
  { name: 'calm', doc: 'a quiet morning', seconds: 20, rates: steady(2, 8, 15), orders: 300 },
  { name: 'burst', doc: 'half a second on, one second off', seconds: 20, rates: (at) => (at % 1.5 < 0.5 ? { chat: 12, orders: 30, messages: 450 } : { chat: 1, orders: 5, messages: 5 }), orders: 300 },
  { name: 'overload', doc: 'more chats than the engine can serve in time', seconds: 20, rates: steady(60, 10, 120), orders: 300 },
  { name: 'repeats', doc: 'everybody asks for the same few orders', seconds: 30, rates: steady(2, 60, 15), orders: 12 },
]

const FAQ = [
  'What are your opening hours?', 'How do I return an item?', 'How long does delivery take?', 'Do you ship abroad?', 'How can I pay?',
  'Can I change my order?', 'How do I use a gift card?', 'Is there a warranty?', 'How do I contact you?', 'Where is my order?',
]
const MESSAGES = [
  'where is my parcel', 'i want to send this back', 'you charged me twice', 'are you open on sunday', 'do you deliver to norway',
  'thanks a lot', 'my order has not arrived', 'how do i get a return label', 'when will i get my refund', 'what does express shipping cost',
]

/** What the demo's customers ask, from a seed: the same seed, the same questions. */
export function customers(seed: string) {
  const random = seeded(seed)
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T
  return {
    random,
    /** Half from the list of usual questions, half sums that nobody asked before. */
    question: (): string => (random() < 0.5 ? pick(FAQ) : `What is ${Math.floor(random() * 100)} + ${Math.floor(random() * 100)}?`),
    message: (): string => `${pick(MESSAGES)} ${Math.floor(random() * 1_000)}`,
    /** Zipf over `count` orders of mixed kinds: a few are asked for all the time. */
    order(count: number): string {
      const rank = Math.floor(count ** random()) - 1
      return `${(['packing', 'shipped', 'delivered'] as const)[rank % 3]}-${rank}`
    },
  }
}
