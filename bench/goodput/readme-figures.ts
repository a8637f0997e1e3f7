/** `--readme`: the figures in README.md beside this file, from the results, so that nobody copies numbers by hand. */
import { readFile, writeFile } from 'node:fs/promises'

/** Built code lies under `dist/`, the README does not. */
const readme = new URL('./README.md', new URL(import.meta.url.includes('/dist/') ? '../../../bench/goodput/' : './', import.meta.url))

/** Puts `text` between the marks of this name. Throws when the README has none. */
export async function writeFigures(name: string, text: string): Promise<void> {
  const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`]
  const whole = await readFile(readme, 'utf8')
  const [from, to] = [whole.indexOf(begin), whole.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`bench/goodput/README.md: expected ${begin} and ${end}`)
  await writeFile(readme, `${whole.slice(0, from + begin.length)}\n${text.trim()}\n${whole.slice(to)}`)
}

export const tableOf = (head: readonly string[], rows: readonly (readonly string[])[]): string => [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
