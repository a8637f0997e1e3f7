/** A real Prometheus in a temporary folder, and its query API. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { findNeed } from '../../support/needs.ts'
import { listen } from '../../support/listen.ts'

export interface SeriesResult {
  readonly metric: Readonly<Record<string, string>>
  /** Seconds since the epoch, value. */
  readonly values: readonly (readonly [number, number])[]
}

export interface FiringAlert {
  readonly labels: Readonly<Record<string, string>>
  readonly state: string
  readonly annotations: Readonly<Record<string, string>>
}

export interface Job {
  readonly name: string
  /** `host:port` to the instance label. */
  /** Job and instance are as the page says, not as the scrape does. */
  readonly honorLabels?: boolean
  readonly targets: readonly { readonly address: string; readonly instance: string; readonly path?: string }[]
}

export interface Prometheus {
  readonly url: string
  query(expr: string, at?: number): Promise<SeriesResult[]>
  range(expr: string, startS: number, endS: number, stepS: number): Promise<SeriesResult[]>
  labelValues(label: string, match: string): Promise<string[]>
  alerts(): Promise<FiringAlert[]>
  get(path: string): Promise<unknown>
  close(): Promise<void>
}

export const SCRAPE_S = 1

/** `rules`: text of a rule file. */
export async function startPrometheus(jobs: readonly Job[], rules?: string): Promise<Prometheus> {
  const folder = mkdtempSync(join(tmpdir(), 'flyball-prometheus-'))
  const config = {
    global: { scrape_interval: `${SCRAPE_S}s`, scrape_timeout: `${SCRAPE_S}s`, evaluation_interval: '1s' },
    ...(rules === undefined ? {} : { rule_files: ['rules.yaml'] }),
    scrape_configs: jobs.map(({ name, targets, honorLabels = false }) => ({
      job_name: name,
      honor_labels: honorLabels,
      static_configs: targets.map(({ address, instance, path }) => ({ targets: [address], labels: { instance, ...(path === undefined ? {} : { __metrics_path__: path }) } })),
    })),
  }
  writeFileSync(join(folder, 'prometheus.yaml'), stringify(config))
  if (rules !== undefined) writeFileSync(join(folder, 'rules.yaml'), rules)
  const spot = await listen(() => {})
  await spot.close()
  const url = `http://127.0.0.1:${spot.port}`
  const child = spawn(findNeed('prometheus') ?? 'prometheus', [`--config.file=${join(folder, 'prometheus.yaml')}`, `--storage.tsdb.path=${join(folder, 'data')}`, `--web.listen-address=127.0.0.1:${spot.port}`, '--log.level=warn'], { stdio: ['ignore', 'pipe', 'pipe'] })
  let log = ''
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()))
  await ready(url, child, () => log)

  async function api(path: string, parameters: Record<string, string> = {}): Promise<unknown> {
    // POST: board queries can be longer than a URL may be.
    const response = await fetch(`${url}/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) })
    const reply = (await response.json()) as { status: string; data: unknown; error?: string }
    if (reply.status !== 'success') throw new Error(`${reply.error}: ${JSON.stringify(parameters)}`)
    return reply.data
  }
  async function get(path: string): Promise<unknown> {
    const reply = (await (await fetch(`${url}/api/v1/${path}`)).json()) as { status: string; data: unknown; error?: string }
    if (reply.status !== 'success') throw new Error(`${reply.error}: ${path}`)
    return reply.data
  }
  return {
    url,
    get,
    async query(expr, at) {
      const data = (await api('query', { query: expr, ...(at === undefined ? {} : { time: String(at) }) })) as { resultType: string; result: { metric: Record<string, string>; value: [number, string] }[] }
      return data.result.map(({ metric, value: [time, value] }) => ({ metric, values: [[time, Number(value.replace('Inf', 'Infinity'))]] }))
    },
    async range(expr, startS, endS, stepS) {
      const data = (await api('query_range', { query: expr, start: String(startS), end: String(endS), step: String(stepS) })) as { result: { metric: Record<string, string>; values: [number, string][] }[] }
      return data.result.map(({ metric, values }) => ({ metric, values: values.map(([time, value]) => [time, Number(value.replace('Inf', 'Infinity'))] as const) }))
    },
    labelValues: (label, match) => get(`label/${label}/values?match[]=${encodeURIComponent(match)}`) as Promise<string[]>,
    alerts: async () => ((await get('alerts')) as { alerts: FiringAlert[] }).alerts,
    async close() {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function ready(url: string, child: ChildProcess, log: () => string): Promise<void> {
  for (let i = 0; i < 300; i++) {
    if (child.exitCode !== null) throw new Error(`prometheus ended: ${log()}`)
    const there = await fetch(`${url}/-/ready`).then((response) => response.ok, () => false)
    if (there) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`prometheus did not become ready: ${log()}`)
}
