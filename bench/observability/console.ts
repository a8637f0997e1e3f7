/**
 * What the console costs the gateway: CPU of the serving thread at an even request rate, without a console, with one that
 * nobody watches, and with viewers. The arms take turns in short blocks, so that whatever else the machine does falls on all
 * of them alike; what is told is the mean of the differences within a round, and its standard error.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Worker } from 'node:worker_threads'
import { createGovernor } from '../../src/index.ts'
import { cache, priority, throttle } from '../../plugins/builtin.ts'

export interface ConsoleCost {
  readonly requestsPerS: number
  /** Share of one core of the gateway without a console. */
  readonly base: number
  /** Added to it, by number of viewers. */
  readonly arms: readonly ConsoleArm[]
}

export interface ConsoleArm {
  readonly viewers: number
  /** Share of one core; mean over rounds. */
  readonly share: number
  readonly standardError: number
  /** What the viewers got, so that a console that sends nothing is not praised. */
  readonly events: number
  readonly bytes: number
}

/** 100 are the most that a console lets in. */
export const VIEWERS = [0, 20, 100] as const

/** Each with a lane, loops and knobs that the console tells of. */
const MODELS = 10

type Mountable = (req: IncomingMessage, res: ServerResponse, next?: () => void) => void

/** `seconds` per block: whole ones, as the console sends once a second. */
export async function consoleCost(requestsPerS: number, seconds: number, rounds: number): Promise<ConsoleCost> {
  const plain = await gateway(false)
  const watched = await gateway(true)
  const audience = new Worker(AUDIENCE, { eval: true })
  const seat = (viewers: number): Promise<{ bytes: number; events: number }> => new Promise((resolve) => {
    audience.once('message', resolve)
    audience.postMessage({ viewers, url: `${watched.url}/events` })
  })
  const base: number[] = []
  const arms = VIEWERS.map((viewers) => ({ viewers, added: [] as number[], bytes: 0, events: 0 }))
  try {
    // Both are warm before anything counts.
    for (const { work } of [plain, watched]) await loadedShare(work, requestsPerS, seconds)
    for (let round = 0; round < rounds; round++) {
      const without = await loadedShare(plain.work, requestsPerS, seconds)
      base.push(without)
      for (const arm of arms) {
        await seat(arm.viewers)
        const share = await loadedShare(watched.work, requestsPerS, seconds)
        const { bytes, events } = await seat(0)
        arm.added.push(share - without)
        arm.bytes += bytes
        arm.events += events
      }
    }
  } finally {
    await audience.terminate()
    await plain.close()
    await watched.close()
  }
  for (const { viewers, events } of arms) if (viewers > 0 && events === 0) throw new Error('the console sent no event: is its stream at /events?')
  return { requestsPerS, base: mean(base), arms: arms.map(({ viewers, added, events, bytes }) => ({ viewers, share: mean(added), standardError: standardError(added), events, bytes })) }
}

interface Gateway {
  readonly url: string
  work(x: number): Promise<number>
  close(): Promise<void>
}

async function gateway(hasConsole: boolean): Promise<Gateway> {
  const governor = createGovernor({ plugins: [cache(), throttle(), priority()], env: {} })
  const functions = Array.from({ length: MODELS }, (_, i) => governor.wrap<number, number>(`model-${i}`, async (x) => x))
  await governor.start()
  const page: Mountable = hasConsole ? governor.console() : (_req, _res, next) => next?.()
  const server: Server = createServer((req, res) => page(req, res, () => res.writeHead(404).end()))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    work: (x) => (functions[x % MODELS] as Gateway['work'])(x),
    async close() {
      server.closeAllConnections()
      server.close()
      await governor.close()
    },
  }
}

/** A thread of its own: what viewers spend on reading is not the gateway's. Answers once the seats are taken, or left. */
const AUDIENCE = `
const { parentPort } = require('node:worker_threads')
const { get } = require('node:http')
let requests = [], bytes = 0, events = 0
parentPort.on('message', ({ viewers, url }) => {
  const seen = { bytes, events }
  bytes = events = 0
  for (const request of requests) request.destroy()
  requests = Array.from({ length: viewers }, () => get(url, { headers: { accept: 'text/event-stream' } }, (response) => response.on('data', (chunk) => {
    bytes += chunk.length
    events += chunk.toString().split('\\n\\n').length - 1
  })).on('error', () => {}))
  setTimeout(() => parentPort.postMessage(seen), 300)
})
`

/** CPU share of this thread while `work` is called at an even rate. */
async function loadedShare(work: Gateway['work'], requestsPerS: number, seconds: number): Promise<number> {
  const startMs = performance.now()
  const cpu = process.threadCpuUsage()
  let sent = 0
  while (performance.now() - startMs < seconds * 1_000) {
    const due = Math.floor(((performance.now() - startMs) / 1_000) * requestsPerS)
    for (; sent < due; sent++) work(sent).catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const { user, system } = process.threadCpuUsage(cpu)
  return (user + system) / 1_000 / (performance.now() - startMs)
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

function standardError(values: readonly number[]): number {
  const centre = mean(values)
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1) / values.length)
}
