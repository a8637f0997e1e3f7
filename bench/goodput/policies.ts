/** Who takes part: ours, rivals with the knobs that they lack at their best static values, and the grid of statics. */
import { batching } from '../../plugins/optimizers/batching/index.ts'
import { priority } from '../../plugins/optimizers/priority/index.ts'
import { throttle } from '../../plugins/optimizers/throttle/index.ts'
import { aimdLimit, clientThrottle, clipper, codelLifo, cork, envoyLimit, failsafeLimit, fixed, gradient2Limit, rayServe, triton, vegasLimit } from '../../plugins/rivals/index.ts'
import type { Plugin } from '../../src/index.ts'
import type { Setting } from './settings.ts'

export type Role = 'ours' | 'rival' | 'static'

export interface Policy {
  readonly name: string
  readonly role: Role
  /** Rivals: which one this is a setting of. */
  readonly family: string
  make(): Plugin[]
}

const ours: Policy = { name: 'flyball', role: 'ours', family: 'flyball', make: () => [throttle(), priority(), batching()] }
const none: Policy = { name: 'no control', role: 'rival', family: 'no control', make: () => [] }

const LIMITERS = { gradient2: gradient2Limit, vegas: vegasLimit, aimd: aimdLimit, envoy: envoyLimit, failsafe: failsafeLimit }
/** What limiters, client throttle and CoDel lack, a batch size, they get at the best static value of earlier searches. */
const BATCH = 32
const QUEUES = [0, 1]

/** The committed grid. `Infinity`: none. */
const STATIC_BATCHES = [8, 16, 32]
const STATIC_BATCH_QUEUES = [16, 32, 10_000]
const STATIC_LIMITS = [16, 24, 32, 48, 128]
const STATIC_LIMIT_QUEUES = [8, 10_000]

/** All settings of everybody; of each rival the best is reported. */
export function policiesFor(setting: Setting): Policy[] {
  const rival = (family: string, name: string, make: () => Plugin[]): Policy => ({ name, role: 'rival', family, make })
  if (setting.kind === 'merge') {
    return [
      ours,
      none,
      ...Object.entries(LIMITERS).flatMap(([family, limiter]) => QUEUES.map((queue) => rival(family, `${family} (batch ${BATCH}, queue ${queue})`, () => [limiter({ queue }), fixed({ batch: BATCH })]))),
      rival('sre client throttle', `sre client throttle (batch ${BATCH})`, () => [clientThrottle({ windowMs: 30_000 }), fixed({ batch: BATCH })]),
      rival('codel + lifo', `codel + lifo (100/5 ms, batch ${BATCH})`, () => [codelLifo({ limit: BATCH }), fixed({ batch: BATCH })]),
      rival('codel + lifo', 'codel + lifo (300/50 ms)', () => [codelLifo({ limit: 64, intervalMs: 300, targetMs: 50 })]),
      ...[500].map((timeoutMs) => rival('triton', `triton (timeout ${timeoutMs} ms)`, () => [triton({ maxBatch: 32, preferred: [8, 16, 32], delayMs: 5, timeoutMs })])),
      rival('ray serve', 'ray serve', () => [rayServe()]),
      ...[500, 1_000].map((maxLatencyMs) => rival('bentoml cork', `bentoml cork (${maxLatencyMs} ms)`, () => [cork({ maxLatencyMs, maxBatch: 64 })])),
      ...[400].map((targetMs) => rival('clipper', `clipper (${targetMs} ms)`, () => [clipper({ targetMs, maxBatch: 64 })])),
      ...STATIC_BATCHES.flatMap((batch) => STATIC_BATCH_QUEUES.map((queue): Policy => ({ name: `static batch ${batch}, queue ${queue}`, role: 'static', family: 'static', make: () => [fixed({ batch, queue })] }))),
    ]
  }
  return [
    ours,
    none,
    ...Object.entries(LIMITERS).flatMap(([family, limiter]) => QUEUES.map((queue) => rival(family, `${family} (queue ${queue})`, () => [limiter({ queue })]))),
    ...[24, 48].map((limit) => rival('sre client throttle', `sre client throttle (limit ${limit})`, () => [clientThrottle({ windowMs: 30_000 }), fixed({ limit })])),
    ...[24, 48].map((limit) => rival('codel + lifo', `codel + lifo (limit ${limit})`, () => [codelLifo({ limit, intervalMs: 300, targetMs: 50 })])),
    ...STATIC_LIMITS.flatMap((limit) => STATIC_LIMIT_QUEUES.map((queue): Policy => ({ name: `static limit ${limit}, queue ${queue}`, role: 'static', family: 'static', make: () => [fixed({ limit, queue })] }))),
  ]
}
