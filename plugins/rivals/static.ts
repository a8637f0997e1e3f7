/** Fixed numbers: no control (all of them large), and the grid from which the best in hindsight is picked. */
import { z } from 'zod'
import { definePlugin, FlyballError, type LanePolicy } from '../../src/index.ts'

const options = z.strictObject({
  limit: z.number().min(1).optional(),
  batch: z.int().min(1).optional(),
  delayMs: z.number().min(0).default(0),
  /** Longest queue, calls. */
  queue: z.int().min(0).optional(),
})

export const fixed = definePlugin({
  name: 'static',
  phase: 'lane',
  doc: 'Static limit, batch size, delay and queue length.',
  options,
  create(_, { limit, batch, delayMs, queue }) {
    return {
      forLane: (lane): LanePolicy => ({
        name: 'static',
        ...(limit === undefined ? {} : { limit: () => limit }),
        ...(batch === undefined ? {} : { group: () => ({ maxCalls: batch, maxWork: Number.POSITIVE_INFINITY, holdMs: delayMs }) }),
        ...(queue === undefined ? {} : { admit: () => (lane.waiting >= queue ? new FlyballError('queue_full') : undefined) }),
      }),
    }
  },
})
