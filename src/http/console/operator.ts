/** What may be changed from the page, by whom: the token, the origin, and four verbs. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { z, type ZodType } from 'zod'
import { FlyballError } from '../../core/errors.ts'
import { describeIssues } from '../../core/validation.ts'
import type { Governor } from '../../governor-contract.ts'
import type { EdgeRequest } from '../http-types.ts'
import { jsonBody } from '../json-body.ts'

/** A demo whose load the page may switch. */
export interface ConsoleDemo {
  readonly phases: readonly { readonly name: string; readonly doc: string }[]
  /** The phase that is on, and whether it stays. */
  current(): { readonly name: string; readonly held: boolean } | undefined
  /** Stay in this phase; undefined: go round. */
  hold(name: string | undefined): void
}

export const MIN_TOKEN_CHARS = 16
const BODY_LIMITS = { maxBytes: 4_096, maxDepth: 4 }
/** A pin that outlives the week was forgotten. */
const MAX_PIN_MS = 7 * 24 * 3_600_000
const text = z.string().min(1).max(300)
const target = { knob: text, key: z.string().max(300) }

export interface OperatorOptions {
  adminToken?: string
  demo?: () => ConsoleDemo | undefined
}

export interface Operator {
  /** Answers `POST api/VERB`; rejects with a `FlyballError`. */
  handle(verb: string, req: EdgeRequest): Promise<unknown>
}

interface Verb {
  readonly open: boolean
  readonly body: ZodType
  run(body: unknown): unknown
}

export function createOperator(governor: Governor, { adminToken, demo = () => undefined }: OperatorOptions): Operator {
  const expected = adminToken === undefined ? undefined : digest(adminToken)
  const verb = <B>(open: boolean, body: ZodType<B>, run: (body: B) => unknown): Verb => ({ open, body, run: run as Verb['run'] })

  const verbs: Record<string, Verb> = {
    /** Is the token right? */
    check: verb(false, z.strictObject({}), () => ({})),
    pin: verb(false, z.strictObject({ ...target, value: z.number(), forMs: z.int().min(1_000).max(MAX_PIN_MS).optional() }), ({ knob, key, value, forMs }) => {
      try {
        governor.knobs.pin(knob, instanceOf(knob, key).scope, value, forMs)
      } catch (thrown) {
        if (thrown instanceof RangeError) throw new FlyballError('invalid_request', { message: thrown.message, param: 'value' })
        throw thrown
      }
      governor.log.info({ knob, scope: key, value, forMs }, 'a knob was pinned from the console')
      return {}
    }),
    unpin: verb(false, z.strictObject(target), ({ knob, key }) => {
      if (!governor.knobs.unpin(knob, instanceOf(knob, key).scope)) throw new FlyballError('not_found', { message: `${knob} is not pinned there.` })
      governor.log.info({ knob, scope: key }, 'a knob was unpinned from the console')
      return {}
    }),
    'dry-run': verb(false, z.strictObject({ on: z.boolean() }), ({ on }) => {
      governor.loop.dryRun = on
      governor.log.info({ dryRun: on }, 'dry run was switched from the console')
      return {}
    }),
    // A demo's load is nobody's production: whoever may look may switch it.
    demo: verb(true, z.strictObject({ phase: text.nullable() }), ({ phase }) => {
      const running = demo()
      if (!running) throw new FlyballError('not_found', { message: 'There is no demo load here.' })
      if (phase !== null && !running.phases.some(({ name }) => name === phase)) throw new FlyballError('invalid_request', { message: 'There is no such phase.', param: 'phase' })
      running.hold(phase ?? undefined)
      return {}
    }),
  }

  function instanceOf(name: string, key: string) {
    if (!governor.knobs.has(name)) throw new FlyballError('not_found', { message: 'There is no such knob.' })
    for (const instance of governor.knobs.get(name).instances()) if (instance.key === key) return instance
    throw new FlyballError('not_found', { message: 'The knob has no such instance.' })
  }

  return {
    async handle(name, req) {
      const found = Object.hasOwn(verbs, name) ? verbs[name] : undefined
      if (!found) throw new FlyballError('not_found')
      if (req.method !== 'POST') throw new FlyballError('method_not_allowed')
      if (!isSameOrigin(req)) throw new FlyballError('forbidden', { message: 'Changes must come from the console’s own page (Origin).' })
      if (!found.open) checkToken(req)
      const parsed = found.body.safeParse((await jsonBody(req, BODY_LIMITS)).value)
      if (!parsed.success) throw new FlyballError('invalid_request', { message: describeIssues(parsed.error) })
      return found.run(parsed.data)
    },
  }

  function checkToken(req: EdgeRequest): void {
    if (!expected) throw new FlyballError('forbidden', { message: 'The console is read-only here: it was given no admin token.' })
    const given = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1]
    if (given === undefined || !timingSafeEqual(digest(given), expected)) throw new FlyballError('unauthorized', { message: 'The admin token is missing or wrong.' })
  }
}

/** Digests have one length, so that the comparison tells nothing of the token's. */
const digest = (token: string): Buffer => createHash('sha256').update(token).digest()

/** Browsers send `Origin` with every POST and let no page forge it. A proxy that changes `Host` must keep it in step. */
function isSameOrigin(req: EdgeRequest): boolean {
  const { origin, host } = req.headers
  if (origin === undefined || host === undefined) return false
  try {
    return new URL(origin).host === host.toLowerCase()
  } catch {
    return false
  }
}
