/** `node test/dashboards/live/pictures.ts`: runs a gateway under load with a real Prometheus, and draws each board into dashboards/pictures. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generate } from '../../../dashboards/generate.ts'
import { panelsOf, type BoardJson, type Target } from '../../../dashboards/lint.ts'
import { BOARD_NAMES, dashboardsFolder } from '../boards.ts'
import { drawBoard } from './draw.ts'
import { startGateway } from './gateways.ts'
import { fillIn } from './grafana.ts'
import { startPrometheus, type SeriesResult } from './prometheus.ts'

const RANGE_S = 90
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const gateway = await startGateway({ models: ['shop-large', 'shop-small'], load: true })
const prometheus = await startPrometheus([{ name: 'gateway', targets: [{ address: gateway.address, instance: 'gateway:8787' }] }])
try {
  await sleep(25_000)
  gateway.tell({ do: 'seesaw', set: { mode: 'still', goTo: 1_500 } })
  await sleep(25_000)
  gateway.tell({ do: 'seesaw', set: { mode: 'swing', kvUsed: 0.8 } })
  gateway.tell({ do: 'upstream', answer: 'limited' })
  await sleep(8_000)
  gateway.tell({ do: 'upstream', answer: 'fine' })
  gateway.tell({ do: 'seesaw', set: { mode: 'calm' } })
  gateway.tell({ do: 'experiment', on: true })
  await sleep(25_000)
  gateway.tell({ do: 'experiment', on: false })
  await sleep(7_000)
  const files = generate(gateway.declared, { naming: 'metrics' })
  const folder = join(dashboardsFolder, 'pictures')
  mkdirSync(folder, { recursive: true })
  const choice = { job: 'All', instance: 'All', backend: 'All', model: 'All' } as const
  for (const name of BOARD_NAMES) {
    const board = JSON.parse(files.get(`${name}.json`) ?? '') as BoardJson
    const results = new Map<Target, SeriesResult[]>()
    const endS = Date.now() / 1_000
    for (const target of panelsOf(board).flatMap(({ targets = [] }) => targets)) {
      const expr = fillIn(target.expr, { choice, rateInterval: '5s', range: `${RANGE_S}s` })
      results.set(target, target.instant ? await prometheus.query(expr) : await prometheus.range(expr, endS - RANGE_S, endS, 2))
    }
    writeFileSync(join(folder, `${name}.svg`), drawBoard(board, results))
  }
} finally {
  await Promise.all([prometheus.close(), gateway.close()])
}
