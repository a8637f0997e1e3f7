/**
 * Real arrivals with real keys against the real shop desk, in real time: one desk with the knobs at their static defaults, one
 * with the loops on, phase by phase in turns, so that what else the machine does meets both. What users saw is printed.
 */
import { expect, it } from 'vitest'
import { STALE_BUDGET } from '../../examples/shop-desk/app.ts'
import { need } from '../support/need.ts'
import { replayArrivals, type Arrival } from '../support/replay-arrivals.ts'
import { startArm, type Arm, type Counted } from '../support/shop-desk-arm.ts'

interface ReplayPhase {
  readonly name: 'calm' | 'burst' | 'repeats' | 'overload'
  readonly seconds: number
  /** Arrivals a second; in a burst they come in clumps. Overload is well above what this machine's engine was measured to serve. */
  perSecond(atS: number, capacityPerS: number): number
  kind(i: number): Arrival['kind']
}

const mixed = (i: number): Arrival['kind'] => (i % 20 === 0 ? 'chat' : i % 20 < 8 ? 'order' : 'message')
const PHASES: readonly ReplayPhase[] = [
  { name: 'calm', seconds: 8, perSecond: () => 20, kind: mixed },
  { name: 'burst', seconds: 10, perSecond: (atS) => (atS % 0.5 < 0.1 ? 500 : 20), kind: mixed },
  { name: 'repeats', seconds: 16, perSecond: () => 60, kind: (i) => (i % 20 === 0 ? 'chat' : i % 20 < 16 ? 'order' : 'message') },
  // Twice, so that each desk meets it first once.
  { name: 'overload', seconds: 6, perSecond: (_, capacityPerS) => Math.min(500, 2.5 * capacityPerS), kind: (i) => (i % 10 < 9 ? 'chat' : 'order') },
  { name: 'overload', seconds: 6, perSecond: (_, capacityPerS) => Math.min(500, 2.5 * capacityPerS), kind: (i) => (i % 10 < 9 ? 'chat' : 'order') },
]

need('data').describe('the shop desk under replayed traffic', () => {
  it('is no worse with the loops on, moves its knobs the right way, keeps its stale budget and gives everything back', async () => {
    const off = await startArm('off')
    const on = await startArm('on')
    try {
      // Neither is the first whose engine touches the memory for so much.
      await on.chatCapacity(0.1)
      const capacityPerS = await off.chatCapacity(2)
      for (const [i, phase] of PHASES.entries()) {
        const arrivals = replayArrivals({ seconds: phase.seconds, perSecond: (atS) => phase.perSecond(atS, capacityPerS), kind: (_, n) => phase.kind(n) })
        for (const arm of i % 2 === 0 ? [off, on] : [on, off]) await arm.play(phase.name, arrivals)
      }
      const open = [await off.openCalls(), await on.openCalls()]
      report(off, on, capacityPerS)
      expect(open).toEqual([0, 0])
      compare(off, on)
      directions(on)
      expect(off.moves).toEqual([])
      // Within the budget, as far as chance allows to say, and far below what the static TTL serves.
      expect(staleShareLower(on.staleAnswers, on.hits)).toBeLessThanOrEqual(STALE_BUDGET)
      expect(on.staleAnswers / Math.max(1, on.hits)).toBeLessThan(off.staleAnswers / Math.max(1, off.hits))
    } finally {
      await off.close()
      await on.close()
    }
  }, 300_000)
})

const total = (arm: Arm): Counted => [...arm.byPhase.values()].reduce((sum, one) => ({ offered: sum.offered + one.offered, met: sum.met + one.met }), { offered: 0, met: 0 })
const percent = ({ offered, met }: Counted): string => `${((100 * met) / Math.max(1, offered)).toFixed(2)}%`

/** Standard error of the difference in attainment: the same second of both runs has the same arrivals. */
function deviationOf(off: Arm, on: Arm): number {
  const keys = [...new Set([...off.bySecond.keys(), ...on.bySecond.keys()])]
  const differences = keys.map((key) => (on.bySecond.get(key)?.met ?? 0) - (off.bySecond.get(key)?.met ?? 0))
  const mean = differences.reduce((sum, one) => sum + one, 0) / keys.length
  const variance = differences.reduce((sum, one) => sum + (one - mean) ** 2, 0) / (keys.length - 1)
  return Math.sqrt(keys.length * variance) / total(on).offered
}

function report(off: Arm, on: Arm, capacityPerS: number): void {
  const moves = on.moves.map((move) => `  ${move.phase}: ${move.knob}{${move.key}} ${move.from.toPrecision(3)} → ${move.to.toPrecision(3)} (${move.reason})`)
  process.stdout.write(
    [
      `replayed ${total(on).offered} arrivals, twice; the engine serves ${capacityPerS.toFixed(0)} long chats/s here`,
      `SLO attainment  static ${percent(total(off))}  loops ${percent(total(on))}  (one standard error ${(100 * deviationOf(off, on)).toFixed(2)}%)`,
      ...[...on.byPhase.keys()].map((name) => `  ${name.padEnd(10)}    static ${percent(off.byPhase.get(name) ?? { offered: 0, met: 0 })}  loops ${percent(on.byPhase.get(name) ?? { offered: 0, met: 0 })}`),
      `stale hits      static ${off.staleAnswers} of ${off.hits}  loops ${on.staleAnswers} of ${on.hits}, once learned ${on.learnedStale} of ${on.learnedHits} (budget ${100 * STALE_BUDGET}%)`,
      ...moves,
      '',
    ].join('\n'),
  )
}

/** Not below, beyond what chance alone does to two runs. */
function compare(off: Arm, on: Arm): void {
  const [a, b] = [total(off), total(on)]
  expect(b.met / b.offered).toBeGreaterThanOrEqual(a.met / a.offered - 2.33 * deviationOf(off, on))
}

function directions(on: Arm): void {
  const of = (knob: string, key = ''): Arm['moves'] => on.moves.filter((move) => move.knob === knob && move.key.includes(key))
  // Throttle: it moved, each time where its own headroom pointed.
  const limit = of('throttle.limit')
  expect(limit.length).toBeGreaterThan(0)
  for (const move of limit) expect(move.to < move.from, `${move.reason} ${move.from} → ${move.to}`).toBe(['slo_exceeded', 'upstream_rejects', 'utilisation_high', 'revert'].includes(move.reason))
  // Batching: nothing is held open where holding cannot pay; sizes follow demand and the run-time budget.
  expect(of('batching.max_delay_ms', 'intent').some((move) => move.to < move.from && move.phase === 'calm')).toBe(true)
  for (const move of of('batching.max_batch')) expect(move.to > move.from, `${move.reason} ${move.from} → ${move.to}`).toBe(['demand_above_limit', 'work_conserving', 'revert'].includes(move.reason))
  // TTL: what changes often is cut, and lives no longer than what hardly changes.
  const ttl = of('cache.ttl_s')
  expect(ttl.some((move) => move.key === 'class=packing' && move.to < move.from)).toBe(true)
  const last = (key: string): number => ttl.findLast((move) => move.key === key)?.to ?? Number.POSITIVE_INFINITY
  expect(last('class=packing')).toBeLessThan(last('class=delivered'))
}

/** Wilson's lower bound, one-sided 95%: above the budget only where chance does not explain it. */
function staleShareLower(stale: number, hits: number): number {
  if (hits === 0) return 0
  const z = 1.645
  const p = stale / hits
  return (p + (z * z) / (2 * hits) - z * Math.sqrt((p * (1 - p)) / hits + (z * z) / (4 * hits * hits))) / (1 + (z * z) / hits)
}
