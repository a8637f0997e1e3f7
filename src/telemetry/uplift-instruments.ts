/** What a switchback experiment has found, as instruments: collected from its own estimate, which accounts for carry-over. */
import type { Interval } from '../control/paired-uplift.ts'
import type { Uplift } from '../control/switchback.ts'
import { instrument, label } from './instrument-spec.ts'
import type { InstrumentSet } from './instruments.ts'

const MEASURES = ['attainment', 'goodput', 'latency', 'cost'] as const
const BOUNDS = ['mean', 'low', 'high'] as const

export const UPLIFT_INSTRUMENTS = {
  uplift: instrument({
    name: 'flyball.uplift',
    kind: 'gauge',
    unit: '1',
    doc: 'Governed less static, mean of paired blocks with its 95% interval; absent until there are enough pairs.',
    labels: { measure: label('attainment: calls within their SLO per offered call; goodput: those per second; latency: mean seconds per call; cost: calls that reached a backend per offered call.', 4, MEASURES), bound: label('The mean, or an end of its interval.', 3, BOUNDS) },
    observed: true,
  }),
  pairs: instrument({ name: 'flyball.uplift_pairs', kind: 'gauge', unit: '{pair}', doc: 'Pairs of blocks compared.', labels: {}, observed: true }),
  endedEarly: instrument({ name: 'flyball.uplift_ended_early', kind: 'gauge', unit: '{block}', doc: 'Static blocks cut short because users paid for them.', labels: {}, observed: true }),
} as const

/** Declares and collects: `collectUplift(governor.instruments, () => switchback.uplift())`. Returns what takes it away again. */
export function collectUplift(instruments: InstrumentSet, uplift: () => Uplift): () => void {
  const undo = [
    instruments.gauge(UPLIFT_INSTRUMENTS.uplift).collect((report) => {
      const { attainment, goodputPerS, latencyMs, cost } = uplift()
      const tell = (measure: (typeof MEASURES)[number], interval: Interval | undefined, scale = 1): void => {
        if (interval) for (const bound of BOUNDS) report(interval[bound] * scale, { measure, bound })
      }
      tell('attainment', attainment)
      tell('goodput', goodputPerS)
      tell('latency', latencyMs, 1e-3)
      tell('cost', cost)
    }),
    instruments.gauge(UPLIFT_INSTRUMENTS.pairs).collect((report) => report(uplift().pairs, {})),
    instruments.gauge(UPLIFT_INSTRUMENTS.endedEarly).collect((report) => report(uplift().endedEarly, {})),
  ]
  return () => undo.forEach((fn) => fn())
}
