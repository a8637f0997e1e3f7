/** `npm run dashboards [-- --check]`: writes dashboards/generated from the declarations, or says which files differ. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { declaredBy } from './declared.ts'
import { findDeclares } from './find-declares.ts'
import { generate } from './generate.ts'

/** The repository's own `dashboards`, whether this runs from the sources or from `dist`. */
const here = dirname(fileURLToPath(import.meta.url))
const home = here.includes('/dist/') ? join(here, '..', '..', 'dashboards') : here

/** Files by their path below `dashboards/generated`. */
export async function generatedFiles(): Promise<Map<string, string>> {
  const declared = declaredBy(await findDeclares())
  const files = generate(declared, { naming: 'metrics' })
  for (const [name, text] of generate(declared, { naming: 'otlp' })) files.set(join('otlp', name), text)
  return files
}

/** Paths that are missing, left over or different. */
export function differences(files: ReadonlyMap<string, string>, folder: string): string[] {
  const there = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => relative(folder, join(entry.parentPath, entry.name)))
  return [...new Set([...there, ...files.keys()])].filter((name) => !there.includes(name) || files.get(name) !== readFileSync(join(folder, name), 'utf8')).sort()
}

export const generatedFolder = join(home, 'generated')

async function main(args: readonly string[]): Promise<void> {
  const files = await generatedFiles()
  mkdirSync(generatedFolder, { recursive: true })
  const changed = differences(files, generatedFolder)
  if (args.includes('--check')) {
    for (const name of changed) process.stdout.write(`differs: dashboards/generated/${name}\n`)
    process.exitCode = changed.length > 0 ? 1 : 0
    return
  }
  for (const name of changed) {
    const text = files.get(name)
    const path = join(generatedFolder, name)
    if (text === undefined) {
      rmSync(path)
      continue
    }
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  process.stdout.write(`dashboards/generated: ${files.size} files, ${changed.length} changed\n`)
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === process.argv[1]) await main(process.argv.slice(2))
