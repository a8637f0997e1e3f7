/** A plugin of your own: counts slow calls. In a configuration file it is named by its path; in code it is called like ours. */
import { definePlugin, instrument, knob, label } from 'flyball'
import { z } from 'zod'

// Declared once: option, environment variable (FLYBALL_SLOW_THRESHOLD_MS), admin API, gauge and panel follow from it.
const threshold = knob({ name: 'slow.threshold_ms', default: 1_000, min: 1, max: 600_000, unit: 'ms', doc: 'A call that takes longer is slow.', tunable: false })
const calls = instrument({ name: 'slow.calls', kind: 'counter', unit: '{call}', doc: 'Slow calls.', labels: { class: label('SLO class.', 16) } })

export const slow = definePlugin({
  name: 'slow',
  phase: 'observe', // outermost; then reuse (caches), route, lane (who may go, who goes next, who goes together)
  doc: 'Counts slow calls.',
  options: z.strictObject({ log: z.boolean().default(false) }),
  declares: { knobs: { threshold }, instruments: { calls } },
  create(host, options) {
    const limit = host.knobs.threshold.for({})
    return {
      handler(call, next) {
        // Not `finally`: a stream's head comes back long before its body ends.
        call.onSettle(({ timings }) => {
          const tookMs = host.clock.monoMs() - timings.receivedMs
          if (tookMs <= limit.value) return
          host.instruments.calls.add(1, { class: call.class })
          if (options.log) host.log.warn({ call: call.id, tookMs }, 'slow')
        })
        return next(call)
      },
    }
  },
})
