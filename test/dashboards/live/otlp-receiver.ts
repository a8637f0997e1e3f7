/**
 * An OTLP receiver as far as a test needs one, where Prometheus has none (before 2.47, and Debian's): takes what a real
 * exporter pushes (HTTP, protobuf) and serves it as a page to scrape. Names come from what is on the wire (name, unit, kind);
 * job and instance from the resource, as Prometheus's own receiver takes them.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { gunzipSync } from 'node:zlib'
import { metricName } from '../../../dashboards/naming.ts'
import { listen, type Listening } from '../../support/listen.ts'

export interface OtlpReceiver {
  /** For `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`. */
  readonly endpoint: string
  /** `host:port` of the page; scrape it with honor_labels. */
  readonly address: string
  page(): string
  close(): Promise<void>
}

export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  // By resource: a newer export replaces the older one of the same process.
  const pages = new Map<string, string>()
  const page = (): string => [...pages.values()].join('')
  const server: Listening = await listen((req, res) => {
    if (req.method === 'POST') return void take(req, res)
    res.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
    res.end(page())
  })
  async function take(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks)
    for (const resource of exported(req.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body)) pages.set(JSON.stringify(resource.attributes), textOf(resource))
    res.writeHead(200, { 'content-type': 'application/x-protobuf' })
    res.end()
  }
  return { endpoint: `${server.url}/v1/metrics`, address: server.url.replace('http://', ''), page, close: () => server.close() }
}

type Attributes = Readonly<Record<string, string>>
type Point = { readonly attributes: Attributes } & ({ readonly value: number } | { readonly count: number; readonly sum: number; readonly buckets: readonly number[]; readonly bounds: readonly number[] })
interface ExportedMetric {
  readonly name: string
  readonly doc: string
  readonly unit: string
  readonly kind: 'counter' | 'up_down_counter' | 'gauge' | 'histogram'
  readonly points: readonly Point[]
}
interface Exported {
  readonly attributes: Attributes
  readonly metrics: readonly ExportedMetric[]
}

const TYPES = { counter: 'counter', up_down_counter: 'gauge', gauge: 'gauge', histogram: 'histogram' } as const

function textOf({ attributes, metrics }: Exported): string {
  const namespace = attributes['service.namespace']
  const target: Attributes = { job: `${namespace === undefined ? '' : `${namespace}/`}${attributes['service.name']}`, instance: attributes['service.instance.id'] ?? '' }
  const lines: string[] = []
  for (const metric of metrics) {
    const name = metricName(metric, 'otlp')
    lines.push(`# HELP ${name} ${metric.doc.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`, `# TYPE ${name} ${TYPES[metric.kind]}`)
    for (const point of metric.points) {
      const labels = { ...point.attributes, ...target }
      if ('value' in point) lines.push(`${name}${labelText(labels)} ${point.value}`)
      else {
        let below = 0
        point.buckets.forEach((count, i) => {
          below += count
          lines.push(`${name}_bucket${labelText({ ...labels, le: String(point.bounds[i] ?? '+Inf') })} ${below}`)
        })
        lines.push(`${name}_sum${labelText(labels)} ${point.sum}`, `${name}_count${labelText(labels)} ${point.count}`)
      }
    }
  }
  return `${lines.join('\n')}\n`
}

const labelText = (labels: Attributes): string => `{${Object.entries(labels).map(([name, value]) => `${name.replace(/\W/g, '_')}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`).join(',')}}`

// Field numbers as in opentelemetry/proto/metrics/v1/metrics.proto.

function exported(body: Buffer): Exported[] {
  return read(body).all(1).map((bytes) => {
    const resource = read(bytes)
    return {
      attributes: attributesOf(read(resource.one(1)), 1),
      metrics: resource.all(2).flatMap((scope) => read(scope).all(2)).map(metricOf),
    }
  })
}

function metricOf(bytes: Buffer): ExportedMetric {
  const metric = read(bytes)
  const named = { name: metric.text(1), doc: metric.text(2), unit: metric.text(3) }
  const [gauge, sum, histogram] = [metric.all(5)[0], metric.all(7)[0], metric.all(9)[0]]
  if (gauge) return { ...named, kind: 'gauge', points: read(gauge).all(1).map(numberPoint) }
  if (sum) {
    const { all, number } = read(sum)
    if (number(2) !== CUMULATIVE) throw new Error(`${named.name}: Prometheus takes cumulative sums only`)
    return { ...named, kind: number(3) === 1 ? 'counter' : 'up_down_counter', points: all(1).map(numberPoint) }
  }
  if (!histogram) throw new Error(`${named.name}: of a kind that is not known here`)
  return { ...named, kind: 'histogram', points: read(histogram).all(1).map(histogramPoint) }
}

const CUMULATIVE = 2

function numberPoint(bytes: Buffer): Point {
  const point = read(bytes)
  const [double, int] = [point.all(4)[0], point.all(6)[0]]
  return { attributes: attributesOf(point, 7), value: double ? double.readDoubleLE() : int ? Number(int.readBigInt64LE()) : 0 }
}

function histogramPoint(bytes: Buffer): Point {
  const point = read(bytes)
  const packed = <T>(field: number, each: (at: Buffer) => T): T[] => point.all(field).flatMap((run) => Array.from({ length: run.length / 8 }, (_, i) => each(run.subarray(i * 8))))
  const fixed = (at: Buffer): number => Number(at.readBigUInt64LE())
  return { attributes: attributesOf(point, 9), count: fixed(point.one(4)), sum: point.one(5).readDoubleLE(), buckets: packed(6, fixed), bounds: packed(7, (at) => at.readDoubleLE()) }
}

function attributesOf(message: Message, field: number): Attributes {
  return Object.fromEntries(message.all(field).map((bytes) => {
    const pair = read(bytes)
    return [pair.text(1), read(pair.one(2)).text(1)]
  }))
}

interface Message {
  all(field: number): Buffer[]
  /** Empty when it is not there. */
  one(field: number): Buffer
  text(field: number): string
  /** Of a varint field; 0 when it is not there. */
  number(field: number): number
}

/** Protobuf's wire format: each field's number, its kind, its bytes. */
function read(bytes: Buffer): Message {
  const fields = new Map<number, Buffer[]>()
  const varints = new Map<number, number>()
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++] as number
      value += (byte & 127) * factor
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const tag = varint()
    const [field, kind] = [tag >>> 3, tag & 7]
    if (kind === 0) {
      varints.set(field, varint())
      continue
    }
    const length = kind === 1 ? 8 : kind === 5 ? 4 : kind === 2 ? varint() : Number.NaN
    if (!(at + length <= bytes.length)) throw new Error(`not protobuf: field ${field} of kind ${kind} at ${at}`)
    const list = fields.get(field) ?? []
    list.push(bytes.subarray(at, at + length))
    fields.set(field, list)
    at += length
  }
  const all = (field: number): Buffer[] => fields.get(field) ?? []
  const one = (field: number): Buffer => all(field).at(-1) ?? Buffer.alloc(0)
  return { all, one, text: (field) => one(field).toString(), number: (field) => varints.get(field) ?? 0 }
}
