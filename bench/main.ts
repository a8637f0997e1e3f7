/** `npm run bench -- NAME [arguments]`: each benchmark is a folder here with an `index` that exports `run(args)`. */
import { readdir } from 'node:fs/promises'

const here = new URL('./', import.meta.url)
const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'

export interface Benchmark {
  /** One line for the list. */
  readonly doc?: string
  run(args: readonly string[]): Promise<void>
}

async function main(): Promise<void> {
  const [name, ...args] = process.argv.slice(2)
  const folders = (await readdir(here, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map((entry) => entry.name).sort()
  if (name === undefined || name.startsWith('-') || !folders.includes(name)) {
    process.stderr.write(`usage: npm run bench -- NAME [--json FILE] …\nbenchmarks: ${folders.join(', ')}\n`)
    process.exitCode = name === undefined || name === '--help' ? 0 : 1
    return
  }
  const benchmark = (await import(new URL(`${name}/index${extension}`, here).href)) as Benchmark
  await benchmark.run(args)
}

await main().catch((error: Error) => {
  process.stderr.write(`bench: ${error.message}\n`)
  process.exitCode = 1
})
