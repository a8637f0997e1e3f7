/** What all HTTP edges of one governor share. */
import type { Governor } from '../governor-contract.ts'
import { instrument, label } from '../telemetry/instrument-spec.ts'
import type { CounterHandle } from '../telemetry/instruments.ts'
import { DRAWN_TENANT_KEY, MIN_TENANT_KEY_LENGTH } from './caller.ts'
import { receivedAt, type ReceivedAt } from './received-at.ts'

export const HTTP_INSTRUMENTS = {
  refused: instrument({
    name: 'flyball.http_refused',
    kind: 'counter',
    unit: '{request}',
    doc: 'Requests that were refused before they became a call: bad bodies, unknown addresses.',
    labels: { code: label('Error code of the catalogue.', 32) },
  }),
} as const

export interface Edge {
  readonly governor: Governor
  readonly received: ReceivedAt
  readonly tenantKey: string
  readonly refused: CounterHandle<'code'>
  close(): void
}

/** Throws a TypeError for a key that protects nothing. */
export function createEdge(governor: Governor, tenantKey = DRAWN_TENANT_KEY): Edge {
  if (tenantKey.length < MIN_TENANT_KEY_LENGTH) throw new TypeError(`tenantKey: expected at least ${MIN_TENANT_KEY_LENGTH} characters, got ${tenantKey.length}`)
  const received = receivedAt(governor.clock)
  return { governor, received, tenantKey, refused: governor.instruments.counter(HTTP_INSTRUMENTS.refused), close: () => received.stop() }
}
