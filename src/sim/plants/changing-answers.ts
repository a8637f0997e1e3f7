/** Plant (d): answers that change over time, at a hazard of their own per class; for what a cache does to freshness. */
import { z } from 'zod'
import type { Call } from '../../core/call.ts'
import type { Reply } from '../../core/reply.ts'
import type { Clock } from '../../core/clock.ts'
import { FlyballError } from '../../core/errors.ts'
import { seededRandom } from '../seeded-random.ts'
import { logNormal } from './batch-server.ts'
import { onCallAbort, requestOf, reshape, unaryReply, type Plant } from './plant.ts'

export const changingAnswersParameters = z.strictObject({
  kind: z.literal('changing-answers'),
  name: z.string().default('changing-answers'),
  slots: z.int().min(1).default(64),
  serviceMs: z.number().min(0).default(50),
  noise: z.number().min(0).default(0.2),
  /** Changes per second of each key, by class. */
  hazardsPerS: z.record(z.string(), z.number().min(0)),
  seed: z.int().default(1),
})
export type ChangingAnswersParameters = z.output<typeof changingAnswersParameters>

export interface ChangingAnswers extends Plant {
  /** How often this key's answer has changed by now. */
  version(key: string, changeClass: string): number
  /** From now on the class changes this many times as often. */
  setHazardFactor(changeClass: string, factor: number): void
}

interface Story {
  readonly changeClass: string
  nextMs: number
  version: number
  readonly random: () => number
}

const MAX_KEYS = 1_000_000

export function changingAnswers(parameters: ChangingAnswersParameters, clock: Clock): ChangingAnswers {
  const p = { ...parameters }
  const stories = new Map<string, Story>()
  const factors = new Map<string, number>()
  let slowdown = 1
  let down = false
  let wastedMs = 0

  const gapMs = (changeClass: string, random: () => number): number => {
    const hazard = (p.hazardsPerS[changeClass] ?? 0) * (factors.get(changeClass) ?? 1)
    return hazard === 0 ? Number.POSITIVE_INFINITY : (-Math.log(1 - random()) * 1_000) / hazard
  }

  function version(key: string, changeClass: string): number {
    let story = stories.get(key)
    if (!story) {
      if (stories.size >= MAX_KEYS) stories.delete(stories.keys().next().value as string)
      let hash = p.seed
      for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + key.charCodeAt(i)) | 0
      const random = seededRandom(hash)
      story = { changeClass, random, version: 0, nextMs: clock.monoMs() + gapMs(changeClass, random) }
      stories.set(key, story)
    }
    while (story.nextMs <= clock.monoMs()) {
      story.version++
      story.nextMs += gapMs(changeClass, story.random)
    }
    return story.version
  }

  function serve(call: Call): Promise<Reply> {
    if (down) return Promise.reject(new FlyballError('upstream_unreachable'))
    const { key = call.id, changeClass = '' } = requestOf(call)
    const ms = p.serviceMs * slowdown * logNormal(clock, p.noise)
    return new Promise((resolve, reject) => {
      const release = onCallAbort(call, () => {
        cancel()
        wastedMs += ms
        reject(new FlyballError('cancelled'))
      })
      const cancel = clock.after(ms, () => {
        release()
        resolve(unaryReply([{ type: 'value', value: version(key, changeClass) }], 1))
      })
    })
  }

  return {
    name: p.name,
    provider: 'simulated',
    inProcess: true,
    models: [p.name],
    limits: { slots: p.slots, maxBatch: 1, batching: 'none' },
    run: (calls) => calls.map(serve),
    version,
    setHazardFactor(changeClass, factor) {
      factors.set(changeClass, factor)
      // Exponential gaps have no memory: drawing the next change anew is exact.
      for (const story of stories.values()) if (story.changeClass === changeClass) story.nextMs = clock.monoMs() + gapMs(changeClass, story.random)
    },
    reshape: (values) => reshape(p, values),
    setSlowdown: (factor) => void (slowdown = factor),
    setDown: (value) => void (down = value),
    get wastedMs() {
      return wastedMs
    },
    async close() {},
  }
}
