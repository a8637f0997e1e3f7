/** Boards and rules for what a configuration declares. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Governor } from '../governor-contract.ts'
import { cliLog } from './cli-log.ts'
import { governorFor, readConfig } from './configured.ts'

/** `classic`: Grafana 10.4 to 13, and file provisioning. `v2`: Grafana 13's own, for its API and import page. */
export const BOARD_FORMATS = ['classic', 'v2'] as const
export type BoardFormat = (typeof BOARD_FORMATS)[number]

export interface GenerateDashboards {
  /** The configuration file. */
  readonly config: string
  /** An existing folder. */
  readonly folder: string
  readonly naming: 'metrics' | 'otlp'
  readonly format: BoardFormat
  readonly runbookUrl?: string
}

/** Returns the names of the written files. Throws what reading a configuration throws, and a TypeError without Grafana's SDK. */
export async function generateDashboards({ config, folder, format, ...options }: GenerateDashboards): Promise<string[]> {
  const { generate } = await generator()
  const governor = await governorFor(await readConfig(config), config, cliLog('silent'))
  try {
    const files = generate(declaredIn(governor), options)
    for (const [name, text] of files) writeFileSync(join(folder, name), await inFormat(format, name, text))
    return [...files.keys()]
  } finally {
    await governor.close()
  }
}

/** Boards are generated in the classic format. */
export async function inFormat(format: BoardFormat, name: string, text: string): Promise<string> {
  if (format === 'classic' || !name.endsWith('.json')) return text
  const { boardV2 } = await import('../../dashboards/board-v2.ts')
  return `${JSON.stringify(boardV2(JSON.parse(text) as Record<string, unknown>), null, 2)}\n`
}

/** Whatever a governor's parts declare, ours and third parties'. */
export function declaredIn(governor: Pick<Governor, 'instruments' | 'knobs' | 'signals' | 'loop' | 'classes'>) {
  const byName = (a: { readonly name: string }, b: { readonly name: string }): number => (a.name < b.name ? -1 : 1)
  return {
    instruments: [...governor.instruments.all()].sort(byName),
    knobs: [...governor.knobs.all()].map(({ spec }) => spec).sort(byName),
    signals: [...governor.signals.all()].map(({ spec }) => spec).sort(byName),
    controllers: [...governor.loop.controllers].sort(byName),
    classes: governor.classes,
  }
}

/** The generator needs Grafana's SDK, 11 MB that a gateway does not: it is brought only by those who generate. */
async function generator(): Promise<typeof import('../../dashboards/generate.ts')> {
  try {
    return await import('../../dashboards/generate.ts')
  } catch (thrown) {
    const { code, message } = thrown as NodeJS.ErrnoException
    if (code !== 'ERR_MODULE_NOT_FOUND' || !message.includes('grafana-foundation-sdk')) throw thrown
    throw new TypeError('dashboards are generated with Grafana’s SDK, which is not here: npm install --save-dev @grafana/grafana-foundation-sdk@0.0.21', { cause: thrown })
  }
}
