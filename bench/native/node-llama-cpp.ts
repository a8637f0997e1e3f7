/** node-llama-cpp's public JavaScript API: what a user would install. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { pathToFileURL } from 'node:url'
import { fetchLlamaCpp } from './llama-cpp.ts'
import { promptOf } from './workloads.ts'

interface Sequence {
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>
  evaluate(tokens: number[], options: { temperature: number }): AsyncIterable<number>
  clearHistory(): Promise<void>
}
interface Context { getSequence(): Sequence; dispose(): Promise<void> }
interface Model { createContext(options: object): Promise<Context>; dispose(): Promise<void> }
interface Api { getLlama(options: object): Promise<{ loadModel(options: object): Promise<Model>; dispose(): Promise<void> }> }

export interface WrapperFigures {
  readonly prefill: number
  readonly decode: Record<number, number>
}

/** Tokens per second of a 512-token prompt and of decoding, best of `rounds`. */
export async function measureWrapper(file: string, threads: number, vocabulary: number, batches: readonly number[], steps: number, rounds: number): Promise<WrapperFigures> {
  const resolve = createRequire(join(fetchLlamaCpp(), 'package.json')).resolve
  const api = (await import(pathToFileURL(resolve('node-llama-cpp')).href)) as Api
  const llama = await api.getLlama({ gpu: false, build: 'never', skipDownload: true, logLevel: 'error', progressLogs: false, maxThreads: threads })
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 })
  const most = Math.max(...batches)
  const context = await model.createContext({ sequences: most, contextSize: 640, batchSize: 512, threads })
  const sequences = Array.from({ length: most }, () => context.getSequence())
  const figures = { prefill: 0, decode: {} as Record<number, number> }
  for (let round = 0; round < rounds; round++) {
    const [one] = sequences as [Sequence]
    await one.clearHistory()
    const start = performance.now()
    await one.evaluateWithoutGeneratingNewTokens(promptOf(512, 100 + round, vocabulary))
    figures.prefill = Math.max(figures.prefill, (512 / (performance.now() - start)) * 1000)
    for (const batch of batches) {
      let started = 0
      let startedAt = 0
      await Promise.all(sequences.slice(0, batch).map(async (sequence, i) => {
        await sequence.clearHistory()
        let count = 0
        for await (const token of sequence.evaluate(promptOf(16, 200 + round * 64 + i, vocabulary), { temperature: 0 })) {
          void token
          if (++count === 1 && ++started === batch) startedAt = performance.now()
          if (count > steps) break
        }
      }))
      figures.decode[batch] = Math.max(figures.decode[batch] ?? 0, (batch * steps * 1000) / (performance.now() - startedAt))
    }
  }
  await context.dispose()
  await model.dispose()
  await llama.dispose()
  return figures
}
