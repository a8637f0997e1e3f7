/** The console in a real browser. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Express } from 'express'
import helmet from 'helmet'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import { SEESAW_KNOB, seesawControl } from '../dashboards/live/seesaw.ts'
import { need } from '../support/need.ts'
import { waitFor } from '../support/wait-for.ts'
import { launchChromium, openPage, violations } from './browser.ts'
import { liveConsole, TOKEN, type LiveConsole } from './live-console.ts'

const chromium = need('chromium')
const axeSource = chromium.available ? readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8') : ''
const KNOB_ID = `${SEESAW_KNOB.name}{backend=engine}`

interface Violation {
  readonly id: string
  readonly impact: string
  readonly nodes: readonly { readonly target: readonly string[]; readonly failureSummary: string }[]
}

/** What axe finds, as `id: element`; run by the test's own channel, which the page's policy does not bind. */
async function axe(page: Page, within = 'html'): Promise<string[]> {
  await page.evaluate(axeSource)
  const found = await page.evaluate(async (place) => {
    const { violations: all } = await (globalThis as unknown as { axe: { run(within: string): Promise<{ violations: Violation[] }> } }).axe.run(place)
    return all
  }, within)
  return found.flatMap(({ id, impact, nodes }) => nodes.map(({ target, failureSummary }) => `${impact} ${id}: ${target.join(' ')} ${failureSummary}`))
}

/** Titles of the charts in sight whose canvas shows fewer colours than axes and a line have. */
async function blankCharts(page: Page): Promise<string[]> {
  return page.locator('#users .plot, #loops .plot').evaluateAll((plots) =>
    (plots as unknown as { querySelector(of: string): unknown }[]).flatMap((plot) => {
      const canvas = plot.querySelector('canvas') as { width: number; height: number; getContext(kind: string): { getImageData(x: number, y: number, w: number, h: number): { data: Uint8ClampedArray } } } | null
      // Far below the fold a chart waits until it is scrolled to.
      if (!canvas) return []
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
      const colours = new Set<number>()
      for (let i = 0; i < data.length; i += 4) colours.add(((data[i] as number) << 16) | ((data[i + 1] as number) << 8) | (data[i + 2] as number))
      return colours.size > 4 ? [] : [(plot.querySelector('strong') as { textContent: string }).textContent]
    }),
  )
}

chromium.describe('the console in Chromium', () => {
  const it = chromium.it
  let browser: Browser
  let live: LiveConsole
  let url = ''
  let held: string | undefined
  let refusing = false
  beforeAll(async () => {
    browser = await launchChromium()
    const demo = { phases: [{ name: 'calm', doc: 'quiet' }, { name: 'storm', doc: 'wild' }], current: () => ({ name: held ?? 'calm', held: held !== undefined }), hold: (name: string | undefined) => void (held = name) }
    const prepare = (app: Express): void => {
      app.use(helmet())
      // A proxy in front of a gateway that restarts.
      app.use('/tools/flyball/events', (_req, res, next) => (refusing ? void res.status(502).end() : next()))
    }
    live = await liveConsole({ perS: 30, path: '/tools/flyball', prepare, console: { adminToken: TOKEN, title: 'test bench', demo } })
    url = `${live.server.url}/tools/flyball`
    // Enough of a past for lines and moves.
    await waitFor(() => live.governor.decisions.total >= 4, 15_000)
  }, 60_000)
  afterAll(async () => {
    await live?.close()
    await browser?.close()
  })

  const opened = async (page: Page): Promise<void> => {
    await page.waitForSelector('#tiles li')
    await page.waitForSelector('#loops .loop canvas')
  }
  const rows = (page: Page): Promise<number> => page.locator('#moves li').count()

  it('loads under a prefix, without its slash, behind helmet: no violation, no error, and it lives', async () => {
    const { page, problems, close } = await openPage(browser, url)
    await opened(page)
    expect(page.url()).toBe(`${url}/`)
    expect(await page.title()).toBe('test bench')
    const goodput = (): Promise<string> => page.locator('#tiles li', { hasText: 'Goodput' }).locator('.value').innerText()
    const newest = (): Promise<string | null> => page.locator('#moves li').first().getAttribute('data-key')
    const move = await newest()
    await waitFor(async () => Number.parseFloat(await goodput()) > 5, 15_000)
    await page.waitForFunction((before) => (globalThis as unknown as { document: { querySelector(of: string): { dataset: { key: string } } } }).document.querySelector('#moves li').dataset.key !== before, move, { timeout: 10_000 })
    await page.locator('#link', { hasText: 'live' }).waitFor({ timeout: 10_000 })
    expect(await page.locator('#headline').innerText()).toMatch(/SLO met|Idle/)
    expect(await violations(page)).toEqual([])
    expect(problems).toEqual([])
    await close()
  })

  it('the lines really move: the canvas of a loop changes, and pausing stops it', async () => {
    const { page, close } = await openPage(browser, url)
    await opened(page)
    await page.locator('#loops canvas').first().scrollIntoViewIfNeeded()
    const picture = (): Promise<string> => page.locator('#loops canvas').first().evaluate((canvas) => (canvas as unknown as { toDataURL(): string }).toDataURL())
    const before = await picture()
    await waitFor(async () => (await picture()) !== before, 5_000)
    await page.click('#pause')
    await page.waitForTimeout(300)
    const still = await picture()
    await page.waitForTimeout(2_300)
    expect(await picture()).toBe(still)
    expect(await page.locator('#link').innerText()).toBe('paused')
    await close()
  })

  it('a move opens its story: what was seen, why, what was turned, what came of it; also from the chart, and by keyboard', async () => {
    const { page, close } = await openPage(browser, url)
    await opened(page)
    await page.locator('#moves button').nth(1).press('Enter')
    const story = page.locator('#story')
    await story.waitFor({ state: 'visible' })
    const text = await story.innerText()
    for (const part of ['What it turned', 'Why', 'What it saw', 'What came of it', 'seesaw.calls', 'pause', 'It expected']) expect(text).toContain(part)
    const title = await page.locator('#story-title').innerText()
    await page.click('#story-earlier')
    expect(await page.locator('#story-title').innerText()).not.toBe(title)
    await page.keyboard.press('Escape')
    await story.waitFor({ state: 'hidden' })

    await page.click('#pause')
    const over = page.locator('#loops .u-over').last()
    await over.scrollIntoViewIfNeeded()
    const box = await over.boundingBox()
    if (!box) throw new Error('the chart has no box')
    for (let x = box.width - 2; x > 0 && !(await story.isVisible()); x -= 8) await page.mouse.click(box.x + x, box.y + box.height / 2)
    expect(await story.isVisible()).toBe(true)
    await close()
  })

  it('pinning works with the token, is refused without, and the loop leaves the knob alone meanwhile', async () => {
    const { page, problems, close } = await openPage(browser, url)
    await opened(page)
    expect(await page.locator('.loop button', { hasText: 'Pin' }).count()).toBe(1)
    expect(await page.locator('.loop button', { hasText: 'Pin' }).isVisible()).toBe(false)
    const status = await page.evaluate(async (id) => (await fetch('api/pin', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ knob: id.split('{')[0], key: 'backend=engine', value: 3 }) })).status, KNOB_ID)
    expect(status).toBe(401)
    expect(live.governor.knobs.pins()).toEqual([])

    await page.click('#unlock')
    await page.fill('#token', 'not the token at all')
    await page.press('#token', 'Enter')
    await page.waitForFunction(() => ((globalThis as unknown as { document: { querySelector(of: string): { textContent: string } } }).document.querySelector('#token-error').textContent ?? '').includes('wrong'))
    await page.fill('#token', TOKEN)
    await page.press('#token', 'Enter')
    await page.locator('.loop button', { hasText: 'Pin…' }).click()
    await page.fill('#pin-value', '3')
    await page.click('#pin-form button[type=submit]')
    await waitFor(() => live.governor.knobs.pins().length === 1)
    expect(live.governor.knobs.pins()).toMatchObject([{ knob: SEESAW_KNOB.name, key: 'backend=engine', value: 3 }])
    await page.locator('.loop', { hasText: 'pinned' }).waitFor()
    expect(await page.locator('#attention').innerText()).toContain('Pinned: pause of engine at 3')
    expect(live.governor.knobs.get(SEESAW_KNOB.name).for({ backend: 'engine' }).value).toBe(3)
    await page.locator('.loop button', { hasText: 'Unpin' }).click()
    await waitFor(() => live.governor.knobs.pins().length === 0)

    await page.check('#dry')
    await waitFor(() => live.governor.loop.dryRun)
    await page.uncheck('#dry')
    await waitFor(() => !live.governor.loop.dryRun)
    // The two refusals are said by the browser too; nothing else is.
    expect(problems.filter((problem) => !problem.includes('401'))).toEqual([])
    await close()
  })

  it('the demo’s phases can be held, by arrow keys too, and let go', async () => {
    const { page, close } = await openPage(browser, url)
    await opened(page)
    await page.getByRole('radio', { name: 'storm' }).click()
    await waitFor(() => held === 'storm')
    await page.keyboard.press('ArrowRight')
    await waitFor(() => held === undefined)
    await page.waitForSelector('#phases [aria-checked=true]')
    await close()
  })

  it.each([
    ['light, 360 px', { viewport: { width: 360, height: 740 }, colorScheme: 'light' as const }],
    ['dark, 1280 px', { viewport: { width: 1_280, height: 900 }, colorScheme: 'dark' as const }],
    ['light, 4k', { viewport: { width: 3_840, height: 2_160 }, colorScheme: 'light' as const }],
    ['dark, reduced motion', { viewport: { width: 1_024, height: 700 }, colorScheme: 'dark' as const, reducedMotion: 'reduce' as const }],
  ])('axe finds nothing, nothing sticks out, no chart is blank: %s', async (_, options) => {
    const { page, problems, close } = await openPage(browser, url, options)
    await opened(page)
    await page.waitForTimeout(700)
    expect(await axe(page)).toEqual([])
    expect(await blankCharts(page)).toEqual([])
    expect(await page.evaluate(() => (globalThis as unknown as { document: { documentElement: { scrollWidth: number } } }).document.documentElement.scrollWidth)).toBe(options.viewport.width)
    await page.click('#pause')
    for (const level of ['good', 'warn', 'bad']) {
      await page.evaluate((to) => void ((globalThis as unknown as { document: { querySelector(of: string): { dataset: { level: string } } } }).document.querySelector('#verdict').dataset.level = to), level)
      await page.waitForTimeout(500)
      expect([level, await axe(page, '#verdict')]).toEqual([level, []])
    }
    await page.locator('#moves button').first().click()
    expect(await axe(page, '#story')).toEqual([])
    expect(problems).toEqual([])
    await close()
  })

  it('with reduced motion nothing is animated', async () => {
    const { page, close } = await openPage(browser, url, { reducedMotion: 'reduce' })
    await opened(page)
    const animated = await page.evaluate(() => {
      const scope = globalThis as unknown as { document: { querySelectorAll(of: string): Iterable<object> }; getComputedStyle(of: object): { transitionDuration: string; animationName: string } }
      return [...scope.document.querySelectorAll('body *')].filter((element) => { const style = scope.getComputedStyle(element); return style.transitionDuration !== '0s' || style.animationName !== 'none' }).length
    })
    expect(animated).toBe(0)
    await close()
  })

  it('the first stop of the tab key skips to the verdict, which is the first thing of the page', async () => {
    const { page, close } = await openPage(browser, url, { viewport: { width: 360, height: 740 } })
    await opened(page)
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    expect(await page.evaluate(() => (globalThis as unknown as { document: { activeElement: { id: string } } }).document.activeElement.id)).toBe('verdict')
    const box = await page.locator('#headline').boundingBox()
    expect(box?.y).toBeLessThan(250)
    await close()
  })

  it('says so when the gateway is gone, and comes back by itself', async () => {
    const { page, close } = await openPage(browser, url)
    await opened(page)
    live.server.server.closeAllConnections()
    await page.waitForTimeout(500)
    expect(await rows(page)).toBeGreaterThan(0)
    await page.context().setOffline(true)
    await page.waitForFunction(() => ((globalThis as unknown as { document: { querySelector(of: string): { textContent: string } } }).document.querySelector('#link').textContent ?? '').includes('what you see is old'), undefined, { timeout: 15_000 })
    // First of all it says so where one looks first, and in the tab.
    expect(await page.locator('#headline').innerText()).toBe('No news from the gateway')
    expect(await page.title()).toBe('▲ No news from the gateway · test bench')
    await page.context().setOffline(false)
    await page.waitForFunction(() => (globalThis as unknown as { document: { querySelector(of: string): { textContent: string } } }).document.querySelector('#link').textContent === 'live', undefined, { timeout: 15_000 })
    await close()
  }, 45_000)

  it('asks again after a refusal, which ends a browser’s own attempts', async () => {
    refusing = true
    const { page, close } = await openPage(browser, url)
    await page.waitForTimeout(1_000)
    expect(await page.locator('#link').innerText()).toBe('connecting…')
    refusing = false
    await opened(page)
    live.server.server.closeAllConnections()
    refusing = true
    await page.waitForFunction(() => ((globalThis as unknown as { document: { querySelector(of: string): { textContent: string } } }).document.querySelector('#headline').textContent ?? '').includes('No news'), undefined, { timeout: 15_000 })
    refusing = false
    await page.locator('#link', { hasText: 'live' }).waitFor({ timeout: 15_000 })
    expect(await page.locator('#headline').innerText()).toMatch(/SLO met|Idle/)
    await close()
  }, 45_000)

  it('a failing sensor is said first: the loop holds, blind', async () => {
    seesawControl.sensorBroken = true
    const { page, close } = await openPage(browser, url)
    await opened(page)
    await page.locator('#attention li', { hasText: 'seesaw' }).filter({ hasText: 'blind' }).waitFor({ timeout: 15_000 })
    seesawControl.sensorBroken = false
    await page.locator('#attention li', { hasText: 'blind' }).waitFor({ state: 'detached', timeout: 15_000 })
    await close()
  }, 45_000)
})
