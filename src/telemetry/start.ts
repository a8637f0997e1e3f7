/** An OpenTelemetry SDK for those who have none. A host with an SDK of its own does not need this file. */
import { context, metrics, propagation, trace } from '@opentelemetry/api'
import type { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import type { NodeSDKConfiguration } from '@opentelemetry/sdk-node'
import type { MetricProducer } from '@opentelemetry/sdk-metrics'
import type { SpanProcessor } from '@opentelemetry/sdk-trace'
import { systemClock } from '../core/clock.ts'
import { KeepProcessor } from './keep-processor.ts'
import { KeptHistograms } from './kept-histograms.ts'

export interface TelemetryOptions {
  /** `service.name`. Default: `OTEL_SERVICE_NAME`, else `flyball`. */
  serviceName?: string
  /** Where finished spans go, beside the collector that `OTEL_*` names. */
  spanProcessors?: readonly SpanProcessor[]
  /** Default: what `OTEL_TRACES_SAMPLER` says, else every trace. Not together with `keep`. */
  sampler?: NodeSDKConfiguration['sampler']
  /**
   * Keep every trace with an error, every call of at least `slowMs` (default 1,000) and every move of a loop, and of the
   * rest this share (0-1; a client's own decision comes first).
   */
  keep?: { share: number; slowMs?: number }
  /** Where `OTEL_*` is looked up to decide what to export. Default: `process.env` (which the SDK itself reads, too). */
  env?: Readonly<Record<string, string | undefined>>
}

export interface Telemetry {
  /** What `/metrics` reads. */
  readonly exporter: PrometheusExporter
  /** Where governors count their histograms; undefined: through the meter, for a collector that wants differences. */
  readonly histograms: KeptHistograms | undefined
  /** Sends what is still held, and stops. */
  shutdown(): Promise<void>
}

let running: Telemetry | undefined

/** The telemetry of this process, if `startTelemetry` started it. */
export const startedTelemetry = (): Telemetry | undefined => running

/**
 * Metrics for `/metrics`; spans and metrics to a collector over OTLP (HTTP, protobuf) when `OTEL_EXPORTER_OTLP_ENDPOINT`
 * or its per-signal variables say so; W3C trace context. **Await it before `createGovernor`**: OpenTelemetry's metrics API
 * has no proxies, so a meter that is asked for earlier counts nothing, for ever. Throws when it is running already.
 */
export async function startTelemetry(options: TelemetryOptions = {}): Promise<Telemetry> {
  if (running) throw new TypeError('startTelemetry: it is running already; one process has one SDK')
  if (options.keep && options.sampler) throw new TypeError('startTelemetry: expected keep or sampler, got both')
  const env = options.env ?? process.env
  // Loaded on demand: together they take a third of a second.
  const [{ NodeSDK }, { PrometheusExporter }, { envDetector, serviceInstanceIdDetector }, { histogramProducer }] = await Promise.all([import('@opentelemetry/sdk-node'), import('@opentelemetry/exporter-prometheus'), import('@opentelemetry/resources'), import('./histogram-producer.ts')])
  const histograms = wantsDifferences(env) ? undefined : new KeptHistograms(systemClock.wallMs)
  const metricProducers = histograms ? [histogramProducer(histograms, 'flyball', systemClock.wallMs)] : []
  const exporter = new PrometheusExporter({ preventServerStart: true, withoutScopeInfo: true, withoutTargetInfo: true, metricProducers })
  const serviceName = options.serviceName ?? (env['OTEL_SERVICE_NAME'] ? undefined : 'flyball')
  const sdk = new NodeSDK({
    // In 0.301 the singular `metricReader` is ignored without a word.
    metricReaders: [exporter, ...(exportsOtlp(env, 'METRICS') ? [await otlpMetrics(env, metricProducers)] : [])],
    // An instance id of its own, or OTLP receivers give no `instance` label, and boards that tell instances apart stay
    // empty; what the environment says wins. Not the process detector: it would publish command line, owner and host.
    resourceDetectors: [serviceInstanceIdDetector, envDetector],
    // Left to itself the SDK sends to localhost:4318, whether anybody listens or not.
    logRecordProcessors: [],
    ...(serviceName === undefined ? {} : { serviceName }),
    ...(await tracing(options, env)),
  })
  sdk.start()
  running = {
    exporter,
    histograms,
    async shutdown() {
      running = undefined
      await sdk.shutdown()
      // The API keeps the first providers that it is given: a later start would count into dead ones.
      for (const api of [trace, metrics, context, propagation]) api.disable()
    },
  }
  return running
}

async function tracing(options: TelemetryOptions, env: Environment): Promise<Pick<Partial<NodeSDKConfiguration>, 'spanProcessors' | 'sampler'>> {
  const { BatchSpanProcessor, ParentBasedSampler, TraceIdRatioBasedSampler, createAlwaysRecordSampler } = await import('@opentelemetry/sdk-trace')
  const processors: SpanProcessor[] = [...(options.spanProcessors ?? [])]
  if (exportsOtlp(env, 'TRACES')) {
    const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto')
    processors.push(new BatchSpanProcessor({ exporter: new OTLPTraceExporter() }))
  }
  const { keep, sampler } = options
  if (!keep || processors.length === 0) return { spanProcessors: processors, ...(sampler ? { sampler } : {}) }
  return {
    spanProcessors: [new KeepProcessor(processors, { slowMs: keep.slowMs ?? 1_000 })],
    sampler: createAlwaysRecordSampler(new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(keep.share) })),
  }
}

/** Every minute, or as `OTEL_METRIC_EXPORT_INTERVAL` says. */
async function otlpMetrics(env: Environment, metricProducers: MetricProducer[]): Promise<NonNullable<NodeSDKConfiguration['metricReaders']>[number]> {
  const [{ PeriodicExportingMetricReader }, { OTLPMetricExporter }] = await Promise.all([import('@opentelemetry/sdk-metrics'), import('@opentelemetry/exporter-metrics-otlp-proto')])
  const intervalMs = Number(env['OTEL_METRIC_EXPORT_INTERVAL'] || 60_000)
  return new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter(), metricProducers, exportIntervalMillis: intervalMs, exportTimeoutMillis: Math.min(30_000, intervalMs) })
}

type Environment = Readonly<Record<string, string | undefined>>

/** What we keep ourselves only ever grows. */
function wantsDifferences(env: Environment): boolean {
  return exportsOtlp(env, 'METRICS') && /^(delta|lowmemory)$/i.test(env['OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE'] ?? '')
}

/** Whether the environment asks for a signal to be sent to a collector. */
function exportsOtlp(env: Environment, signal: 'TRACES' | 'METRICS'): boolean {
  if (env['OTEL_SDK_DISABLED'] === 'true') return false
  const exporter = env[`OTEL_${signal}_EXPORTER`]
  if (exporter) return exporter.split(',').includes('otlp')
  return Boolean(env['OTEL_EXPORTER_OTLP_ENDPOINT'] || env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`])
}
