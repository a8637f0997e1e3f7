/** Keeps idle backends warm: upstreams unload models and drop connections that nobody used for a while. */
import { z } from 'zod'
import { definePlugin, instrument, knob, label, type Cancel, type LanePolicy, type LaneView } from '../../../src/index.ts'

const idleMs = knob({
  name: 'warmup.idle_ms',
  // Ollama unloads a model after five minutes without a call.
  default: 240_000,
  min: 0,
  max: 86_400_000,
  unit: 'ms',
  doc: 'A backend without calls for this long is warmed again; 0: never.',
  scope: ['backend'],
  tunable: false,
})

const warmups = instrument({
  name: 'flyball.warmups',
  kind: 'counter',
  unit: '{warmup}',
  doc: 'Idle backends that were warmed again.',
  labels: { backend: label('Backend by its configured name.', 32), outcome: label('What came of it.', 2, ['ok', 'error']) },
})

/** With the knob at 0, look again this often whether it still is. */
const OFF_CHECK_MS = 60_000

export const warmup = definePlugin({
  name: 'warmup',
  phase: 'lane',
  doc: 'Warms backends again after they were idle, so that the next call finds them as quick as a busy day would.',
  options: z.strictObject({}),
  declares: { knobs: { idleMs }, instruments: { warmups } },
  create(host) {
    const stop = new AbortController()
    host.onClose(() => stop.abort())
    const lastWarmWallMs: Record<string, number> = {}
    host.describe(() => ({ lastWarmed: Object.fromEntries(Object.entries(lastWarmWallMs).map(([name, atMs]) => [name, new Date(atMs).toISOString()])) }))

    return {
      forLane(lane: LaneView): LanePolicy {
        const { clock } = host
        const knobValue = host.knobs.idleMs.for({ backend: lane.backend })
        let activeMs = clock.monoMs()
        let cancel: Cancel = () => {}
        stop.signal.addEventListener('abort', () => cancel(), { once: true })

        /** One timer per backend, set for when it could be idle at the earliest: a call costs no timer. */
        function watch(): void {
          if (stop.signal.aborted) return
          const waitMs = knobValue.value > 0 ? Math.max(1, activeMs + knobValue.value - clock.monoMs()) : OFF_CHECK_MS
          cancel = clock.after(waitMs, () => {
            const busy = lane.inFlight > 0 || lane.waiting > 0
            if (busy) activeMs = clock.monoMs()
            if (busy || knobValue.value <= 0 || clock.monoMs() - activeMs < knobValue.value) return watch()
            warm().then(watch, watch)
          })
        }

        async function warm(): Promise<void> {
          // Whatever comes of it, the next try is a whole idle time away.
          activeMs = clock.monoMs()
          const backend = host.backends.find(({ name }) => name === lane.backend)
          if (!backend?.warm) return
          try {
            await backend.warm(stop.signal)
            lastWarmWallMs[lane.backend] = clock.wallMs()
            host.instruments.warmups.add(1, { backend: lane.backend, outcome: 'ok' })
          } catch {
            if (stop.signal.aborted) return
            host.instruments.warmups.add(1, { backend: lane.backend, outcome: 'error' })
            host.log.debug({ backend: lane.backend }, 'an idle backend did not warm up')
          }
          activeMs = clock.monoMs()
        }

        watch()
        return {
          name: 'warmup',
          onDispatch: () => void (activeMs = clock.monoMs()),
          onSettle: () => void (activeMs = clock.monoMs()),
        }
      },
    }
  },
})
