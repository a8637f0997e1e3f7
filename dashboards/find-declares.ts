/** The declarations of every plugin and backend in this repository, found, not listed: a new one has its panels at once. */
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { join } from 'node:path'
import type { Declares } from '../src/core/plugin.ts'
import type { InstrumentSpec } from '../src/telemetry/instrument-spec.ts'

/** Sources run as `.ts`, the build as `.js`. */
const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'
const pluginsFolder = fileURLToPath(new URL('../plugins', import.meta.url))

/** `plugins/<kind>/<name>/index` with a factory, or files named `*declares`. */
export async function findDeclares(folder: string = pluginsFolder): Promise<Declares[]> {
  const found: Declares[] = []
  for (const kind of folders(folder)) {
    for (const plugin of folders(join(folder, kind))) {
      const home = join(folder, kind, plugin)
      for (const file of readdirSync(home).sort()) {
        if (file !== `index${extension}` && !file.endsWith(`declares${extension}`)) continue
        found.push(...declaresIn((await import(pathToFileURL(join(home, file)).href)) as Record<string, unknown>))
      }
    }
  }
  return found
}

function folders(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name).sort()
}

/** Factories carry their definition; records of specs are told by what their values look like. */
export function declaresIn(module: Readonly<Record<string, unknown>>): Declares[] {
  return Object.values(module).flatMap((value): Declares[] => {
    const definition = (value as { definition?: { declares?: Declares } } | undefined)?.definition
    if (typeof value === 'function') return definition?.declares ? [definition.declares] : []
    if (typeof value !== 'object' || value === null) return []
    const specs = Object.values(value)
    if (specs.length === 0) return []
    if (specs.every(isInstrument)) return [{ instruments: value as Record<string, InstrumentSpec> }]
    if (specs.every(isKnob)) return [{ knobs: value } as Declares]
    if (specs.every(isSignal)) return [{ signals: value } as Declares]
    return []
  })
}

const has = (value: unknown, ...keys: string[]): boolean => typeof value === 'object' && value !== null && keys.every((key) => key in value)
const isInstrument = (value: unknown): boolean => has(value, 'name', 'kind', 'unit', 'labels')
const isKnob = (value: unknown): boolean => has(value, 'name', 'default', 'min', 'max', 'maxUp', 'safeDirection')
const isSignal = (value: unknown): boolean => has(value, 'name', 'aggregate', 'windowMs', 'staleAfterMs')
