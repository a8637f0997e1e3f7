/** Who calls, and how much it matters: what a request's headers say, where they may be believed. */
import { hash } from 'node:crypto'
import { systemClock } from '../core/clock.ts'
import { FlyballError } from '../core/errors.ts'
import type { EdgeRequest } from './http-types.ts'

/** Calls without a credential share one tenant. */
export const ANONYMOUS = 'anonymous'

/** Where none is configured: nobody who sees an id can tell whether a guessed credential is behind it. */
export const DRAWN_TENANT_KEY = systemClock.id() + systemClock.id()
/** A shorter one could be guessed along with the credential. */
export const MIN_TENANT_KEY_LENGTH = 16

/**
 * A tenant is the keyed hash of the credential unless the host maps it: the credential itself is kept nowhere. All that a request
 * carries count, as all of them may go upstream: one that is the same for everybody must not make everybody one.
 */
export function credentialTenant(req: EdgeRequest, tenantKey: string): string {
  const { authorization, 'x-api-key': xApiKey, 'api-key': apiKey } = req.headers
  const credentials = [authorization, xApiKey, apiKey].filter((credential) => credential !== undefined)
  if (credentials.length === 0) return ANONYMOUS
  // One call into the hash: an HMAC costs several times as much, and what it is better at, a cut-off hash has no need of.
  return hash('sha256', `${tenantKey}\n${credentials.join('\n')}`, 'hex').slice(0, 32)
}

export interface CallerOptions {
  /** Whose request this is. Undefined: a keyed hash of its credentials; who may make those up may make up tenants, each with a fair share. */
  tenant?: (req: EdgeRequest) => string | undefined
  /** SLO class by name. Undefined: a trusted header, else the governor's default. */
  class?: (req: EdgeRequest) => string | undefined
  /** Smaller goes first. Undefined: a trusted header, else the class's. */
  priority?: (req: EdgeRequest) => number | undefined
  /**
   * Believe `x-flyball-tenant`, `x-flyball-class` and `x-flyball-priority`. Default: no, or any client could go first. A
   * function decides per request: by socket address, or by a credential of your own front end.
   */
  trustHeaders?: boolean | ((req: EdgeRequest) => boolean)
}

export interface Caller {
  tenant: string
  class?: string
  priority?: number
  /** From `x-flyball-timeout-ms`: counts from the arrival of the head. Anybody may shorten their own wait. */
  timeoutMs?: number
  /** How often it was sent before, as the official SDKs of OpenAI and Anthropic say. Nobody gains by more. */
  retries?: number
}

export function callerOf(req: EdgeRequest, options: CallerOptions, tenantKey: string): Caller {
  const { headers } = req
  const trusted = typeof options.trustHeaders === 'function' ? options.trustHeaders(req) : options.trustHeaders === true
  const caller: Caller = { tenant: options.tenant?.(req) ?? (trusted ? single(headers['x-flyball-tenant']) : undefined) ?? credentialTenant(req, tenantKey) }
  const className = options.class?.(req) ?? (trusted ? single(headers['x-flyball-class']) : undefined)
  if (className !== undefined) caller.class = className
  const priority = options.priority?.(req) ?? (trusted ? numeric('x-flyball-priority', headers['x-flyball-priority']) : undefined)
  if (priority !== undefined) caller.priority = priority
  const timeoutMs = numeric('x-flyball-timeout-ms', headers['x-flyball-timeout-ms'])
  if (timeoutMs !== undefined) caller.timeoutMs = Math.max(0, timeoutMs)
  // Not ours to be strict about.
  const retries = Number(single(headers['x-stainless-retry-count']))
  if (retries > 0) caller.retries = retries
  return caller
}

const single = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value)

function numeric(name: string, value: string | string[] | undefined): number | undefined {
  const text = single(value)
  if (text === undefined || text === '') return undefined
  const number = Number(text)
  if (!Number.isFinite(number)) throw new FlyballError('invalid_request', { message: `Expected a number in the header ${name}.`, param: name })
  return number
}
