/** Feeds the native backend's signals and instruments from the engine's own counts, and hands its knobs down. */
import type { BackendHost, CounterHandle, GaugeHandle, HistogramHandle } from '../../../src/index.ts'
import type { EngineStats, NativeEngine } from './engine-contract.ts'
import type { NATIVE_KNOBS, NATIVE_SIGNALS } from './native-declares.ts'

const LOOK_MS = 500

type ByBackend = 'backend'
interface Instruments {
  readonly kvTokens: GaugeHandle<ByBackend>
  readonly kvCapacity: GaugeHandle<ByBackend>
  readonly batchTokens: GaugeHandle<ByBackend>
  readonly sequences: GaugeHandle<ByBackend | 'state'>
  readonly stepDuration: HistogramHandle<ByBackend>
  readonly steps: CounterHandle<ByBackend>
  readonly preemptions: CounterHandle<ByBackend>
  readonly tokens: CounterHandle<ByBackend | 'kind'>
}

/** What the C++ engine has beyond the contract. */
interface Tunable {
  setLimits(limits: { maxSequences?: number; tokensPerStep?: number }): void
}
type StepStats = EngineStats & { readonly batchTokens?: number; readonly stepMs?: number }

/** Returns what stops it. */
export function watchEngine(engine: NativeEngine & Partial<Tunable>, name: string, host: BackendHost): () => void {
  const instruments = host.instruments as unknown as Instruments
  const signals = host.signals as unknown as { readonly [K in keyof typeof NATIVE_SIGNALS]: BackendHost['signals'][string] }
  const knobs = host.knobs as unknown as { readonly [K in keyof typeof NATIVE_KNOBS]: BackendHost['knobs'][string] }
  const backend = { backend: name }
  const windows = { kvUsed: signals.kvUsed.for(backend), waiting: signals.waiting.for(backend), running: signals.running.for(backend), stepMs: signals.stepMs.for(backend) }
  const limits = { maxSequences: knobs.maxSequences.for(backend), tokensPerStep: knobs.tokensPerStep.for(backend) }
  const openedWith = engine.stats().maxSequences
  let applied = { maxSequences: -1, tokensPerStep: -1 }
  let last: StepStats = engine.stats()
  let cancel = (): void => {}
  const undo = [
    instruments.kvTokens.collect((report) => report(engine.stats().kvTokens, backend)),
    instruments.kvCapacity.collect((report) => report(engine.stats().kvCapacityTokens, backend)),
    instruments.batchTokens.collect((report) => report((engine.stats() as StepStats).batchTokens ?? 0, backend)),
    instruments.sequences.collect((report) => {
      const now = engine.stats()
      report(now.running, { ...backend, state: 'running' })
      report(now.waiting, { ...backend, state: 'waiting' })
    }),
  ]

  function apply(): void {
    if (!engine.setLimits) return
    const wanted = { maxSequences: Math.min(openedWith, limits.maxSequences.value), tokensPerStep: limits.tokensPerStep.value }
    if (wanted.maxSequences === applied.maxSequences && wanted.tokensPerStep === applied.tokensPerStep) return
    applied = wanted
    engine.setLimits(wanted)
  }

  function look(): void {
    apply()
    const now: StepStats = engine.stats()
    if (now.running > 0 || now.waiting > 0 || now.steps > last.steps) {
      windows.kvUsed.push(now.kvCapacityTokens > 0 ? now.kvTokens / now.kvCapacityTokens : 0)
      windows.waiting.push(now.waiting)
      windows.running.push(now.running)
      if (now.stepMs !== undefined && now.steps > last.steps) {
        windows.stepMs.push(now.stepMs, now.batchTokens ?? 0)
        instruments.stepDuration.record(now.stepMs / 1_000, backend)
      }
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
  apply()
  again()
  return () => {
    cancel()
    for (const fn of undo) fn()
  }
}
