/** The JSON against the SDK's own types; the files around it against each other. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { panelsOf } from '../../dashboards/lint.ts'
import { NAMINGS } from '../../dashboards/naming.ts'
import { BOARD_NAMES, dashboardsFolder, readBoard } from './boards.ts'
import { repositoryRoot } from '../support/data.ts'
import { need } from '../support/need.ts'
import { checkConfig } from './promtool.ts'
import { misfits } from './sdk-schema.ts'

/** Module of the SDK for each panel type that the boards use. */
const MODULES: Readonly<Record<string, string>> = { timeseries: 'timeseries', stat: 'stat', table: 'table', heatmap: 'heatmap', 'state-timeline': 'statetimeline' }
/** The SDK has types of these panels' options only; their field configuration is common or free. */
const WITHOUT_FIELD_CONFIG = ['stat']

describe.each(NAMINGS)('schema of the boards for %s', (naming) => {
  it.each(BOARD_NAMES)('%s fits Grafana’s types, each panel its own', (name) => {
    const board = readBoard(name, naming)
    expect(misfits(board, 'dashboard', 'Dashboard')).toEqual([])
    expect(board.schemaVersion).toBeGreaterThanOrEqual(39)
    for (const panel of panelsOf(board) as unknown as Record<string, any>[]) {
      const module = MODULES[panel['type'] as string]
      expect(module, `no schema known for ${panel['type']}`).toBeDefined()
      expect([panel['title'], misfits(panel['options'], module as string, 'Options')]).toEqual([panel['title'], []])
      if (!WITHOUT_FIELD_CONFIG.includes(panel['type'] as string)) expect([panel['title'], misfits(panel['fieldConfig'].defaults.custom ?? {}, module as string, 'FieldConfig')]).toEqual([panel['title'], []])
      for (const target of panel['targets'] as unknown[]) expect([panel['title'], misfits(target, 'prometheus', 'Dataquery')]).toEqual([panel['title'], []])
    }
  })
})

it('the schema check finds what does not fit', () => {
  const board = readBoard('overview') as unknown as Record<string, any>
  const spoilt = (spoil: (copy: Record<string, any>) => void): string[] => {
    const copy = structuredClone(board)
    spoil(copy)
    return misfits(copy, 'dashboard', 'Dashboard')
  }
  expect(spoilt((copy) => void (copy['titel'] = 'x'))).toEqual(['Dashboard.titel: not in the schema'])
  expect(spoilt((copy) => void (copy['graphTooltip'] = 7))).toHaveLength(1)
  expect(spoilt((copy) => void (copy['panels'][1].gridPos.w = '6'))).not.toEqual([])
  expect(spoilt((copy) => void delete copy['schemaVersion'])).toEqual(['Dashboard.schemaVersion: missing'])
  expect(misfits({ ...board['panels'].find((panel: { type: string }) => panel.type === 'timeseries').options, legend: { displayMode: 'lines' } }, 'timeseries', 'Options')).not.toEqual([])
})

describe('files around the boards', () => {
  const read = (path: string): string => readFileSync(join(dashboardsFolder, path), 'utf8')

  it('provisioning parses, and its paths are those that compose mounts', () => {
    const sources = parse(read('provisioning/datasources/flyball.yaml')) as { apiVersion: number; datasources: { type: string; uid: string; url: string }[] }
    expect(sources.datasources.map(({ type }) => type).sort()).toEqual(['prometheus', 'tempo'])
    const { providers } = parse(read('provisioning/dashboards/flyball.yaml')) as { providers: { options: { path: string } }[] }
    const { services } = parse(read('compose.yaml')) as { services: Record<string, { volumes: string[]; environment?: Record<string, string> }> }
    const mounts = Object.values(services).flatMap(({ volumes }) => volumes.map((volume) => volume.split(':') as [string, string]))
    for (const [from] of mounts) expect(existsSync(join(dashboardsFolder, from)), from).toBe(true)
    const provided = mounts.filter(([, to]) => to.startsWith(`${providers[0]?.options.path}/`)).map(([from]) => basename(from, '.json')).sort()
    expect(provided).toEqual([...BOARD_NAMES].sort())
    for (const { url } of sources.datasources) expect(services['grafana']?.environment).toHaveProperty(url.replace(/^\$\{|\}$/g, ''))
    expect(mounts.map(([, to]) => to)).toContain('/etc/grafana/provisioning')
  })

  it('Prometheus’s configuration loads the rules that compose mounts, and scrapes where npm start listens', () => {
    const config = parse(read('compose/prometheus.yaml')) as { rule_files: string[]; scrape_configs: { metrics_path: string; static_configs: { targets: string[] }[] }[] }
    expect(read('compose.yaml')).toContain(`./generated/rules.yaml:${config.rule_files[0]}`)
    expect(config.scrape_configs[0]?.static_configs[0]?.targets).toEqual(['127.0.0.1:8787'])
    expect(readFileSync(join(dashboardsFolder, '..', 'examples/shop-desk/flags.ts'), 'utf8')).toContain('let port = 8787')
  })

  need('promtool').it('the three commands for those without Docker hold what they say', () => {
    const [, commands = ''] = /```\n([^`]+)```/.exec(read('README.md').slice(read('README.md').indexOf('Without it'))) ?? []
    const [install, configure = '', run = ''] = commands.trim().split('\n')
    expect(install).toContain('apt-get install -y prometheus')
    const folder = mkdtempSync(join(tmpdir(), 'flyball-readme-'))
    try {
      const config = join(folder, 'prometheus.yaml')
      const [, path = ''] = /> (\S+)$/.exec(configure) ?? []
      expect(spawnSync('sh', ['-c', configure.replace(path, config)], { cwd: repositoryRoot }).status).toBe(0)
      expect(run).toContain(`--config.file=${path}`)
      expect(checkConfig(config)).toMatchObject({ ok: true, output: expect.stringMatching(/\b1 rule files? found[\s\S]*\d\d rules found/) as unknown })
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it('links of alerts lead to boards that exist', () => {
    const uids = BOARD_NAMES.map((name) => `/d/${readBoard(name).uid}`)
    for (const [, link] of read('generated/rules.yaml').matchAll(/^ +dashboard: (.+)$/gm)) expect(uids).toContain(link)
  })
})
