/** A real Chromium, without a window, as the tests of the console use it. */
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { findNeed } from '../support/needs.ts'

const ARGUMENTS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

/** Playwright gives each launch a fresh profile folder of its own. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: findNeed('chromium') ?? 'chromium', args: ARGUMENTS })
}

export interface OpenPage {
  readonly page: Page
  /** Console errors, failed requests, violations of the policy, and exceptions so far. */
  readonly problems: string[]
  close(): Promise<void>
}

export async function openPage(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<OpenPage> {
  const context = await browser.newContext({ viewport: { width: 1_280, height: 900 }, ...options })
  const page = await context.newPage()
  const problems: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(`${message.type()}: ${message.text()} (${message.location().url})`)
  })
  page.on('pageerror', (error) => problems.push(`exception: ${error.message}`))
  page.on('requestfailed', (request) => problems.push(`failed: ${request.url()} ${request.failure()?.errorText ?? ''}`))
  // A violation that the browser reports only to the page.
  await page.addInitScript(() => {
    const scope = globalThis as unknown as { violations: string[]; addEventListener(type: string, fn: (event: { violatedDirective: string; blockedURI: string }) => void): void }
    scope.violations = []
    scope.addEventListener('securitypolicyviolation', (event) => scope.violations.push(`${event.violatedDirective} ${event.blockedURI}`))
  })
  await page.goto(url, { waitUntil: 'domcontentloaded' })
  return { page, problems, close: () => context.close() }
}

/** Violations of the content security policy that the page saw. */
export const violations = (page: Page): Promise<string[]> => page.evaluate(() => (globalThis as unknown as { violations: string[] }).violations)
