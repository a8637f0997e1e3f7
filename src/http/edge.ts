/** What all HTTP edges of one governor share. */
import type { Governor } from '../governor-contract.ts'
import { instrument, label } from '../telemetry/instrument-spec.ts'
import type { CounterHandle } from '../telemetry/instruments.ts'
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
  readonly refused: CounterHandle<'code'>
  close(): void
}

export function createEdge(governor: Governor): Edge {
  const received = receivedAt(governor.clock)
  return { governor, received, refused: governor.instruments.counter(HTTP_INSTRUMENTS.refused), close: () => received.stop() }
}
