import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { fakeUpstream } from '../support/fake-upstream.ts'
import { start, type Running } from '../support/flyball-cli.ts'
import { waitFor } from '../support/wait-for.ts'

let folder: string
let cli: Running | undefined
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'flyball-console-'))))
afterEach(() => {
  if (cli?.child.exitCode === null) cli.child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

it.each([
  ['with the admin API, for this machine', '', 200],
  ['not when it is off', 'admin: { console: false }\n', 404],
  ['not when the admin API is off', 'admin: { enabled: false }\n', 404],
])('serve shows the console %s', async (_name, more, status) => {
  const upstream = await fakeUpstream()
  const file = join(folder, 'flyball.config.yaml')
  writeFileSync(file, `listen: { port: 0 }\nbackends:\n  up: { type: openai, baseUrl: "${upstream.url}/v1", models: [m] }\n${more}`)
  cli = start(['serve', '--config', file])
  const base = (): string | undefined => /"url":"(http:\/\/[^/"]+)/.exec(cli?.output() ?? '')?.[1]
  await waitFor(() => {
    if (cli?.child.exitCode !== null) throw new Error(cli?.output())
    return base() !== undefined
  }, 20_000)
  const page = await fetch(`${base()}/flyball/`)
  expect(page.status).toBe(status)
  if (status === 200) {
    expect(await page.text()).toContain('<html')
    const events = await fetch(`${base()}/flyball/events`)
    expect(events.headers.get('content-type')).toMatch(/event-stream/)
    expect((await fetch(`${base()}/flyball/`, { headers: { 'x-forwarded-for': '203.0.113.9' } })).status).toBe(403)
    // An open stream does not keep the process.
    cli.child.kill('SIGTERM')
    expect((await cli.done).code).toBe(0)
  } else await page.body?.cancel()
  await upstream.close()
})
