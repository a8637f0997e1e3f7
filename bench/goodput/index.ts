/**
 * `npm run bench -- goodput [--json OUT]`: is governing better than the best fixed setting, and than others' algorithms?
 * Paired arrivals, open loop. Everybody gets the same tuning budget: the settings listed in policies.ts, each tried on the
 * same two seeds; the two best statics and the two best rivals are then run on all seeds. Ours has no settings.
 */
import { parseArgs } from 'node:util'
import { writeFile } from 'node:fs/promises'
import { CellCache, sourceHash, type Cell } from './run-cell.ts'
import { controlCost, recovery, steady, type Steady } from './conduct.ts'
import { peakHold, startedAt2x, type PeakHold, type StartedAt2x } from './peak-hold.ts'
import { policiesFor, type Policy } from './policies.ts'
import { tableOf, writeFigures } from './readme-figures.ts'
import { speed } from './speed.ts'
import { batchSetting, cliffSetting, freshnessSetting, heldOutFreshness, hostedSetting, llmSetting, llmStartSetting } from './settings.ts'
import { staleness, type StaleReport } from './staleness.ts'
import { mean, median, summarise, type Summary } from './statistics.ts'
import { HELD_OUT_SEEDS, TUNING_SEEDS, WORKLOADS, type BenchWorkload } from './workloads.ts'

export const doc = 'goodput of ours, of rivals and of statics, by workload, in virtual time (--real: against running backends)'

/** Seeds on which settings are compared. */
const SEARCH_SEEDS = 2
const FINALISTS = 2
/** Each is 800 s of 25 and more requests a second, for each of two dozen policies. */
const FRESHNESS_SEEDS = 4

const percent = (share: number): string => `${(share * 100).toFixed(1)}%`

interface Row {
  readonly policy: string
  readonly role: Policy['role']
  readonly goodput: Summary
  readonly smooth: number
  readonly fromFirst: number
  readonly wasted: number
  readonly fairness: number
  readonly movesPerMinute: number
  readonly phases: Readonly<Record<string, number>>
  readonly settledS: Readonly<Record<string, number | null>>
}

interface Table {
  readonly workload: string
  readonly heldOut: boolean
  readonly mix: boolean
  readonly rows: readonly Row[]
  readonly vsBestStatic: number
  readonly vsBestRival: number
  readonly bestStatic: string
  readonly bestRival: string
  /** Ours over the best static for that phase, by phase. */
  readonly phaseRatios: Readonly<Record<string, number>>
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { json: { type: 'string' }, seeds: { type: 'string', default: '10' }, only: { type: 'string' }, real: { type: 'boolean', default: false }, quick: { type: 'boolean', default: false }, readme: { type: 'boolean', default: false } } })
  const out = (line: string): void => void process.stdout.write(`${line}\n`)
  if (values.real) {
    const { real } = await import('./real.ts')
    return real({ out, readme: values.readme, ...(values.json === undefined ? {} : { json: values.json }) })
  }
  const seedCount = values.quick ? 3 : Number(values.seeds)
  if (!Number.isInteger(seedCount) || seedCount < 1 || seedCount > TUNING_SEEDS.length) throw new TypeError(`--seeds: expected 1 to ${TUNING_SEEDS.length}, got ${values.seeds}`)
  const source = sourceHash()
  const cache = await CellCache.open(new URL('./results.json', new URL(import.meta.url.includes('/dist/') ? '../../../bench/goodput/' : './', import.meta.url)), source)
  const tables: Table[] = []
  for (const workload of WORKLOADS) {
    if (values.only !== undefined && !workload.name.includes(values.only)) continue
    const table = await measure(workload, (workload.heldOut ? HELD_OUT_SEEDS : TUNING_SEEDS).slice(0, seedCount), cache)
    tables.push(table)
    print(table, out)
    await cache.save()
  }
  out('\nfreshness (budget 2% of hits)')
  const stale: StaleReport = await staleness(freshnessSetting, TUNING_SEEDS.slice(0, Math.min(seedCount, FRESHNESS_SEEDS)), out)
  out('\nfreshness, held out')
  const heldOutStale: StaleReport = await staleness(heldOutFreshness, HELD_OUT_SEEDS.slice(0, Math.min(seedCount, FRESHNESS_SEEDS)), out)
  const holds: PeakHold[] = []
  for (const setting of [batchSetting, llmSetting]) holds.push(await peakHold(setting, TUNING_SEEDS.slice(0, 3)))
  for (const hold of holds) out(`\n${hold.setting}: goodput/s by offered load ${Object.entries(hold.goodputPerS).map(([load, perS]) => `${load}x ${perS.toFixed(1)}`).join(', ')}; at 3x ${hold.peakHold3x.toFixed(3)} of the peak`)
  const started: StartedAt2x[] = []
  for (const setting of [batchSetting, llmStartSetting]) started.push(await startedAt2x(setting, TUNING_SEEDS.slice(0, 3)))
  for (const one of started) out(`${one.setting}: at 2x ${percent(one.interactiveInTime)} of started interactive calls in time, ${percent(one.interactiveGoodput)} of those offered within all targets, batch class ${percent(one.batchGoodput)} (worst seed)`)
  const conduct: (Steady & { recovered: number })[] = []
  for (const setting of [batchSetting, cliffSetting, llmSetting, hostedSetting]) conduct.push({ ...(await steady(setting, TUNING_SEEDS.slice(0, seedCount))), recovered: (await recovery(setting, TUNING_SEEDS.slice(0, seedCount))).goodput })
  for (const one of conduct) out(`${one.setting}: an hour at 80% load: ${one.movesPerMinute.toFixed(2)} moves a minute of the busiest knob, drift ${(one.drift * 100).toFixed(1)}% ± ${(one.driftError * 100).toFixed(1)} (standard error), ten minutes' means within ${percent(one.band)} of the hour's; 30 s after a 3x overload with retries goodput ${one.recovered.toFixed(3)} (worst seed)`)
  const cost = await controlCost()
  out(`loops at 1,000 requests/s: ${(cost * 100).toFixed(2)}% of a core`)
  const speeds = await speed()
  for (const one of speeds) out(`${one.plant}: ${Math.round(one.perMinute).toLocaleString('en')} simulated requests a CPU minute (${one.policy})`)

  const tuned = tables.filter((table) => !table.heldOut)
  const least = (list: readonly number[]): number | null => (list.length === 0 ? null : Math.min(...list))
  const ratios = {
    phaseMin: least(tuned.flatMap((table) => Object.values(table.phaseRatios))),
    mixVsBestStaticMin: least(tuned.map((table) => table.vsBestStatic)),
    mixVsBestRival: least(tuned.filter((table) => table.mix).map((table) => table.vsBestRival)),
    mixVsBestRivalFirstTry: least(tuned.filter((table) => table.mix).map(firstTryVsBestRival)),
    peakHold3x: least(holds.map((hold) => hold.peakHold3x)),
    staleWorst: stale.staleWorst,
    hitVsBestFixed: stale.hitVsBestFixed,
    simPerMinute: least(speeds.filter((one) => one.policy === 'flyball').map((one) => one.perMinute)),
    interactiveInTimeAt2x: least(started.map((one) => one.interactiveInTime)),
    batchClassAt2x: least(started.map((one) => one.batchGoodput)),
    recovered30s: least(conduct.map((one) => one.recovered)),
    steadyMovesPerMinute: Math.max(...conduct.map((one) => one.movesPerMinute)),
    steadyDrift: Math.max(...conduct.map((one) => Math.abs(one.drift))),
    steadyDriftInErrors: Math.max(...conduct.map((one) => (one.driftError === 0 ? 0 : Math.abs(one.drift) / one.driftError))),
    controlCost: cost,
  }
  const heldOut = { phaseMin: least(tables.filter((table) => table.heldOut).flatMap((table) => Object.values(table.phaseRatios))), vsBestStaticMin: least(tables.filter((table) => table.heldOut).map((table) => table.vsBestStatic)), vsBestRivalMin: least(tables.filter((table) => table.heldOut).map((table) => table.vsBestRival)), staleWorst: heldOutStale.staleWorst, hitVsBestFixed: heldOutStale.hitVsBestFixed }
  out(`\nratios ${JSON.stringify(ratios)}\nheld out ${JSON.stringify(heldOut)}`)
  if (values.readme) await writeFigures('figures', figures(tables, { ratios, heldOut, stale, heldOutStale, started, conduct, source, seeds: seedCount }))
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify({ name: 'goodput', source, seeds: seedCount, searchSeeds: SEARCH_SEEDS, ratios, heldOut, tables, stale, heldOutStale, peakHold: holds, startedAt2x: started, conduct, speed: speeds }, null, 1)}\n`)
}

interface Summed {
  readonly ratios: Readonly<Record<string, number | null>>
  readonly heldOut: Readonly<Record<string, number | null>>
  readonly stale: StaleReport
  readonly heldOutStale: StaleReport
  readonly started: readonly StartedAt2x[]
  readonly conduct: readonly (Steady & { recovered: number })[]
  readonly source: string
  readonly seeds: number
}

const GOALS: Readonly<Record<string, string>> = { phaseMin: '.95', mixVsBestStaticMin: '.98', mixVsBestRival: '1.2', peakHold3x: '.9', staleWorst: '1', hitVsBestFixed: '.9', simPerMinute: '1,000,000', interactiveInTimeAt2x: '.99', batchClassAt2x: '> 0', recovered30s: '.95', steadyMovesPerMinute: '2', controlCost: '.01' }
const HELD_OUT_NAMES: Readonly<Record<string, string>> = { phaseMin: 'phaseMin', mixVsBestStaticMin: 'vsBestStaticMin', mixVsBestRival: 'vsBestRivalMin', staleWorst: 'staleWorst', hitVsBestFixed: 'hitVsBestFixed' }

/** What README.md shows of a run. */
function figures(tables: readonly Table[], { ratios, heldOut, stale, heldOutStale, started, conduct, source, seeds }: Summed): string {
  const workloads = tables.map(({ workload, rows, bestStatic, bestRival, vsBestStatic, phaseRatios }) => {
    const row = (name: string | undefined): Row | undefined => rows.find(({ policy, role }) => (name === undefined ? role === 'ours' : policy === name))
    const [ours, rival, fixed] = [row(undefined), row(bestRival), row(bestStatic)] as [Row, Row, Row]
    const [worst, worstRatio] = Object.entries(phaseRatios).reduce((a, b) => (b[1] < a[1] ? b : a))
    const first = [ours, fixed, rival].map(({ fromFirst }) => fromFirst.toFixed(3)).join(' / ')
    return [workload, `${ours.goodput.mean.toFixed(3)} (${ours.goodput.low.toFixed(3)}–${ours.goodput.high.toFixed(3)})`, row('no control')?.goodput.mean.toFixed(3) ?? '', `${rival.goodput.mean.toFixed(3)} ${bestRival}`, `${fixed.goodput.mean.toFixed(3)} ${bestStatic.replace('static ', '')}`, vsBestStatic.toFixed(3), first, `${worstRatio.toFixed(2)} ${worst}`]
  })
  const shown = (value: number | null | undefined): string => (value === null || value === undefined ? '' : value > 1e3 ? Math.round(value).toLocaleString('en') : value.toPrecision(3))
  return [
    `${seeds} seeds, sources ${source}.`,
    tableOf(['workload', 'ours (95%)', 'no control', 'best rival', 'best static, in hindsight', 'ours / best static', '1st try: ours / that static / that rival', 'worst phase / best static for it'], workloads),
    tableOf(['ratio', 'figure', 'held out', 'goal'], Object.entries(ratios).map(([name, value]) => [`\`${name}\``, shown(value), shown(heldOut[HELD_OUT_NAMES[name] ?? '']), GOALS[name] ?? '–'])),
    `Stale hits, budget ${stale.epsilon * 100}%: ${[stale, heldOutStale].flatMap(({ rows }) => Object.entries(rows[0]?.classes ?? {}).map(([name, one]) => `${name} ${(one.staleShare * 100).toFixed(2)}% (${percent(one.hitRatio)} hits)`)).join(', ')}; the last ${Object.keys(heldOutStale.rows[0]?.classes ?? {}).length} held out.`,
    `At twice the capacity, worst seed: ${started.map((one) => `${one.setting}: ${percent(one.interactiveInTime)} of started interactive calls in time, ${percent(one.interactiveGoodput)} of those offered within all targets, batch class ${percent(one.batchGoodput)}`).join('; ')}.`,
    `An hour at 80% load: ${conduct.map((one) => `${one.setting} ${one.movesPerMinute.toFixed(2)} moves a minute, drift ${(one.drift * 100).toFixed(1)}% ± ${(one.driftError * 100).toFixed(1)}, ten minutes' means within ${percent(one.band)} of the hour's`).join('; ')}.`,
  ].join('\n\n')
}

async function measure(workload: BenchWorkload, seeds: readonly number[], cache: CellCache): Promise<Table> {
  const policies = policiesFor(workload.setting)
  const cellsOf = (policy: Policy, of: readonly number[]): Promise<Cell[]> => of.reduce<Promise<Cell[]>>(async (before, seed) => [...(await before), await cache.cell(policy, workload, seed)], Promise.resolve([]))
  const search = seeds.slice(0, SEARCH_SEEDS)
  const searched: { policy: Policy; cells: Cell[] }[] = []
  for (const policy of policies) searched.push({ policy, cells: await cellsOf(policy, search) })
  const score = (cells: readonly Cell[]): number => mean(cells.map((cell) => cell.goodput))
  const best = <T extends { cells: Cell[] }>(list: readonly T[]): T[] => [...list].sort((a, b) => score(b.cells) - score(a.cells))
  const families = [...new Set(policies.filter((policy) => policy.role === 'rival').map((policy) => policy.family))]
  const finalists = [
    ...searched.filter(({ policy }) => policy.role === 'ours'),
    ...best(searched.filter(({ policy }) => policy.role === 'static')).slice(0, FINALISTS),
    ...families.flatMap((family) => best(searched.filter(({ policy }) => policy.family === family)).slice(0, 1)),
  ]
  // The rows of other rivals rest on the search seeds alone, and say so.
  const topRivals = best(finalists.filter(({ policy }) => policy.role === 'rival')).slice(0, FINALISTS)
  const rows: Row[] = []
  for (const finalist of finalists) {
    const { policy, cells } = finalist
    const all = policy.role !== 'rival' || topRivals.includes(finalist) ? await cellsOf(policy, seeds) : cells
    rows.push(rowOf(policy, all))
  }
  const ours = rows.find((row) => row.role === 'ours') as Row
  const most = Math.max(...rows.map((row) => row.goodput.seeds))
  const top = (role: Policy['role']): Row => rows.filter((row) => row.role === role && row.goodput.seeds === most).reduce((a, b) => (b.goodput.mean > a.goodput.mean ? b : a))
  const bestStatic = top('static')
  const bestRival = top('rival')
  // Best static for each phase, over the whole grid: it may be another one in each.
  const statics = searched.filter(({ policy }) => policy.role === 'static')
  const oursSearched = searched.find(({ policy }) => policy.role === 'ours')?.cells ?? []
  const phaseRatios = Object.fromEntries(
    Object.keys(ours.phases).map((phase) => {
      const of = (cells: readonly Cell[]): number => mean(cells.map((cell) => cell.phases[phase] ?? 0))
      const bestHere = Math.max(...statics.map(({ cells }) => of(cells)))
      return [phase, bestHere === 0 ? 1 : of(oursSearched) / bestHere]
    }),
  )
  return { workload: workload.name, heldOut: workload.heldOut ?? false, mix: workload.mix ?? false, rows, vsBestStatic: ours.goodput.mean / bestStatic.goodput.mean, vsBestRival: ours.goodput.mean / bestRival.goodput.mean, bestStatic: bestStatic.policy, bestRival: bestRival.policy, phaseRatios }
}

/** Over rivals that were run on as many seeds: nobody's figures from the search alone. */
function firstTryVsBestRival({ rows }: Table): number {
  const most = Math.max(...rows.map((row) => row.goodput.seeds))
  const of = (role: Policy['role']): number => Math.max(...rows.filter((row) => row.role === role && row.goodput.seeds === most).map((row) => row.fromFirst))
  return of('ours') / of('rival')
}

function rowOf(policy: Policy, cells: readonly Cell[]): Row {
  const over = (value: (cell: Cell) => number): number => mean(cells.map(value))
  const first = cells[0] as Cell
  return {
    policy: policy.name,
    role: policy.role,
    goodput: summarise(cells.map((cell) => cell.goodput)),
    smooth: over((cell) => cell.smooth),
    fromFirst: over((cell) => cell.fromFirst),
    wasted: over((cell) => cell.wasted),
    fairness: over((cell) => cell.fairness),
    movesPerMinute: over((cell) => cell.movesPerMinute),
    phases: Object.fromEntries(Object.keys(first.phases).map((phase) => [phase, over((cell) => cell.phases[phase] ?? 0)])),
    settledS: Object.fromEntries(Object.keys(first.settledS).map((phase) => {
      const known = cells.map((cell) => cell.settledS[phase]).filter((value) => typeof value === 'number')
      return [phase, known.length * 2 < cells.length ? null : median(known)]
    })),
  }
}

function print(table: Table, out: (line: string) => void): void {
  out(`\n${table.workload}${table.heldOut ? '  (held out)' : ''}`)
  out(`${'policy'.padEnd(44)} goodput  95% interval    smooth  1st try  wasted  fair  moves/min  seeds`)
  for (const row of [...table.rows].sort((a, b) => b.goodput.mean - a.goodput.mean)) {
    const { mean: value, low, high, seeds } = row.goodput
    out(`${`${row.role === 'ours' ? '> ' : '  '}${row.policy}${row.role === 'static' ? ' (hindsight)' : ''}`.padEnd(44)}  ${value.toFixed(3)}  ${low.toFixed(3)}–${high.toFixed(3)}    ${row.smooth.toFixed(3)}   ${row.fromFirst.toFixed(3)}    ${row.wasted.toFixed(2)}  ${row.fairness.toFixed(2)}  ${row.movesPerMinute.toFixed(1).padStart(9)}  ${String(seeds).padStart(5)}`)
  }
  out(`ours / best static ${table.vsBestStatic.toFixed(3)} (${table.bestStatic}); ours / best rival ${table.vsBestRival.toFixed(3)} (${table.bestRival})`)
  out(`by phase, ours / best static for the phase: ${Object.entries(table.phaseRatios).map(([phase, ratio]) => `${phase} ${ratio.toFixed(2)}`).join(', ')}`)
}
