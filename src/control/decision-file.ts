/** Decisions kept beyond the ring: one JSON object a line, everything in it that a replay needs. */
import { appendFileSync, renameSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { DecisionLog, DecisionRecord } from './decision-log.ts'

/** What came of a move is known this much later, if ever, ms. */
const OUTCOME_AFTER_MS = 60_000
/** Decisions held back for their outcome. */
const MAX_HELD = 64
const DEFAULT_MAX_BYTES = 64 << 20

/** JSON has no infinities; a reading that never had a sample has an infinite age. */
export function decisionLine(record: DecisionRecord): string {
  return JSON.stringify(record, (_, value: unknown) => (typeof value === 'number' && !Number.isFinite(value) ? { $number: String(value) } : value))
}

/** Throws a SyntaxError for a line that is no decision. */
export function parseDecision(line: string): DecisionRecord {
  const record = json(line) as DecisionRecord
  if (typeof record?.seq !== 'number' || typeof record.controller !== 'string' || !Array.isArray(record.moves)) throw new SyntaxError('expected a decision with seq, controller and moves')
  return record
}

function json(line: string): unknown {
  try {
    return JSON.parse(line, (_, value: unknown) => {
      const number = typeof value === 'object' && value !== null ? (value as { $number?: unknown }).$number : undefined
      return typeof number === 'string' ? Number(number) : value
    })
  } catch (error) {
    throw new SyntaxError(`expected a decision as JSON, got ${JSON.stringify(line.slice(0, 40))}`, { cause: error })
  }
}

export interface DecisionFile {
  /** Writes what is held back, and stops listening. */
  close(): void
}

/**
 * Appends every decision to `path`, with its outcome where there is one in time. At `maxBytes` the file becomes `path.1`
 * and a new one is begun: at most twice that is kept. `onError` is told once when the file cannot be written.
 */
export function keepDecisions(log: DecisionLog, path: string, options: { maxBytes?: number; onError?: (error: unknown) => void } = {}): DecisionFile {
  const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES
  let held: DecisionRecord[] = []
  let bytes = sizeOf(path)
  let failed = false

  function write(records: readonly DecisionRecord[]): void {
    if (failed) return
    const text = records.map((record) => `${decisionLine(record)}\n`).join('')
    try {
      if (bytes > 0 && bytes + text.length > maxBytes) {
        renameSync(path, `${path}.1`)
        bytes = 0
      }
      // A few lines a minute: in order and on disk before the process may end matters more than the wait.
      appendFileSync(path, text, { mode: 0o600 })
      bytes += Buffer.byteLength(text)
    } catch (error) {
      failed = true
      options.onError?.(error)
    }
  }

  /** In order: nobody overtakes a decision whose outcome is still open. */
  function flush(nowMs: number): void {
    let ready = 0
    while (ready < held.length) {
      const record = held[ready] as DecisionRecord
      const open = record.outcome === undefined && record.moves.length > 0 && !record.dry && nowMs - record.monoMs < OUTCOME_AFTER_MS
      if (open && held.length - ready <= MAX_HELD) break
      ready++
    }
    if (ready > 0) write(held.slice(0, ready))
    held = held.slice(ready)
  }

  // A wrong path is told at the start, not when the first decision is lost.
  write([])
  const unlisten = log.onDecision((record) => {
    held.push(record)
    flush(record.monoMs)
  })
  return {
    close() {
      unlisten()
      if (held.length > 0) write(held)
      held = []
    },
  }
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size
  } catch {
    return 0
  }
}

/** Throws an Error that names the line. */
export async function readDecisions(path: string): Promise<DecisionRecord[]> {
  const text = await readFile(path, 'utf8')
  return text.split('\n').flatMap((line, i) => {
    if (line === '') return []
    try {
      return [parseDecision(line)]
    } catch (error) {
      throw new Error(`${path}:${i + 1}: ${(error as Error).message}`, { cause: error })
    }
  })
}
