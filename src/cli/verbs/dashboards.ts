/**
 * `flyball dashboards --out DIR`: the dashboards and rules that belong to this version, to be provisioned or imported.
 * With `--config FILE` they are generated for what that configuration declares.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Option, type Command } from 'commander'
import { BOARD_FORMATS, generateDashboards, inFormat, type BoardFormat } from '../dashboards.ts'
import { packageRoot } from '../package-root.ts'

/** Names of metrics differ by the way they take to Prometheus: scraped from `/metrics`, or through an OTLP collector. */
const OTLP = 'otlp'

interface Flags {
  readonly out?: string
  readonly config?: string
  readonly runbook?: string
  readonly otlp?: boolean
  readonly format: BoardFormat
}

export function configure(command: Command): void {
  command
    .argument('[folder]', 'is made when it is not there')
    .option('-o, --out <folder>', 'the same as an option')
    .option('-c, --config <file>', 'generate for this configuration: its plugins’ knobs and metrics, its SLO classes')
    .option('--runbook <url>', 'with --config: where RUNBOOK.md is to be read, for the alerts’ links')
    .option('--otlp', 'for metrics that arrive through an OTLP collector')
    .addOption(new Option('--format <format>', 'classic: Grafana 10.4 to 13, and file provisioning; v2: Grafana 13’s own').choices(BOARD_FORMATS).default('classic'))
    .action(dashboards)
}

async function dashboards(argument: string | undefined, { out, config, runbook, otlp, format }: Flags): Promise<void> {
  const folder = out ?? argument
  if (folder === undefined) throw new TypeError('dashboards: expected --out FOLDER')
  await mkdir(folder, { recursive: true })
  const names = config === undefined ? await copyOurs(folder, otlp === true, format) : await generateDashboards({ config, folder, format, naming: otlp ? OTLP : 'metrics', ...(runbook === undefined ? {} : { runbookUrl: runbook }) })
  console.log(`${folder}: ${names.join(', ')}`)
}

async function copyOurs(folder: string, otlp: boolean, format: BoardFormat): Promise<string[]> {
  const source = join(packageRoot(), 'dashboards', 'generated', ...(otlp ? [OTLP] : []))
  const files = (await readdir(source, { withFileTypes: true })).filter((entry) => entry.isFile()).map(({ name }) => name)
  for (const name of files) await writeFile(join(folder, name), await inFormat(format, name, await readFile(join(source, name), 'utf8')))
  return files
}
