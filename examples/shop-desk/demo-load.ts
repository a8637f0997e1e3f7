/** The gentle demo load: an open loop of clients over HTTP, with phases. Arrivals do not wait for answers. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { customers, PHASES, type Phase } from './phases.ts'

export interface DemoLoad {
  readonly phase: Phase
  /** Seconds into the phase. */
  readonly atS: number
  /** It stays in this phase. */
  readonly held: boolean
  /** Stay in this phase; undefined: go round. */
  hold(name: string | undefined): void
  stop(): Promise<void>
}

const TICK_MS = 50
/** What the clients bear: more open requests than this and the demo itself would be the bottleneck. */
const MAX_OPEN = 2_000
const CHAT_TOKENS = 24

export function startDemoLoad(baseUrl: string, onPhase: (phase: Phase) => void, seed = 'shop'): DemoLoad {
  const who = customers(seed)
  const agent = new Agent({ connections: 256 })
  const abort = new AbortController()
  const open = new Set<Promise<void>>()
  let index = 0
  let phaseStart = performance.now()
  let held: string | undefined
  const credit = { chat: 0, orders: 0, messages: 0 }
  const phase = (): Phase => PHASES[index % PHASES.length] as Phase
  const atS = (): number => (performance.now() - phaseStart) / 1_000

  async function send(path: string, body: unknown): Promise<void> {
    try {
      const reply = await request(`${baseUrl}${path}`, {
        method: body === undefined ? 'GET' : 'POST',
        ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
        dispatcher: agent,
        signal: abort.signal,
      })
      await reply.body.dump({ limit: 1 << 20, signal: abort.signal })
    } catch {
      // A refused or cancelled demo request is counted by the gateway, where it can be seen.
    }
  }

  function fire(path: string, body?: unknown): void {
    if (open.size >= MAX_OPEN) return
    const one: Promise<void> = send(path, body).then(() => void open.delete(one))
    open.add(one)
  }

  const fireOne = {
    chat: () => fire('/v1/chat/completions', { model: 'shop-desk', temperature: 0, max_tokens: CHAT_TOKENS, stream: who.random() < 0.5, messages: [...who.past(phase().turns), { role: 'user', content: who.question() }] }),
    orders: () => fire(`/orders/${who.order(phase().orders)}`),
    messages: () => fire('/messages', { text: who.message() }),
  }

  async function run(): Promise<void> {
    onPhase(phase())
    let last = performance.now()
    while (!abort.signal.aborted) {
      await sleep(TICK_MS, undefined, { signal: abort.signal }).catch(() => {})
      const now = performance.now()
      const elapsedS = (now - last) / 1_000
      last = now
      if (held === undefined && atS() >= phase().seconds) enter(index + 1)
      const rates = phase().rates(atS())
      for (const kind of ['chat', 'orders', 'messages'] as const) {
        // Poisson arrivals: an evenly spaced load would flatter every queue.
        credit[kind] += rates[kind] * elapsedS
        while (credit[kind] > 0) {
          credit[kind] += Math.log(1 - who.random())
          fireOne[kind]()
        }
      }
    }
  }

  function enter(next: number): void {
    index = next
    phaseStart = performance.now()
    onPhase(phase())
  }

  const running = run()
  return {
    get phase() {
      return phase()
    },
    get atS() {
      return atS()
    },
    get held() {
      return held !== undefined
    },
    hold(name) {
      held = name
      const found = PHASES.findIndex((candidate) => candidate.name === name)
      if (found >= 0) enter(found)
    },
    async stop() {
      abort.abort()
      await running
      await Promise.allSettled(open)
      await agent.close()
    },
  }
}
