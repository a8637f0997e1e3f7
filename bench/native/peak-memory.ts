/**
 * A process of its own: loads the model, computes prompts that fill the whole key-value budget, decodes, and prints its
 * peak resident memory beside what it should need.
 */
import { readFileSync } from 'node:fs'
import { CpuEngine } from '../../plugins/backends/native/engine.ts'
import { GREEDY } from '../../plugins/backends/native/engine-contract.ts'
import { promptOf } from './workloads.ts'

const SEQUENCES = 16
const STEPS = 16

const [file = '', kvMiB = '256'] = process.argv.slice(2)
const kvBytes = Number(kvMiB) * 2 ** 20
const { rss: startBytes } = process.memoryUsage()
const engine = await CpuEngine.open(file, { kvBudgetBytes: kvBytes })
const { rss: openBytes } = process.memoryUsage()
const length = Math.min(engine.info.contextLength, Math.floor(engine.stats().kvCapacityTokens / SEQUENCES)) - 2 * STEPS
let most = 0
await Promise.all(Array.from({ length: SEQUENCES }, async (_, seed) => {
  const promptTokens = promptOf(length, seed, engine.info.config.vocabularySize)
  for await (const step of engine.generate({ promptTokens, maxTokens: STEPS, sampling: GREEDY, stopTokens: [], stopStrings: [] }, new AbortController().signal)) {
    void step
    most = Math.max(most, engine.stats().kvTokens)
  }
}))
const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? NaN) * 1024
const filled = most / engine.stats().kvCapacityTokens
process.stdout.write(`${JSON.stringify({ startBytes, openBytes, peakBytes: peak, weightBytes: engine.weightBytes, kvBytes, filled, ratio: peak / (engine.weightBytes + kvBytes) })}\n`)
await engine.close()
