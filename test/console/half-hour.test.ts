/**
 * As many events as half an hour brings, one after the other, in a real browser that draws each: the page must not grow.
 * The first half hour fills what the page keeps; what the second one adds is growth. The messages are a live gateway's,
 * told again with newer times, moves and calls.
 */
import type { ServerResponse } from 'node:http'
import type { Browser, CDPSession } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import { need } from '../support/need.ts'
import { waitFor } from '../support/wait-for.ts'
import { launchChromium, openPage } from './browser.ts'
import { liveConsole, type LiveConsole } from './live-console.ts'
import { readEvents } from './read-events.ts'

const HALF_HOUR = 1_800
/** The last few moves that fill its list. A page that kept only the rows, or only the calls, of the second half hour would grow more. */
const MOST_GROWTH_BYTES = 400_000
/** Charts and lists that are drawn again may hold a few nodes that the next collection takes. */
const MOST_NODES = 200

interface Told {
  readonly rows: readonly (readonly number[])[]
  readonly stories: readonly { readonly seq: number; readonly t: number }[]
  readonly state: object
}

const chromium = need('chromium')

chromium.describe('half an hour of the console', () => {
  let browser: Browser
  let live: LiveConsole
  let stream: ServerResponse | undefined
  let replaying = false
  beforeAll(async () => {
    browser = await launchChromium()
    live = await liveConsole({
      perS: 30,
      prepare: (app) => void app.use('/flyball/events', (_req, res, next) => {
        if (!replaying) return next()
        res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
        stream = res
      }),
    })
    await waitFor(() => live.governor.decisions.total >= 4, 20_000)
  }, 60_000)
  afterAll(async () => {
    await browser?.close()
    await live?.close()
  })

  chromium.it('does not grow its memory, its nodes, its listeners', async () => {
    const [greeting] = await readEvents(`${live.server.url}/flyball/events`, 1)
    const hello = greeting?.data as Told & Record<string, unknown>
    replaying = true
    const { page, problems, close } = await openPage(browser, `${live.server.url}/flyball/`)
    await waitFor(() => stream !== undefined)
    const send = async (event: string, message: object): Promise<void> => {
      if (!stream?.write(`event: ${event}\ndata: ${JSON.stringify(message)}\n\n`)) await new Promise((resolve) => stream?.once('drain', resolve))
    }
    await send('hello', { ...hello, rows: [], stories: [], slow: [], outcomes: [] })

    const row = hello.rows.at(-1) as readonly number[]
    const story = hello.stories.at(-1) as Told['stories'][0]
    const startMs = row[0] as number
    let told = 0
    async function halfAnHour(): Promise<void> {
      for (let i = 0; i < HALF_HOUR; i++) {
        told++
        const t = startMs + told * 1_000
        const values = row.slice(1).map((value) => (value === null ? null : value * (0.5 + Math.abs(Math.sin(told / 7)))))
        const slow = Array.from({ length: 5 }, (_, k) => ({ t, id: `c${told}-${k}`, trace: String(told).padStart(32, '0'), operation: 'chat', model: 'm', class: 'interactive', backend: 'engine', outcome: 'ok', reason: '', met: k > 0, cache: 'miss', inputTokens: 9, outputTokens: 24, split: { beforeHandlerMs: 0, gatewayMs: 1, queueMs: 2, batchWaitMs: 0, upstreamTtftMs: 50 + (told % 100), decodeMs: 20, backpressureMs: 0, totalMs: 73 + (told % 100) } }))
        await send('tick', { row: [t, ...values], stories: [{ ...story, seq: 1_000_000 + told, t }], slow, outcomes: told > 20 ? [{ seq: 1_000_000 + told - 20, outcome: { verdict: 'better', reverted: false, attainmentBefore: 0.9, attainmentAfter: 0.95, samplesBefore: 100, samplesAfter: 100, comparableLoad: true } }] : [], state: hello.state })
      }
      await page.waitForFunction((key) => (globalThis as unknown as { document: { querySelector(of: string): unknown } }).document.querySelector(`#moves li[data-key="${key}"]`) !== null, 1_000_000 + told, { timeout: 90_000 })
    }

    const session = await page.context().newCDPSession(page)
    await halfAnHour()
    const full = await held(session)
    await halfAnHour()
    const after = await held(session)
    process.stdout.write(`console after half an hour ${mb(full.bytes)}, after an hour ${mb(after.bytes)}; nodes ${full.nodes}, ${after.nodes}; listeners ${full.listeners}, ${after.listeners}\n`)
    expect(after.bytes - full.bytes).toBeLessThan(MOST_GROWTH_BYTES)
    expect(after.nodes - full.nodes).toBeLessThan(MOST_NODES)
    expect(after.listeners - full.listeners).toBeLessThan(MOST_NODES)
    expect(problems).toEqual([])
    await close()
  }, 240_000)
})

const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

/** What is still held once all that can be collected is. */
async function held(session: CDPSession): Promise<{ bytes: number; nodes: number; listeners: number }> {
  for (let i = 0; i < 3; i++) await session.send('HeapProfiler.collectGarbage')
  const { usedSize: bytes } = await session.send('Runtime.getHeapUsage')
  const { nodes, jsEventListeners: listeners } = await session.send('Memory.getDOMCounters')
  return { bytes, nodes, listeners }
}
