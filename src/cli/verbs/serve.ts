/** `flyball serve --config FILE`: the gateway with no code. */
import { createServer, type Server } from 'node:http'
import type { Command } from 'commander'
import express, { type Express } from 'express'
import type { Config } from '../../config/schema.ts'
import { keepDecisions, type DecisionFile } from '../../control/decision-file.ts'
import { loadStates, saveStates } from '../../control/state-file.ts'
import { systemClock } from '../../core/clock.ts'
import type { Logger } from '../../core/plugin.ts'
import type { Governor } from '../../flyball.ts'
import type { HttpHandler } from '../../http/http-types.ts'
import { startTelemetry, type Telemetry } from '../../telemetry/start.ts'
import { cliLog } from '../cli-log.ts'
import { governorFor, readConfig } from '../configured.ts'
import { doubts } from '../doubts.ts'
import { closeServer, listenOn } from '../listen.ts'
import { rehearseModels, rehearseUpstreams } from '../rehearse.ts'

/** What changes as a whole on a reload. */
interface Generation {
  readonly governor: Governor
  readonly gateway: HttpHandler
  readonly health: HttpHandler
  readonly metrics: HttpHandler
  readonly admin: HttpHandler
  readonly console: HttpHandler | undefined
}

export function configure(command: Command): void {
  command
    .requiredOption('-c, --config <file>', 'YAML, JSON or TypeScript')
    .option('-p, --port <number>', 'instead of the configured one', portOf)
    .option('--host <address>', 'instead of the configured one')
    .option('--decisions <file>', 'append every decision of the loops, as JSONL: for `flyball explain`')
    .option('--state <file>', 'controller states: read at start, written at the end')
    .action(serve)
}

function portOf(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new TypeError(`--port: expected a port, got ${JSON.stringify(text)}`)
  return Number(text)
}

interface Flags {
  config: string
  port?: number
  host?: string
  decisions?: string
  state?: string
}

async function serve(flags: Flags): Promise<void> {
  const config = await readConfig(flags.config)
  const log = cliLog(config.log)
  // Before the governor: a meter that is asked for earlier counts nothing.
  const { enabled: wanted, ...telemetryOptions } = config.telemetry
  const telemetry = wanted ? await startTelemetry(definedOnly(telemetryOptions)) : undefined
  const saved = flags.state === undefined ? undefined : await loadStates(flags.state)
  if (saved?.ignored !== undefined) log.warn({ file: flags.state, why: saved.ignored }, 'the saved controller states are not used')
  const keep = (governor: Governor): DecisionFile | undefined =>
    flags.decisions === undefined ? undefined : keepDecisions(governor.decisions, flags.decisions, { onError: (error) => log.error({ err: error }, 'decisions cannot be written') })
  let current = generationOf(await governorFor(config, flags.config, log, saved ? { savedStates: saved.states } : {}), config)
  const doubt = ({ governor }: Generation, { knobs }: Config): void => doubts(governor, knobs).forEach((line) => log.warn({}, line))
  doubt(current, config)
  let kept = keep(current.governor)
  const servers = appsFor(config, () => current)
  const host = flags.host ?? config.listen.host
  const port = await listenOn(servers.main, flags.port ?? config.listen.port, host)
  if (servers.admin) await listenOn(servers.admin, config.admin.port as number, config.admin.host)
  const shown = host.includes(':') ? `[${host}]` : host
  log.info({ url: `http://${shown}:${port}${config.gateway.path}`, metrics: '/metrics', admin: adminPlace(config) }, 'flyball listens')

  handleSignals({
    async stop() {
      if (flags.state !== undefined) await saveStates(flags.state, current.governor.loop.states()).catch((error: unknown) => log.error({ err: error }, 'controller states could not be saved'))
      await shutDown(current.governor, servers, telemetry, config.drainMs, log)
      kept?.close()
    },
    async reload() {
      const fresh = await readConfig(flags.config, systemClock.id())
      const atStart = ({ listen, admin, gateway: { path }, telemetry: traces, log: level, drainMs }: Config): string => JSON.stringify([listen, admin, path, traces, level, drainMs])
      if (atStart(fresh) !== atStart(config)) log.warn({}, 'listen, admin, gateway.path, telemetry, log and drainMs are read at start only: restart for those')
      const old = current
      const next = generationOf(await governorFor(fresh, flags.config, log, { savedStates: old.governor.loop.states() }), { ...fresh, admin: config.admin })
      await next.governor.start()
      // From here on new requests go to the new one; the old one finishes what it has.
      current = next
      doubt(next, fresh)
      kept?.close()
      kept = keep(next.governor)
      log.info({ config: flags.config }, 'the configuration was reloaded')
      await old.governor.drain()
      await old.governor.close()
    },
    log,
  })
  await rehearseUpstreams(current.governor, config, flags.config, log)
  await rehearseModels(current.governor, `http://${loopbackOf(shown)}:${port}${config.gateway.path}`, log)
  await current.governor.start()
  log.info({ backends: current.governor.backendStates().map(({ name, ready }) => ({ name, ready })) }, 'flyball is ready')
}

/** Where this machine reaches what listens everywhere. */
const loopbackOf = (shown: string): string => (shown === '0.0.0.0' ? '127.0.0.1' : shown === '[::]' ? '[::1]' : shown)

function generationOf(governor: Governor, config: Config): Generation {
  const { path: _path, ...gatewayOptions } = config.gateway
  return {
    governor,
    gateway: governor.gateway(definedOnly(gatewayOptions)),
    health: governor.health(),
    metrics: governor.metrics(),
    admin: governor.admin({ readOnly: config.admin.readOnly }),
    console: config.admin.enabled && config.admin.console ? governor.console() : undefined,
  }
}

function definedOnly<T extends object>(given: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as { [K in keyof T]: Exclude<T[K], undefined> }
}

/** Longer than the minute after which load balancers let an idle connection go: they must be the first to close it, ms. */
const KEEP_ALIVE_MS = 75_000

function appsFor(config: Config, current: () => Generation): { main: Server; admin?: Server } {
  const app = express()
  app.disable('x-powered-by')
  app.use(config.gateway.path, (req, res, next) => current().gateway(req, res, next))
  app.use((req, res, next) => current().health(req, res, next))
  app.get('/metrics', (req, res) => current().metrics(req, res))
  const { enabled, port } = config.admin
  if (enabled && port === undefined) mountAdmin(app, current)
  const main = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, app)
  if (!enabled || port === undefined) return { main }
  const adminApp = express()
  adminApp.disable('x-powered-by')
  mountAdmin(adminApp, current)
  return { main, admin: createServer(adminApp) }
}

/** The admin API and the page for people; both are for this machine only. */
function mountAdmin(app: Express, current: () => Generation): void {
  app.use('/admin', (req, res, next) => current().admin(req, res, next))
  app.use('/flyball', (req, res, next) => (current().console ?? skip)(req, res, next))
}

const skip: HttpHandler = (_req, _res, next) => next?.()

const adminPlace = ({ admin }: Config): string => (!admin.enabled ? 'off' : admin.port === undefined ? '/admin' : `http://${admin.host}:${admin.port}/admin`)

/** Running and waiting calls finish; new ones are told to go elsewhere. */
async function shutDown(governor: Governor, servers: { main: Server; admin?: Server }, telemetry: Telemetry | undefined, drainMs: number, log: Logger): Promise<void> {
  log.info({ open: governor.backendStates().reduce((sum, { inFlight, waiting }) => sum + inFlight + waiting, 0) }, 'draining; a second signal stops at once')
  const giveUp = new AbortController()
  await Promise.race([
    governor.drain(),
    systemClock.sleep(drainMs, giveUp.signal).then(
      () => log.warn({ drainMs }, 'gave up waiting for running calls'),
      () => {},
    ),
  ])
  giveUp.abort()
  const closed = Promise.all([closeServer(servers.main), ...(servers.admin ? [closeServer(servers.admin)] : [])])
  await governor.close()
  servers.main.closeAllConnections()
  servers.admin?.closeAllConnections()
  await closed
  await telemetry?.shutdown()
  log.info({}, 'flyball has stopped')
}

function handleSignals({ stop, reload, log }: { stop: () => Promise<void>; reload: () => Promise<void>; log: Logger }): void {
  let stopping = false
  let reloading = Promise.resolve()
  const onStop = (): void => {
    if (stopping) process.exit(1)
    stopping = true
    // Whatever timers a backend left behind must not keep a stopped server alive.
    stop().then(
      () => process.exit(0),
      (thrown: unknown) => {
        log.error({ err: thrown }, 'could not stop in good order')
        process.exit(1)
      },
    )
  }
  process.on('SIGTERM', onStop)
  process.on('SIGINT', onStop)
  process.on('SIGHUP', () => {
    // One after another, and none once we leave.
    reloading = reloading.then(async () => {
      if (stopping) return
      try {
        await reload()
      } catch (thrown) {
        log.error({ reason: thrown instanceof Error ? thrown.message : String(thrown) }, 'the new configuration does not work; the old one stays')
      }
    })
  })
}
