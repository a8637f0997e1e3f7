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
  /** What was said in a chat before its question: each turn has to be read by the model. */
  readonly turns: number
}

const steady = (chat: number, orders: number, messages: number) => () => ({ chat, orders, messages })

/** How many chats are too many depends on the machine: growing, they find it. */
const RISE_PER_S = 1.12
const MAX_RISE = 10
const rising = (chat: number, orders: number, messages: number) => (at: number) => ({ chat: chat * Math.min(MAX_RISE, RISE_PER_S ** at), orders, messages })

export const PHASES: readonly Phase[] = [
  { name: 'calm', doc: 'a quiet morning', seconds: 20, rates: steady(2, 8, 15), orders: 300, turns: 0 },
  { name: 'burst', doc: 'half a second on, one second off', seconds: 20, rates: (at) => (at % 1.5 < 0.5 ? { chat: 12, orders: 30, messages: 450 } : { chat: 1, orders: 5, messages: 5 }), orders: 300, turns: 0 },
  { name: 'overload', doc: 'long chats, more and more of them, until they are too many for this machine', seconds: 20, rates: rising(60, 10, 120), orders: 300, turns: 8 },
  { name: 'repeats', doc: 'everybody asks for the same few orders', seconds: 30, rates: steady(2, 60, 15), orders: 12, turns: 0 },
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
  const number = (): number => Math.floor(random() * 100)
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T
  return {
    random,
    /** Half from the list of usual questions, half sums that nobody asked before. */
    question: (): string => (random() < 0.5 ? pick(FAQ) : `What is ${number()} + ${number()}?`),
    /** Sums asked and answered before: no two chats have the same past. */
    past: (turns: number) => Array.from({ length: turns }, () => [number(), number()] as const).flatMap(([a, b]) => [{ role: 'user', content: `What is ${a} + ${b}?` }, { role: 'assistant', content: `${a} + ${b} = ${a + b}.` }]),
    message: (): string => `${pick(MESSAGES)} ${Math.floor(random() * 1_000)}`,
    /** Zipf over `count` orders of mixed kinds: a few are asked for all the time. */
    order(count: number): string {
      const rank = Math.floor(count ** random()) - 1
      return `${(['packing', 'shipped', 'delivered'] as const)[rank % 3]}-${rank}`
    },
  }
}
