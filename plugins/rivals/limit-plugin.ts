/** A limiter as a lane policy: its limit, and what becomes of calls above it. */
import { z } from 'zod'
import { definePlugin, FlyballError, type Call, type LanePolicy, type LaneView, type PluginFactory } from '../../src/index.ts'
import type { Limiter } from './limits/limiter.ts'

const options = z.strictObject({
  /** Calls that may wait, as a multiple of the limit; 0: turned away at once, as these libraries do. */
  queue: z.number().min(0).default(0),
})

export interface LimitRivalOptions {
  readonly queue?: number
}

const DROPPED = /^(upstream_(429|503|529)|upstream_timeout|in_band_429)$/

export function limitPlugin(name: string, doc: string, make: () => Limiter, share?: (lane: LaneView, limit: number) => number): PluginFactory<LimitRivalOptions> {
  return definePlugin({
    name,
    phase: 'lane',
    doc,
    options,
    create(host, settings) {
      return {
        forLane(lane): LanePolicy {
          const limiter = make()
          const inFlightAt = new WeakMap<Call, number>()
          return {
            name,
            limit: () => limiter.limit,
            admit() {
              const limit = Math.max(1, Math.floor(limiter.limit))
              if (share) return host.clock.random() < share(lane, limit) ? new FlyballError('overloaded', { reason: 'limit' }) : undefined
              if (lane.inFlight + lane.waiting < limit * (1 + settings.queue)) return undefined
              return new FlyballError('overloaded', { reason: 'limit' })
            },
            onDispatch(batch) {
              for (const call of batch.calls) inFlightAt.set(call, lane.inFlight)
            },
            onSettle(call, settlement, batch) {
              const endMs = settlement.timings.endMs ?? host.clock.monoMs()
              if (settlement.outcome === 'cancelled') return
              limiter.update({ rttMs: endMs - batch.dispatchedMs, inFlight: inFlightAt.get(call) ?? lane.inFlight, dropped: settlement.outcome !== 'ok' && DROPPED.test(settlement.reason ?? ''), nowMs: host.clock.monoMs() })
            },
          }
        },
      }
    },
  }) as PluginFactory<LimitRivalOptions>
}
