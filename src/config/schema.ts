/** What a configuration file may say. Unknown keys are refused: a typo must not pass for a default. */
import { z } from 'zod'

const name = z.string().min(1)
const port = z.int().min(0).max(65_535)
const positiveMs = z.number().positive()

const sloClass = z.strictObject({
  name,
  /** Smaller goes first. */
  priority: z.number().default(0),
  startMs: positiveMs.optional(),
  ttftMs: positiveMs.optional(),
  itlMs: positiveMs.optional(),
  e2eMs: positiveMs.optional(),
  quantile: z.number().gt(0).lt(1).default(0.95),
})

/** `cache`, or `cache: { … }`, or a module path with or without options. */
const plugin = z.union([name, z.record(name, z.unknown())], { error: 'expected a name, or one name with its options' })

const admin = z.strictObject({
  enabled: z.boolean().default(true),
  /** With a port: a listener of its own. Without: `/admin` on the main one, for this machine only. */
  port: port.optional(),
  host: name.default('127.0.0.1'),
  readOnly: z.boolean().default(false),
  /** The live page at `/flyball`, where the admin API is. It only shows. */
  console: z.boolean().default(true),
})

const gateway = z.strictObject({
  path: z.string().regex(/^\/[\w/-]*$/, 'expected a path such as /v1').default('/v1'),
  maxBodyBytes: z.int().min(1).optional(),
  maxDepth: z.int().min(1).optional(),
  trustHeaders: z.boolean().optional(),
  responseHeaders: z.boolean().optional(),
})

export const configSchema = z.strictObject({
  listen: z.strictObject({ host: name.default('127.0.0.1'), port: port.default(8080) }).prefault({}),
  admin: admin.prefault({}),
  gateway: gateway.prefault({}),
  /** By the name that metrics and decisions use. `type` names the kind; the rest are that kind's options. */
  backends: z.record(name, z.looseObject({ type: name })).refine((given) => Object.keys(given).length > 0, 'expected at least one backend'),
  /** The first listed is outermost. */
  plugins: z.array(plugin).default([]),
  classes: z.array(sloClass).min(1).optional(),
  defaultClass: name.optional(),
  /** Start values: `throttle.limit: 8`, or `cache.ttl_ms{class=faq}: 60000`. `FLYBALL_THROTTLE_LIMIT` goes over them. */
  knobs: z.record(name, z.number()).default({}),
  /** `on`: the loops turn knobs. `dry`: they decide and log. `off`: knobs stay where they are. */
  loops: z.enum(['on', 'dry', 'off']).default('on'),
  /** Measure what the loops bring: in this share of time the knobs hold their start values. */
  switchback: z.strictObject({ share: z.number().gt(0).max(0.5).default(0.1), blockMs: positiveMs.default(60_000), washoutMs: z.number().min(0).default(10_000) }).optional(),
  /** Keep what the loops have learned in this file, relative to the configuration. */
  stateFile: name.optional(),
  /** Secret behind the ids of tenants: `${TENANT_KEY}`. Without: drawn at start, and ids are others after a restart. */
  tenantKey: z.string().min(16).optional(),
  telemetry: z
    .strictObject({
      enabled: z.boolean().default(true),
      serviceName: name.optional(),
      /** Keep every error, slow call and move of a loop, and this share of other traces. Default: what `OTEL_*` says. */
      keep: z.strictObject({ share: z.number().min(0).max(1), slowMs: positiveMs.default(1_000) }).optional(),
    })
    .prefault({}),
  log: z.enum(['silent', 'error', 'warn', 'info', 'debug']).default('info'),
  /** On SIGTERM, longest wait for running calls, ms. */
  drainMs: positiveMs.default(30_000),
})

export type Config = z.output<typeof configSchema>
