/** One run of one policy on one workload with one seed, and the file that remembers it. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { simulate } from '../../src/sim/simulate.ts'
import type { Policy } from './policies.ts'
import { makeWorkload, type BenchWorkload } from './workloads.ts'

export interface Cell {
  readonly goodput: number
  readonly smooth: number
  readonly fromFirst: number
  readonly goodputPerS: number
  readonly phases: Readonly<Record<string, number>>
  readonly settledS: Readonly<Record<string, number | null>>
  readonly offered: number
  readonly wasted: number
  readonly fairness: number
  readonly provider429s: number
  readonly startedInTime: number | null
  readonly movesPerMinute: number
}

const root = new URL('../../', import.meta.url)

/** Of this folder only these decide what a cell holds. */
const OF_BENCH = /^(?:policies|run-cell|settings|workloads)\.[tj]s$/

/** What a result depends on beside its own inputs: every line that runs in it. */
export function sourceHash(): string {
  const hash = createHash('sha256')
  for (const folder of ['src/core', 'src/control', 'src/knobs', 'src/signals', 'src/sim', 'plugins/optimizers', 'plugins/rivals', 'bench/goodput']) {
    for (const file of readdirSync(new URL(`${folder}/`, root), { recursive: true, encoding: 'utf8' }).sort()) {
      if (/(?<!\.d)\.[tj]s$/.test(file) && (folder !== 'bench/goodput' || OF_BENCH.test(file))) hash.update(file.replace(/\.[tj]s$/, '')).update(readFileSync(new URL(`${folder}/${file}`, root)))
    }
  }
  return hash.digest('hex').slice(0, 16)
}

export async function runCell(policy: Policy, workload: BenchWorkload, seed: number): Promise<Cell> {
  const made = makeWorkload(workload, seed)
  const result = await simulate({
    ...made,
    plant: workload.setting.plant,
    classes: workload.setting.classes,
    plugins: policy.make(),
    seed,
    ...(workload.client ? { client: workload.client } : {}),
  })
  return {
    goodput: result.goodput,
    smooth: result.smoothGoodput,
    fromFirst: result.goodputFromFirst,
    goodputPerS: result.goodputPerS,
    phases: Object.fromEntries(result.phases.filter((phase) => phase.offered > 0).map((phase) => [phase.name, phase.goodput])),
    settledS: Object.fromEntries(result.settling.map((one) => [one.phase, one.settledS ?? null])),
    offered: result.offered,
    wasted: result.wastedShare,
    fairness: result.fairness,
    provider429s: result.provider429s,
    startedInTime: result.classes['interactive']?.startedInTime ?? null,
    movesPerMinute: Object.values(result.movesPerMinute).reduce((a, b) => Math.max(a, b), 0),
  }
}

/** Results by what they came from. A changed source makes them stale, and they are run again. */
export class CellCache {
  readonly #path: URL
  readonly #source: string
  #cells: Record<string, Cell> = {}

  private constructor(path: URL, source: string) {
    this.#path = path
    this.#source = source
  }

  static async open(path: URL, source: string): Promise<CellCache> {
    const cache = new CellCache(path, source)
    try {
      const saved = JSON.parse(await readFile(path, 'utf8')) as { source?: string; cells?: Record<string, Cell> }
      if (saved.source === source && saved.cells) cache.#cells = saved.cells
    } catch {
      // None yet, or none that we can use.
    }
    return cache
  }

  async cell(policy: Policy, workload: BenchWorkload, seed: number): Promise<Cell> {
    const key = `${workload.name} | ${policy.name} | ${seed} | ${hashOf({ setting: workload.setting, phases: workload.phases, stretch: workload.stretch ?? 1, client: workload.client ?? null })}`
    return (this.#cells[key] ??= await runCell(policy, workload, seed))
  }

  async save(): Promise<void> {
    const beside = new URL(`${this.#path.href}.tmp`)
    await writeFile(beside, `${JSON.stringify({ source: this.#source, cells: this.#cells })}\n`)
    await rename(beside, this.#path)
  }
}

const hashOf = (value: unknown): string => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 12)
