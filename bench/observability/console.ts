/** What viewers of the console cost the gateway: CPU with them and without them, in turns, at the same request rate. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Worker } from 'node:worker_threads'
import { createGovernor } from '../../src/index.ts'
import { cache, priority, throttle } from '../../plugins/builtin.ts'

export interface ConsoleCost {
  /** CPU of the serving thread that the viewers added, as a share of one core: median of rounds. */
  readonly share: number
  readonly requestsPerS: number
  /** Bytes that viewers got, so that a console that sends nothing is not praised. */
  readonly bytes: number
  readonly events: number
}

type Mountable = (req: import('node:http').IncomingMessage, res: import('node:http').ServerResponse, next?: () => void) => void

const ROUNDS = 5

/** Undefined where this build has no console. */
export async function consoleCost(viewers: number, requestsPerS: number, seconds: number): Promise<ConsoleCost | undefined> {
  const governor = createGovernor({ plugins: [cache(), throttle(), priority()], env: {} })
  const makeConsole = (governor as { console?: (options?: object) => Mountable }).console
  if (typeof makeConsole !== 'function') {
    await governor.close()
    return undefined
  }
  const work = governor.wrap<number, number>('work', async (x) => x)
  await governor.start()
  const page = makeConsole.call(governor)
  const server = createServer((req, res) => page(req, res, () => res.writeHead(404).end()))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const audience = new Worker(VIEWERS, { eval: true })
  const tell = (message: object): Promise<{ bytes: number; events: number }> => new Promise((resolve) => {
    audience.once('message', resolve)
    audience.postMessage(message)
  })
  try {
    const differences: number[] = []
    const seen = { bytes: 0, events: 0 }
    let rate = 0
    for (let round = 0; round < ROUNDS; round++) {
      const without = await underLoad(work, requestsPerS, seconds)
      await tell({ open: viewers, url: `${url}/events` })
      const withThem = await underLoad(work, requestsPerS, seconds)
      const { bytes, events } = await tell({ open: 0 })
      seen.bytes += bytes
      seen.events += events
      differences.push(withThem.share - without.share)
      rate = withThem.requestsPerS
    }
    if (seen.events === 0) throw new Error('the console sent no event: is its stream at /events?')
    return { share: differences.sort((a, b) => a - b)[ROUNDS >> 1] as number, requestsPerS: rate, ...seen }
  } finally {
    await audience.terminate()
    server.closeAllConnections()
    server.close()
    await governor.close()
  }
}

/** A thread of its own: what viewers spend on reading is not the gateway's. */
const VIEWERS = `
const { parentPort } = require('node:worker_threads')
const { get } = require('node:http')
let requests = [], bytes = 0, events = 0
parentPort.on('message', ({ open, url }) => {
  for (const request of requests) request.destroy()
  requests = Array.from({ length: open }, () => get(url, { headers: { accept: 'text/event-stream' } }, (response) => response.on('data', (chunk) => {
    bytes += chunk.length
    events += chunk.toString().split('\\n\\n').length - 1
  })).on('error', () => {}))
  setTimeout(() => { parentPort.postMessage({ bytes, events }); if (open === 0) { bytes = 0; events = 0 } }, 500)
})
`

/** CPU share of this thread while `work` is called at an even rate. */
async function underLoad(work: (x: number) => Promise<number>, requestsPerS: number, seconds: number): Promise<{ share: number; requestsPerS: number }> {
  const startMs = performance.now()
  const cpu = process.threadCpuUsage()
  let sent = 0
  while (performance.now() - startMs < seconds * 1_000) {
    const due = Math.floor(((performance.now() - startMs) / 1_000) * requestsPerS)
    for (; sent < due; sent++) work(sent).catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const { user, system } = process.threadCpuUsage(cpu)
  const elapsedMs = performance.now() - startMs
  return { share: (user + system) / 1_000 / elapsedMs, requestsPerS: (sent * 1_000) / elapsedMs }
}
