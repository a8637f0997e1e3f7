/** What real servers answered, byte for byte: kept by `tools/capture-upstream` (its `capture.json` says how). */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const FOLDER = new URL('../fixtures/upstreams/', import.meta.url)

export interface Captured {
  readonly status: number
  readonly contentType: string
  readonly bytes: Buffer
  readonly text: string
}

export function captured(server: string): { readonly names: readonly string[]; get(name: string): Captured } {
  const read = (file: string): Buffer => readFileSync(fileURLToPath(new URL(`${server}/${file}`, FOLDER)))
  const { replies } = JSON.parse(read('capture.json').toString()) as { replies: Record<string, { status: number; contentType: string }> }
  return {
    names: Object.keys(replies),
    get(name) {
      const head = replies[name]
      if (!head) throw new Error(`${server} has no ${name}`)
      const bytes = read(name)
      return { ...head, bytes, text: bytes.toString() }
    },
  }
}
