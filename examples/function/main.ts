/** A function that is cheaper per item in company: called one by one, run in batches. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createGovernor } from 'flyball'
import { batching, throttle } from 'flyball/plugins'

const governor = createGovernor({ plugins: [throttle(), batching()] })

let batches = 0
/** Stands for a model: 20 ms a run, whatever its size. */
const model = {
  async embed(texts: readonly string[], { signal }: { signal: AbortSignal }): Promise<number[][]> {
    batches++
    await sleep(20, undefined, { signal })
    return texts.map((text) => [text.length, new Set(text).size])
  },
}

const embed = governor.wrapBatch('embed', (texts: readonly string[], { signal }) => model.embed(texts, { signal }), { maxBatch: 32 })
const vector = await embed('hello')

const many = await Promise.all(Array.from({ length: 64 }, (_, i) => embed('x'.repeat(i))))
console.log(JSON.stringify({ vector, many: many.length, batches }))
await governor.close()
