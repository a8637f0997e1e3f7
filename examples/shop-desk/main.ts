/** `npm start`: the shop desk, and a gentle demo load that makes its loops move. */
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:http'
import { startTelemetry, type ConsoleDemo } from '../../src/index.ts'
import { createShopDesk } from './app.ts'
import { startDemoLoad, type DemoLoad } from './demo-load.ts'
import { parseFlags, USAGE } from './flags.ts'
import { PHASES } from './phases.ts'
import { statusLine } from './status-line.ts'

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const fail = (line: string): never => {
  process.stderr.write(`shop-desk: ${line}\n`)
  process.exit(1)
}

async function main(): Promise<void> {
  let flags
  try {
    flags = parseFlags(process.argv.slice(2))
  } catch (error) {
    return fail((error as Error).message)
  }
  if (flags.help) return say(USAGE)

  const telemetry = await startTelemetry({ serviceName: 'shop-desk' })
  let load: DemoLoad | undefined
  const demo = (): ConsoleDemo | undefined => load && { phases: PHASES, current: () => load && { name: load.phase.name, held: load.held }, hold: (name) => load?.hold(name) }
  const adminToken = process.env['FLYBALL_ADMIN_TOKEN']
  const desk = await createShopDesk({ console: { title: 'shop desk', demo, ...(adminToken ? { adminToken } : {}) } }).catch((error: Error) => fail(error.message))
  const server = createServer(desk.app)
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(flags.port, '127.0.0.1', resolve)).catch((error: NodeJS.ErrnoException) =>
    fail(error.code === 'EADDRINUSE' ? `port ${flags.port} is in use; choose another with --port` : error.message),
  )
  await desk.governor.start()

  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  say(`flyball is serving the shop desk at ${url}`)
  say(`  see it live: ${url}/flyball`)
  say('  try it:')
  say(`    curl ${url}/v1/chat/completions -H 'content-type: application/json' \\`)
  say(`      -d '{"model":"shop-desk","temperature":0,"messages":[{"role":"user","content":"What is 17 + 25?"}]}'`)
  say(`  metrics ${url}/metrics   state ${url}/admin/state   decisions ${url}/admin/decisions`)
  say(flags.load ? '  demo load: calm → burst → overload → repeats, one line a second (--no-load to leave it out). Ctrl-C stops.\n' : '')

  const status = statusLine(desk.governor, say)
  if (flags.load) load = startDemoLoad(url, (phase) => say(`— ${phase.name}: ${phase.doc}`))
  const ticker = setInterval(() => { if (load) say(status.line(`${load.phase.name} ${load.atS.toFixed(0)}s`)) }, 1_000)

  let stopping = false
  async function stop(): Promise<void> {
    if (stopping) process.exit(1)
    stopping = true
    say('draining; once more to stop at once')
    clearInterval(ticker)
    await load?.stop()
    server.close()
    await desk.governor.drain()
    status.stop()
    await desk.close()
    await telemetry.shutdown()
    server.closeAllConnections()
    process.exit(0)
  }
  process.on('SIGTERM', () => void stop())
  process.on('SIGINT', () => void stop())
}

await main()
