/** Controller states across restarts: a small versioned file, ignored when it does not fit. */
import { readFile, rename, writeFile } from 'node:fs/promises'

const VERSION = 1
/** A file larger than this was not written by us. */
const MAX_BYTES = 4 << 20

/** States by `controller{key}`; empty when there is no file, or one that is not ours. */
export async function loadStates(path: string): Promise<{ states: Record<string, unknown>; ignored?: string }> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? { states: {} } : { states: {}, ignored: `cannot be read (${(error as NodeJS.ErrnoException).code})` }
  }
  if (text.length > MAX_BYTES) return { states: {}, ignored: `is larger than ${MAX_BYTES} bytes` }
  try {
    const document = JSON.parse(text) as { version?: unknown; states?: unknown }
    if (document.version !== VERSION) return { states: {}, ignored: `has version ${String(document.version)}, expected ${VERSION}` }
    if (typeof document.states !== 'object' || document.states === null || Array.isArray(document.states)) return { states: {}, ignored: 'holds no states' }
    return { states: document.states as Record<string, unknown> }
  } catch {
    return { states: {}, ignored: 'is not JSON' }
  }
}

/** Written beside and renamed: a crash leaves the old file or the new one, never half of one. */
export async function saveStates(path: string, states: Readonly<Record<string, unknown>>): Promise<void> {
  const beside = `${path}.tmp`
  await writeFile(beside, `${JSON.stringify({ version: VERSION, states })}\n`, { mode: 0o600 })
  await rename(beside, path)
}
