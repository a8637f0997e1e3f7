/** Freshness: what share of hits is out of date per class, ours against fixed times to live that know the future. */
import { cache } from '../../plugins/optimizers/cache/index.ts'
import { ttlCache } from '../../plugins/rivals/index.ts'
import type { Plugin } from '../../src/index.ts'
import { readPlant } from '../../src/sim/plants/parameters.ts'
import { simulate, type SimulationResult } from '../../src/sim/simulate.ts'
import { generate, type WorkloadPhase } from '../../src/sim/workload/workload.ts'
import type { FreshnessSetting } from './settings.ts'
import { median, upperShare } from './statistics.ts'

/** The cache's default budget. */
export const EPSILON = 0.02
const FIXED_TTLS_S = [0.3, 0.4, 0.6, 0.8, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200]

function phases({ hazardsPerS, keys, perS, shiftFactor }: FreshnessSetting): WorkloadPhase[] {
  const mix = Object.keys(hazardsPerS).map((changeClass) => ({ share: 1, work: 1, keys: { ...keys, changeClass } }))
  const faults = Object.keys(hazardsPerS).map((changeClass) => ({ kind: 'hazard', atMs: 0, changeClass, factor: shiftFactor }) as const)
  return [{ name: 'learning and steady', durationS: 600, perS, mix }, { name: 'changes more often', durationS: 200, perS, mix, faults }]
}

export interface StaleRow {
  readonly policy: string
  readonly role: 'ours' | 'rival' | 'static'
  readonly hitRatio: number
  /** By class: stale hits over hits, its upper bound over epsilon. */
  readonly classes: Readonly<Record<string, { hitRatio: number; staleShare: number; upperOverEpsilon: number }>>
}

export interface StaleReport {
  readonly setting: string
  readonly epsilon: number
  readonly rows: readonly StaleRow[]
  /** Worst upper bound over epsilon, all classes. */
  readonly staleWorst: number
  /** Our hit ratio over that of the best fixed TTL per class that keeps its upper bound within epsilon; the least over classes. */
  readonly hitVsBestFixed: number
}

export async function staleness(setting: FreshnessSetting, seeds: readonly number[], log: (line: string) => void): Promise<StaleReport> {
  const plant = readPlant({ kind: 'changing-answers', hazardsPerS: setting.hazardsPerS, serviceMs: 40, slots: 256 })
  const names = Object.keys(setting.hazardsPerS)
  const candidates: { policy: string; role: StaleRow['role']; make: () => Plugin[] }[] = [
    { policy: 'flyball', role: 'ours', make: () => [cache()] },
    ...FIXED_TTLS_S.map((ttlS) => ({ policy: `fixed TTL ${ttlS} s`, role: 'static' as const, make: () => [ttlCache({ rule: 'fixed' as const, ttlMs: ttlS * 1_000 })] })),
    { policy: 'popularity TTL', role: 'rival', make: () => [ttlCache({ rule: 'popularity', factor: 5 })] },
    { policy: 'd-TTL (hit ratio .8)', role: 'rival', make: () => [ttlCache({ rule: 'd-ttl', targetHitRatio: 0.8, ttlMs: 1_000 })] },
    { policy: 'stale-while-revalidate 10 s', role: 'rival', make: () => [ttlCache({ rule: 'fixed', ttlMs: 3_000, swrMs: 10_000 })] },
  ]
  const rows: StaleRow[] = []
  for (const { policy, role, make } of candidates) {
    const results: SimulationResult[] = []
    for (const seed of role === 'ours' ? seeds : seeds.slice(0, 2)) results.push(await simulate({ ...generate(phases(setting), seed), plant, plugins: make(), seed, classes: [{ name: 'interactive', priority: 0, startMs: 500, quantile: 0.95 }] }))
    const classes = Object.fromEntries(
      names.map((name) => {
        const sum = (part: 'lookups' | 'hits' | 'stale'): number => results.reduce((total, result) => total + (result.cacheClasses[name]?.[part] ?? 0), 0)
        const [lookups, hits, stale] = [sum('lookups'), sum('hits'), sum('stale')]
        return [name, { hitRatio: hits / lookups, staleShare: hits === 0 ? 0 : stale / hits, upperOverEpsilon: hits === 0 ? 0 : upperShare(stale, hits) / EPSILON }]
      }),
    )
    const row: StaleRow = { policy, role, hitRatio: median(results.map((result) => result.hitRatio)), classes }
    log(`${policy.padEnd(28)} hits ${row.hitRatio.toFixed(3)}  ${Object.entries(classes).map(([name, one]) => `${name}: ${one.hitRatio.toFixed(2)} hit, ${(one.staleShare * 100).toFixed(2)}% stale`).join('; ')}`)
    rows.push(row)
  }
  const ours = rows[0] as StaleRow
  const least = names.map((name) => {
    const sound = rows.filter((row) => row.role === 'static' && (row.classes[name]?.upperOverEpsilon ?? 9) <= 1)
    const best = Math.max(0, ...sound.map((row) => row.classes[name]?.hitRatio ?? 0))
    return best === 0 ? 1 : (ours.classes[name]?.hitRatio ?? 0) / best
  })
  return { setting: setting.name, epsilon: EPSILON, rows, staleWorst: Math.max(...Object.values(ours.classes).map((one) => one.upperOverEpsilon)), hitVsBestFixed: Math.min(...least) }
}
