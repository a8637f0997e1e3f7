/** The governor as users get it: the core, with its HTTP edges and function wrappers as methods. */
import { createGovernor as createCore } from './governor.ts'
import type { Governor as CoreGovernor, GovernorOptions } from './governor-contract.ts'
import type { BatchContext, FunctionContext } from './core/function-backend.ts'
import { admin, type AdminOptions } from './http/admin.ts'
import { mountConsole, type ConsoleOptions, type MountedConsole } from './http/console/console.ts'
import { createEdge } from './http/edge.ts'
import { errorHandler, type ErrorHandler } from './http/errors.ts'
import { gateway, type GatewayOptions } from './http/gateway.ts'
import { guard, type GuardOptions } from './http/guard.ts'
import { health } from './http/health.ts'
import type { HttpHandler } from './http/http-types.ts'
import { protocols } from './protocols/all.ts'
import { metricsHandler, type ScrapeSource } from './telemetry/metrics-handler.ts'
import { moveSpans } from './telemetry/move-spans.ts'
import { startedTelemetry } from './telemetry/start.ts'
import { wrap, wrapBatch, type Wrapped, type WrapOptions } from './wrap.ts'

export interface Governor extends CoreGovernor {
  /** For official clients: `app.use('/v1', governor.gateway())`. */
  gateway(options?: GatewayOptions): HttpHandler
  /** Around a handler of yours: `app.post('/predict', governor.guard({ operation: 'predict' }), handler)`. */
  guard(options: GuardOptions): HttpHandler
  /** `app.use('/admin', governor.admin())`: from this machine only, unless you give it a hook. */
  admin(options?: AdminOptions): HttpHandler
  /** `app.use('/flyball', governor.console())`: what the loops see, do and achieve, live. From this machine only, unless you give it a hook. */
  console(options?: ConsoleOptions): HttpHandler
  /** `app.get('/metrics', governor.metrics())`. Default source: the telemetry that `startTelemetry` started. */
  metrics(options?: { exporter?: ScrapeSource }): HttpHandler
  /** Last in the app: tells clients of your own routes when a wrapped function was shed, expired or failed. */
  errors(): ErrorHandler
  /** `app.use(governor.health())`: `/livez`, `/readyz`, `/startupz`. */
  health(): HttpHandler
  wrap<I, O>(name: string, fn: (input: I, context: FunctionContext) => O | Promise<O>, options?: WrapOptions<I>): Wrapped<I, O>
  /** Call it one by one, it runs in batches. */
  wrapBatch<I, O>(name: string, fn: (items: readonly I[], context: BatchContext) => Promise<readonly (O | Error)[]>, options?: WrapOptions<I>): Wrapped<I, O>
}

/** Throws a TypeError, in one clear line, for a configuration that cannot work. */
export function createGovernor(options: GovernorOptions = {}): Governor {
  const core = createCore(options)
  const edge = createEdge(core, options.tenantKey)
  const stopMoveSpans = moveSpans(core.decisions, options.tracer)
  const closeCore = core.close.bind(core)
  const consoles: MountedConsole[] = []
  const methods: Pick<Governor, Exclude<keyof Governor, keyof CoreGovernor> | 'close'> = {
    gateway: (gatewayOptions = {}) => gateway(edge, { ...gatewayOptions, protocols: gatewayOptions.protocols ?? protocols }),
    guard: (guardOptions) => guard(edge, guardOptions),
    admin: (adminOptions) => admin(core, adminOptions),
    console(consoleOptions) {
      const mounted = mountConsole(core, consoleOptions)
      consoles.push(mounted)
      return mounted.handler
    },
    metrics: (metricsOptions = {}) => metricsHandler(() => metricsOptions.exporter ?? startedTelemetry()?.exporter, core.clock),
    errors: () => errorHandler(),
    health: () => health(core),
    wrap: (name, fn, wrapOptions) => wrap(core, name, fn, wrapOptions),
    wrapBatch: (name, fn, wrapOptions) => wrapBatch(core, name, fn, wrapOptions),
    async close() {
      edge.close()
      for (const mounted of consoles) mounted.close()
      stopMoveSpans()
      await closeCore()
    },
  }
  // Onto the core itself: a spread would freeze its getters (`ready`).
  return Object.assign(core, methods)
}
