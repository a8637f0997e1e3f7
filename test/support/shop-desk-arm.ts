/** One shop desk under replayed traffic over HTTP, and what its users got. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { createShopDesk } from '../../examples/shop-desk/app.ts'
import { kindOf, ORDER_KINDS, type OrderKind, type OrderStatus } from '../../examples/shop-desk/orders.ts'
import { openAiProtocol, sloMet } from '../../src/index.ts'
import type { Arrival } from './replay-arrivals.ts'

export interface ArmMove {
  readonly knob: string
  readonly key: string
  readonly from: number
  readonly to: number
  readonly reason: string
  readonly phase: string
}

export interface Counted {
  offered: number
  met: number
}

export interface Arm {
  readonly moves: readonly ArmMove[]
  readonly byPhase: ReadonlyMap<string, Counted>
  /** By phase and second of arrival in it: misses come in clumps, so a second is what can be compared. */
  readonly bySecond: ReadonlyMap<string, Counted>
  hits: number
  staleAnswers: number
  /** Of classes whose TTL loop had made up its mind. */
  learnedHits: number
  learnedStale: number
  play(phase: string, arrivals: readonly Arrival[]): Promise<void>
  /** Calls in flight or waiting, once what runs in the background has had time to end. */
  openCalls(): Promise<number>
  /** Long chats a second that the engine serves on this machine right now, 32 at a time, for so long. */
  chatCapacity(seconds: number): Promise<number>
  close(): Promise<void>
}

const KINDS = Object.keys(ORDER_KINDS) as OrderKind[]
/** Of a long chat: each turn has to be read by the model, and no two chats have the same past. */
const LONG_TURNS = 24
/** A question with a few sentences of an answer; in an overload at the end of a long chat, or nothing would overload a fast machine. */
function chatAbout(key: number, long: boolean) {
  const past = Array.from({ length: long ? LONG_TURNS : 0 }, (_, turn) => [(key * 31 + turn * 17) % 100, (key * 7 + turn * 29) % 100] as const)
    .flatMap(([a, b]) => [{ role: 'user', content: `What is ${a} + ${b}?` }, { role: 'assistant', content: `${a} + ${b} = ${a + b}.` }])
  return { model: 'shop-desk', temperature: 0, max_tokens: 48, messages: [...past, { role: 'user', content: `How do I return item ${key % 100_000}?` }] }
}

export async function startArm(loops: 'on' | 'off'): Promise<Arm> {
  const desk = await createShopDesk({ loops })
  const { governor, orders } = desk
  await governor.start()
  const server = createServer(desk.app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const agent = new Agent({ connections: 256 })
  const moves: ArmMove[] = []
  const byPhase = new Map<string, Counted>()
  const bySecond = new Map<string, Counted>()
  let phaseStartMs = 0
  const learned = new Set<string>()
  let phase = ''
  const post = (path: string, body: unknown) => request(url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), dispatcher: agent })

  governor.onCallSettled((call) => {
    const counts = byPhase.get(phase)
    if (!counts) return
    const at = `${phase} ${Math.floor((call.timings.receivedMs - phaseStartMs) / 1_000)}`
    const second = bySecond.get(at) ?? { offered: 0, met: 0 }
    bySecond.set(at, second)
    const met = call.settlement && sloMet(call, call.settlement) ? 1 : 0
    for (const one of [counts, second]) {
      one.offered++
      one.met += met
    }
    if (call.operation !== 'order-status' || !['hit', 'stale'].includes(String(call.facts.get('cache')))) return
    arm.hits++
    if (learned.has(`class=${call.cacheClass}`)) arm.learnedHits++
  })
  governor.decisions.onDecision((record) => {
    for (const move of record.moves) {
      moves.push({ knob: move.knob, key: move.key, from: move.from, to: move.to, reason: record.why.reason, phase })
      if (move.knob === 'cache.ttl_s') learned.add(move.key)
    }
  })

  async function ask(arrival: Arrival, startMs: number): Promise<void> {
    await sleep(Math.max(0, arrival.atMs - (performance.now() - startMs)))
    if (arrival.kind === 'chat') return (await post('/v1/chat/completions', chatAbout(arrival.key, phase === 'overload'))).body.dump()
    if (arrival.kind === 'message') return (await post('/messages', { text: `where is my parcel ${arrival.key}` })).body.dump()
    const order = `${KINDS[arrival.key % 3] as OrderKind}-${phase === 'repeats' ? arrival.key % 15 : arrival.key % 600}`
    // Stale is what was already out of date when it was asked for.
    const before = orders.truth(order).version
    const known = learned.has(`class=${kindOf(order)}`)
    const reply = await request(`${url}/orders/${order}`, { dispatcher: agent })
    const status = (await reply.body.json()) as OrderStatus
    if (reply.statusCode !== 200 || status.version >= before) return
    arm.staleAnswers++
    if (known) arm.learnedStale++
  }

  const arm: Arm = {
    moves,
    byPhase,
    bySecond,
    hits: 0,
    staleAnswers: 0,
    learnedHits: 0,
    learnedStale: 0,
    async play(name, arrivals) {
      phase = name
      byPhase.set(name, byPhase.get(name) ?? { offered: 0, met: 0 })
      const startMs = performance.now()
      phaseStartMs = governor.clock.monoMs()
      // Shed and expired calls are misses of the SLO: they are counted where calls settle.
      await Promise.allSettled(arrivals.map((arrival) => ask(arrival, startMs)))
    },
    async openCalls() {
      const open = (): number => governor.backendStates().reduce((sum, backend) => sum + backend.inFlight + backend.waiting, 0)
      for (let i = 0; i < 60 && open() > 0; i++) await sleep(50)
      return open()
    },
    async chatCapacity(seconds) {
      const until = performance.now() + seconds * 1_000
      let served = 0
      const client = async (n: number): Promise<void> => {
        for (let i = 0; performance.now() < until; i++) {
          const input = chatAbout(1_000 * n + i, true)
          const reply = await governor.send(governor.call({ operation: 'chat', model: 'shop-desk', input, cacheKey: null, canonical: () => openAiProtocol.toCanonical('chat', input) }))
          for await (const _ of reply.body);
          served++
        }
      }
      await Promise.allSettled(Array.from({ length: 32 }, (_, n) => client(n)))
      return served / seconds
    },
    async close() {
      await agent.close()
      server.close()
      server.closeAllConnections()
      await desk.close()
    },
  }
  return arm
}
