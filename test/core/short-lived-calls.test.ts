import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { cache, priority, throttle } from '../../plugins/builtin.ts'
import { createGovernor, functionBackend } from '../../src/index.ts'

// What a call was made of must be gone at the next young collection. Something old that still sees it (a function in old
// space, a link that was not cleared, a thrown away hash table) keeps it until the next full one: calls then cost half as
// much again, and nothing but the collector's time shows it.

const CALLS = 6_000
const MOST_BYTES_A_CALL = 2_000

it('a settled call does not outlive a young collection', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as (options: { type: 'minor' | 'major' }) => void
  // One entry: what the cache keeps is not what is counted here.
  const governor = createGovernor({ plugins: [cache({ maxEntries: 1 }), throttle(), priority()], classes: [{ name: 'patient', priority: 0, quantile: 0.95 }], loops: 'off' })
  governor.addBackend(functionBackend('f', () => new Promise<number>((resolve) => setImmediate(resolve, 1)), { slots: 64 }))
  let asked = 0
  const ask = async (): Promise<void> => {
    const reply = await governor.send(governor.call({ operation: 'f', model: 'f', input: asked, cacheKey: String(asked++) }))
    for await (const _ of reply.body);
  }
  const askMany = async (calls: number): Promise<void> => {
    for (let done = 0; done < calls; done += 20) {
      await Promise.all(Array.from({ length: 20 }, ask))
      if (done % 200 === 0) collect({ type: 'minor' })
    }
    // Twice: the first only moves what is young.
    for (let i = 0; i < 2; i++) collect({ type: 'minor' })
  }
  await askMany(6_000)
  collect({ type: 'major' })
  const before = getHeapStatistics().used_heap_size
  await askMany(CALLS)
  const bytesPerCall = (getHeapStatistics().used_heap_size - before) / CALLS
  await governor.close()
  expect(bytesPerCall).toBeLessThan(MOST_BYTES_A_CALL)
})
