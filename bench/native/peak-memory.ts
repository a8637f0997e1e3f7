/** A process of its own: loads the model, works with 32 sequences, prints its peak resident memory beside what it should need. */
import { readFileSync } from 'node:fs'
import { CpuEngine } from '../../plugins/backends/native/engine.ts'
import { ours } from './workloads.ts'

const [file = '', kvMiB = '256'] = process.argv.slice(2)
const kvBytes = Number(kvMiB) * 2 ** 20
const engine = await CpuEngine.open(file, { kvBudgetBytes: kvBytes })
const work = ours(engine)
await work.prefill(512)
await work.decode(32, 8)
const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? NaN) * 1024
process.stdout.write(`${JSON.stringify({ peakBytes: peak, weightBytes: engine.weightBytes, kvBytes, ratio: peak / (engine.weightBytes + kvBytes) })}\n`)
await engine.close()
