/** Simulated requests per minute of one core, by plant: CPU time, so that a busy machine does not count. */
import { batching } from '../../plugins/optimizers/batching/index.ts'
import { priority } from '../../plugins/optimizers/priority/index.ts'
import { throttle } from '../../plugins/optimizers/throttle/index.ts'
import { readPlant, type PlantInput } from '../../src/sim/plants/parameters.ts'
import { simulate } from '../../src/sim/simulate.ts'
import { generate } from '../../src/sim/workload/workload.ts'

export interface Speed {
  readonly plant: string
  readonly policy: string
  readonly perMinute: number
}

const CASES: readonly { plant: PlantInput; perS: number; tokens: number; stream: boolean }[] = [
  { plant: { kind: 'batch-server', slots: 2, baseMs: 20, perWorkMs: 1 }, perS: 600, tokens: 1, stream: false },
  { plant: { kind: 'changing-answers', hazardsPerS: {}, serviceMs: 20 }, perS: 500, tokens: 1, stream: false },
  { plant: { kind: 'hosted-api', requestsPerMinute: 1e6, inputTokensPerMinute: 1e9, outputTokensPerMinute: 1e9, ttftMs: 20, tokenMs: 0 }, perS: 500, tokens: 10, stream: false },
  { plant: { kind: 'llm-server' }, perS: 20, tokens: 100, stream: true },
]
const REQUESTS = 30_000

export async function speed(): Promise<Speed[]> {
  const rows: Speed[] = []
  for (const { plant, perS, tokens, stream } of CASES) {
    for (const policy of ['no control', 'flyball'] as const) {
      const count = plant.kind === 'llm-server' ? REQUESTS / 3 : REQUESTS
      const made = generate([{ name: 'steady', durationS: count / perS, perS, mix: [{ share: 1, work: 1, outputTokens: tokens, stream }] }], 1)
      const plugins = policy === 'flyball' ? [throttle(), priority(), batching()] : []
      const from = process.cpuUsage()
      const result = await simulate({ ...made, plant: readPlant(plant), plugins })
      const { user, system } = process.cpuUsage(from)
      rows.push({ plant: plant.kind, policy, perMinute: (result.offered * 60_000_000) / (user + system) })
    }
  }
  return rows
}
