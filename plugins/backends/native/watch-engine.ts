/** Feeds the native backend's signals and instruments from the engine's own counts. */
import type { BackendHost, CounterHandle, GaugeHandle } from '../../../src/index.ts'
import type { EngineStats, NativeEngine } from './engine-contract.ts'
import type { NATIVE_INSTRUMENTS, NATIVE_SIGNALS } from './native-declares.ts'

const LOOK_MS = 500

type Gauges = { readonly [K in 'kvTokens' | 'kvCapacity']: GaugeHandle<'backend'> }
type Counters = { readonly [K in 'steps' | 'preemptions']: CounterHandle<'backend'> }

/** Returns what stops it. */
export function watchEngine(engine: NativeEngine, name: string, host: BackendHost): () => void {
  const instruments = host.instruments as unknown as Gauges & Counters & { sequences: GaugeHandle<'backend' | 'state'>; tokens: CounterHandle<'backend' | 'kind'> } & Record<keyof typeof NATIVE_INSTRUMENTS, unknown>
  const signals = host.signals as unknown as { readonly [K in keyof typeof NATIVE_SIGNALS]: BackendHost['signals'][string] }
  const backend = { backend: name }
  const kvUsed = signals.kvUsed.for(backend)
  const waiting = signals.waiting.for(backend)
  let last: EngineStats = engine.stats()
  let cancel = (): void => {}
  const undo = [
    instruments.kvTokens.collect((report) => report(engine.stats().kvTokens, backend)),
    instruments.kvCapacity.collect((report) => report(engine.stats().kvCapacityTokens, backend)),
    instruments.sequences.collect((report) => {
      const now = engine.stats()
      report(now.running, { ...backend, state: 'running' })
      report(now.waiting, { ...backend, state: 'waiting' })
    }),
  ]

  function look(): void {
    const now = engine.stats()
    if (now.running > 0 || now.waiting > 0 || now.steps > last.steps) {
      kvUsed.push(now.kvCapacityTokens > 0 ? now.kvTokens / now.kvCapacityTokens : 0)
      waiting.push(now.waiting)
    }
    instruments.steps.add(now.steps - last.steps, backend)
    instruments.preemptions.add(now.preemptions - last.preemptions, backend)
    instruments.tokens.add(now.promptTokens - last.promptTokens, { ...backend, kind: 'prompt' })
    instruments.tokens.add(now.cachedPromptTokens - last.cachedPromptTokens, { ...backend, kind: 'cached_prompt' })
    instruments.tokens.add(now.generatedTokens - last.generatedTokens, { ...backend, kind: 'generated' })
    last = now
    again()
  }
  function again(): void {
    cancel = host.clock.after(LOOK_MS, look)
  }
  again()
  return () => {
    cancel()
    for (const fn of undo) fn()
  }
}
