/** Writes what derives from the declarations: `docs/reference.md`, `docs/admin-openapi.json`. With `--check` it only says what is out of date. */
import { readFile, writeFile } from 'node:fs/promises'
import { findDeclares } from '../dashboards/find-declares.ts'
import { referenceMarkdown } from '../src/docs/reference.ts'
import { adminOpenApi } from '../src/http/admin-openapi.ts'
import { createGovernor, type Declares, type Plugin } from '../src/index.ts'

/** The project's root, also when this runs from `dist/`. */
export const root = new URL(import.meta.url.includes('/dist/tools/') ? '../../' : '../', import.meta.url)

export async function generatedReference(): Promise<string> {
  // Factories first: they also name their controllers. The same record may be found again beside its factory.
  const found = (await findDeclares()).sort((a, b) => Object.keys(b.controllers ?? {}).length - Object.keys(a.controllers ?? {}).length)
  const declarations: Plugin[] = once(found).map((declares, i) => ({ name: `declarations-${i}`, phase: 'observe', declares, create: () => ({}) }))
  const governor = createGovernor({ plugins: declarations, loops: 'off', env: {} })
  const text = referenceMarkdown(governor)
  await governor.close()
  return text
}

/** Each name once. */
function once(all: readonly Declares[]): Declares[] {
  const seen = new Set<string>()
  const fresh = <T extends { name: string }>(kind: string, specs: Readonly<Record<string, T>> = {}): Record<string, T> =>
    Object.fromEntries(Object.entries(specs).filter(([, { name }]) => !seen.has(`${kind} ${name}`) && seen.add(`${kind} ${name}`)))
  return all.map(({ knobs, signals, instruments, controllers }) => ({ knobs: fresh('knob', knobs), signals: fresh('signal', signals), instruments: fresh('instrument', instruments), controllers: fresh('controller', controllers) }))
}

/** Generated files by their path from the root. */
export async function generatedDocs(): Promise<Map<string, string>> {
  return new Map([
    ['docs/reference.md', await generatedReference()],
    ['docs/admin-openapi.json', `${JSON.stringify(adminOpenApi(), null, 2)}\n`],
  ])
}

async function main(): Promise<void> {
  for (const [path, fresh] of await generatedDocs()) {
    const file = new URL(path, root)
    const old = await readFile(file, 'utf8').catch(() => '')
    if (fresh === old) continue
    if (process.argv.includes('--check')) {
      process.stderr.write(`${path} is out of date: run npm run generate\n`)
      process.exitCode = 1
    } else {
      await writeFile(file, fresh)
      process.stdout.write(`${path} written\n`)
    }
  }
}

if (process.argv[1] !== undefined && import.meta.url.endsWith(process.argv[1].split('/').slice(-2).join('/'))) await main()
