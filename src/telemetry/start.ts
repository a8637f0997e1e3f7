/** An OpenTelemetry SDK for those who have none. A host with an SDK of its own does not need this file. */
import type { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import type { NodeSDKConfiguration } from '@opentelemetry/sdk-node'

export interface TelemetryOptions {
  /** `service.name`. Default: `OTEL_SERVICE_NAME`, else `flyball`. */
  serviceName?: string
  /** Where finished spans go, beside what `OTEL_*` says. */
  spanProcessors?: NonNullable<NodeSDKConfiguration['spanProcessors']>
  sampler?: NodeSDKConfiguration['sampler']
  /** Where `OTEL_*` is looked up to decide what to export. Default: `process.env` (which the SDK itself reads, too). */
  env?: Readonly<Record<string, string | undefined>>
}

export interface Telemetry {
  /** What `/metrics` reads. */
  readonly exporter: PrometheusExporter
  /** Sends what is still held, and stops. */
  shutdown(): Promise<void>
}

let running: Telemetry | undefined

/** The telemetry of this process, if `startTelemetry` started it. */
export const startedTelemetry = (): Telemetry | undefined => running

/**
 * Metrics for `/metrics`; spans and metrics to an OTLP collector when `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_TRACES_EXPORTER`,
 * `OTEL_METRICS_EXPORTER`) says so; W3C trace context. **Await it before `createGovernor`**: OpenTelemetry's metrics API has
 * no proxies, so a meter that is asked for earlier counts nothing, for ever. Throws when it is running already.
 */
export async function startTelemetry(options: TelemetryOptions = {}): Promise<Telemetry> {
  if (running) throw new TypeError('startTelemetry: it is running already; one process has one SDK')
  const env = options.env ?? process.env
  // Loaded on demand: together they take a third of a second.
  const [{ NodeSDK }, { PrometheusExporter }, { envDetector }] = await Promise.all([import('@opentelemetry/sdk-node'), import('@opentelemetry/exporter-prometheus'), import('@opentelemetry/resources')])
  const exporter = new PrometheusExporter({ preventServerStart: true, withoutScopeInfo: true, withoutTargetInfo: true })
  const serviceName = options.serviceName ?? (env['OTEL_SERVICE_NAME'] ? undefined : 'flyball')
  const sdk = new NodeSDK({
    // In 0.301 the singular `metricReader` is ignored without a word.
    metricReaders: [exporter],
    // Only what the environment says: the process detector would publish command line, owner and host.
    resourceDetectors: [envDetector],
    // Left to itself the SDK sends to localhost:4318, whether anybody listens or not.
    logRecordProcessors: [],
    ...(serviceName === undefined ? {} : { serviceName }),
    ...(options.sampler ? { sampler: options.sampler } : {}),
    ...(options.spanProcessors || !exportsOtlp(env, 'TRACES') ? { spanProcessors: options.spanProcessors ?? [] } : {}),
  })
  sdk.start()
  running = {
    exporter,
    async shutdown() {
      running = undefined
      await sdk.shutdown()
    },
  }
  return running
}

/** Whether the environment asks for a signal to be sent to a collector. */
function exportsOtlp(env: Readonly<Record<string, string | undefined>>, signal: 'TRACES' | 'METRICS'): boolean {
  const exporter = env[`OTEL_${signal}_EXPORTER`]
  if (exporter) return exporter !== 'none'
  return Boolean(env['OTEL_EXPORTER_OTLP_ENDPOINT'] || env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`])
}
