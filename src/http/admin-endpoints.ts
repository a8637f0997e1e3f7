/** The admin API, endpoint by endpoint: what it takes, what it does. The OpenAPI document derives from these records. */
import { z, type ZodType } from 'zod'
import { FlyballError } from '../core/errors.ts'
import type { Governor } from '../governor-contract.ts'
import type { DecisionRecord } from '../control/decision-log.ts'
import { adminState, knobState, knobStates } from './admin-state.ts'

export interface AdminRequest<P, Q, B> {
  readonly params: P
  readonly query: Q
  readonly body: B
}

export interface AdminEndpoint {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  /** `{name}` stands for one segment. */
  readonly path: string
  readonly summary: string
  readonly params?: ZodType
  readonly query?: ZodType
  readonly body?: ZodType
  /** What comes back, for the document. */
  readonly returns: string
  handle(governor: Governor, request: AdminRequest<unknown, unknown, unknown>): unknown
}

/** Keeps each endpoint's own types while the table forgets them. */
function endpoint<P = undefined, Q = undefined, B = undefined>(spec: {
  method: AdminEndpoint['method']
  path: string
  summary: string
  params?: ZodType<P>
  query?: ZodType<Q>
  body?: ZodType<B>
  returns: string
  handle(governor: Governor, request: AdminRequest<P, Q, B>): unknown
}): AdminEndpoint {
  return spec as unknown as AdminEndpoint
}

const name = z.string().min(1).max(200)
const scope = z.strictObject({ backend: name.optional(), model: name.optional(), class: name.optional() })
const knobName = z.strictObject({ name })
/** A pin that outlives the week was forgotten. */
const MAX_PIN_MS = 7 * 24 * 3_600_000

export const ADMIN_ENDPOINTS: readonly AdminEndpoint[] = [
  endpoint({
    method: 'GET',
    path: '/state',
    summary: 'Everything declared (knobs, signals, controllers, instruments, plugins, backends) and its value now.',
    returns: 'The state.',
    handle: (governor) => adminState(governor),
  }),
  endpoint({
    method: 'GET',
    path: '/decisions',
    summary: 'What the loops decided and why, newest first.',
    query: z.strictObject({ limit: z.coerce.number().int().min(1).max(1_000).default(100), controller: name.optional(), inputs: z.enum(['true', 'false']).default('false') }),
    returns: 'Decision records; with `inputs=true` also everything that each decision was made from.',
    handle: (governor, { query }) => ({
      total: governor.decisions.total,
      decisions: governor.decisions.recent(query.limit, (record) => query.controller === undefined || record.controller === query.controller).map((record) => (query.inputs === 'true' ? record : withoutInputs(record))),
    }),
  }),
  endpoint({ method: 'GET', path: '/knobs', summary: 'All knobs with their bounds, layers and pins.', returns: 'Knobs.', handle: (governor) => ({ knobs: knobStates(governor) }) }),
  endpoint({
    method: 'GET',
    path: '/knobs/{name}',
    summary: 'One knob.',
    params: knobName,
    returns: 'The knob.',
    handle: (governor, { params }) => knobState(governor, knobCalled(governor, params.name)),
  }),
  endpoint({
    method: 'PUT',
    path: '/knobs/{name}/pin',
    summary: 'Holds a knob at a value: wins over loops, experiments and fallback until it expires or is unpinned.',
    params: knobName,
    body: z.strictObject({ value: z.number(), scope: scope.default({}), forMs: z.number().int().min(1).max(MAX_PIN_MS).optional() }),
    returns: 'The knob.',
    handle(governor, { params, body }) {
      const knob = knobCalled(governor, params.name)
      try {
        governor.knobs.pin(params.name, withoutUndefined(body.scope), body.value, body.forMs)
      } catch (thrown) {
        if (thrown instanceof RangeError) throw new FlyballError('invalid_request', { message: thrown.message, param: 'value' })
        throw thrown
      }
      governor.log.info({ knob: params.name, scope: body.scope, value: body.value, forMs: body.forMs }, 'a knob was pinned')
      return knobState(governor, knob)
    },
  }),
  endpoint({
    method: 'DELETE',
    path: '/knobs/{name}/pin',
    summary: 'Gives a pinned knob back to the loops.',
    params: knobName,
    query: scope,
    returns: 'The knob.',
    handle(governor, { params, query }) {
      const knob = knobCalled(governor, params.name)
      if (!governor.knobs.unpin(params.name, withoutUndefined(query))) throw new FlyballError('not_found', { message: `${params.name} is not pinned in this scope.` })
      governor.log.info({ knob: params.name, scope: query }, 'a knob was unpinned')
      return knobState(governor, knob)
    },
  }),
  endpoint({ method: 'GET', path: '/commands', summary: 'The verbs that plugins offer.', returns: 'Names for `POST /commands/{name}`.', handle: (governor) => ({ commands: governor.commands() }) }),
  endpoint({
    method: 'POST',
    path: '/commands/{name}',
    summary: 'Runs a plugin’s verb, such as `cache.purge`; the plugin checks the arguments.',
    params: knobName,
    body: z.unknown(),
    returns: 'What the plugin answers.',
    handle: async (governor, { params, body }) => ({ result: (await governor.command(params.name, body)) ?? null }),
  }),
  endpoint({
    method: 'POST',
    path: '/drain',
    summary: 'Refuses new calls from now on; running ones finish. There is no way back.',
    returns: '`draining: true`, at once.',
    handle(governor) {
      void governor.drain()
      return { draining: true }
    },
  }),
]

function knobCalled(governor: Governor, called: string) {
  if (!governor.knobs.has(called)) throw new FlyballError('not_found', { message: 'There is no such knob.' })
  return governor.knobs.get(called)
}

function withoutInputs({ input: _input, stateBefore: _stateBefore, ...rest }: DecisionRecord): unknown {
  return rest
}

function withoutUndefined(given: { backend?: string | undefined; model?: string | undefined; class?: string | undefined }): { backend?: string; model?: string; class?: string } {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}
