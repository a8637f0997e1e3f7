/** `flyball dashboards DIR`: the dashboards and rules that belong to this version, to be provisioned or imported. */
import { cp, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { packageRoot } from '../package-root.ts'

/** Names of metrics differ by the way they take to Prometheus: scraped from `/metrics`, or through an OTLP collector. */
const OTLP = 'otlp'

export function configure(command: Command): void {
  command.argument('<folder>', 'is made when it is not there').option('--otlp', 'for metrics that arrive through an OTLP collector').action(dashboards)
}

async function dashboards(folder: string, { otlp }: { otlp?: boolean }): Promise<void> {
  const source = join(packageRoot(), 'dashboards', 'generated', ...(otlp ? [OTLP] : []))
  const files = (await readdir(source, { withFileTypes: true })).filter((entry) => entry.isFile()).map(({ name }) => name)
  await mkdir(folder, { recursive: true })
  for (const name of files) await cp(join(source, name), join(folder, name))
  console.log(`${folder}: ${files.join(', ')}`)
}
