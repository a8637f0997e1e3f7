/**
 * A server like the configured one, in front of an upstream that is not there: what it runs is the same code, and costs
 * nobody anything. It has a governor of its own, without loops or others' plugins; it asks nobody, and tells nobody what it
 * counts and traces.
 */
import { createServer, type ServerResponse } from 'node:http'
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'
import { TracerProvider } from '@opentelemetry/sdk-trace'
import express from 'express'
import { builtin } from '../../plugins/builtin.ts'
import { buildGovernorOptions } from '../config/build.ts'
import type { Config } from '../config/schema.ts'
import type { Delta } from '../core/reply.ts'
import { createGovernor, type Governor } from '../flyball.ts'
import { protocols } from '../protocols/all.ts'
import { closeServer, listenOn } from './listen.ts'

export interface StandIn {
  /** One per kind of backend that has an address. */
  readonly models: readonly string[]
  /** Where its gateway is. */
  readonly url: string
  close(): Promise<void>
}

const LOOPBACK = '127.0.0.1'

/** What is counted is kept, as in the real server, and never told to anybody. */
class Unread extends MetricReader {
  protected async onForceFlush(): Promise<void> {}
  protected async onShutdown(): Promise<void> {}
}

const TOKENS = 32
const SAID: readonly (readonly Delta[])[] = [
  [{ type: 'start', id: 'rehearsal', model: 'rehearsal' }],
  ...Array.from({ length: TOKENS }, (): readonly Delta[] => [{ type: 'text', index: 0, text: ' word' }]),
  [{ type: 'finish', index: 0, reason: 'stop' }, { type: 'usage', usage: { inputTokens: 8, outputTokens: TOKENS } }],
]

/** As the protocol of the address says it. Anything else, such as a question for health, is well. */
function answer(path: string, body: Buffer, res: ServerResponse): void {
  const protocol = protocols.find(({ routes }) => routes.some((route) => route.path === path && route.method === 'POST'))
  const route = protocol?.routes.find((candidate) => candidate.path === path)
  if (!protocol || !route) return void res.end('{"data":[]}')
  const facts = protocol.facts(route.operation, JSON.parse(body.toString()))
  const context = { id: 'rehearsal', model: facts.model, createdS: 0, includeUsage: facts.includeUsage ?? false }
  if (!facts.stream) return void res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(protocol.unary(route.operation, SAID.flat(), context)))
  const writer = protocol.streamWriter(route.operation, context)
  res.writeHead(200, { 'content-type': writer.contentType })
  for (const deltas of SAID) res.write(writer.push(deltas))
  res.end(writer.end())
}

/** Undefined: no backend of this configuration is somewhere else. */
export async function standIn(config: Config, file: string): Promise<StandIn | undefined> {
  const kinds = new Map<string, { readonly address: string; readonly options: Config['backends'][string] }>()
  for (const options of Object.values(config.backends)) {
    const address = builtin.backends[options.type]?.address
    if (address !== undefined) kinds.set(JSON.stringify([options.type, options['flavor'], options['trackUsage']]), { address, options })
  }
  if (kinds.size === 0) return undefined
  const upstream = createServer((req, res) => {
    const pieces: Buffer[] = []
    req.on('data', (piece: Buffer) => pieces.push(piece))
    req.on('end', () => {
      try {
        answer(req.url ?? '', Buffer.concat(pieces), res)
      } catch {
        res.destroy()
      }
    })
  })
  const upstreamUrl = `http://${LOOPBACK}:${await listenOn(upstream, 0, LOOPBACK)}`
  let governor: Governor | undefined
  const app = express()
  const server = createServer(app)
  async function close(): Promise<void> {
    await governor?.close()
    await Promise.all([closeServer(server), closeServer(upstream)])
  }
  try {
    const backends: Config['backends'] = {}
    // Models are named by place: the names of the real ones are not needed, nor their keys.
    for (const [i, { address, options }] of [...kinds.values()].entries()) backends[`rehearsal-${i}`] = { ...options, apiKey: 'none', models: [`rehearsal-${i}`], [address]: upstreamUrl }
    governor = await governorLike(config, backends, file)
    app.use('/', governor.gateway())
    return { models: Object.keys(backends), url: `http://${LOOPBACK}:${await listenOn(server, 0, LOOPBACK)}`, close }
  } catch (thrown) {
    await close()
    throw thrown
  }
}

async function governorLike(config: Config, backends: Config['backends'], file: string): Promise<Governor> {
  const { stateFile: _stateFile, switchback: _switchback, ...rest } = config
  const ours = config.plugins.flatMap((plugin) => {
    const [[name, given]] = (typeof plugin === 'string' ? [[plugin, {}]] : Object.entries(plugin)) as [[string, unknown]]
    const asked = new Set(builtin.asks?.[name])
    return Object.hasOwn(builtin.plugins, name) ? [{ [name]: Object.fromEntries(Object.entries(given ?? {}).filter(([option]) => !asked.has(option))) }] : []
  })
  const options = await buildGovernorOptions({ ...rest, backends, plugins: ours, knobs: {}, loops: 'off' }, { registry: builtin, file })
  return createGovernor({ ...options, meter: new MeterProvider({ readers: [new Unread()] }).getMeter('rehearsal'), tracer: new TracerProvider().getTracer('rehearsal') })
}
