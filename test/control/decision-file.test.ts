import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { decisionLine, keepDecisions, parseDecision, readDecisions } from '../../src/control/decision-file.ts'
import { DecisionLog, type DecisionRecord } from '../../src/control/decision-log.ts'
import { explain } from '../../src/control/explain.ts'

let folder: string
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'flyball-decisions-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const decision = (monoMs: number, more: Partial<DecisionRecord> = {}): Omit<DecisionRecord, 'seq'> => ({
  monoMs,
  wallMs: 1_767_225_600_000 + monoMs,
  controller: 'throttle',
  scope: { backend: 'native' },
  mode: 'active',
  dry: false,
  moves: [{ knob: 'throttle.limit', key: 'backend=native', from: 32, to: 28.4, wish: 20, bound: 'max_down' }],
  why: { reason: 'slo_exceeded', numbers: { atMs: 31.2, targetMs: 30, samples: 64 } },
  ...more,
})

describe('decisions in a file', () => {
  it('come back as they were, infinities and all', () => {
    const record = { seq: 1, ...decision(5), stateBefore: { a: [1, Number.NEGATIVE_INFINITY], b: null }, input: { readings: { r: { status: 'idle', samples: 0, ageMs: Number.POSITIVE_INFINITY, value: Number.NaN } } } } as unknown as DecisionRecord
    expect(parseDecision(decisionLine(record))).toEqual(record)
  })
  it('are written in order, each with its outcome once that is known', async () => {
    const path = join(folder, 'decisions.jsonl')
    const log = new DecisionLog()
    const file = keepDecisions(log, path)
    const first = log.append(decision(1_000))
    log.append(decision(2_000, { moves: [] }))
    expect(readFileSync(path, 'utf8')).toBe('')
    first.outcome = { attainmentBefore: 0.9, attainmentAfter: 0.97, samplesBefore: 80, samplesAfter: 90, comparableLoad: true, verdict: 'better', reverted: false }
    log.append(decision(3_000))
    expect((await readDecisions(path)).map((record) => [record.seq, record.outcome?.verdict])).toEqual([[1, 'better'], [2, undefined]])
    // An outcome that never comes holds nobody up for more than a minute.
    log.append(decision(70_000))
    expect((await readDecisions(path)).map((record) => record.seq)).toEqual([1, 2, 3])
    file.close()
    log.append(decision(80_000))
    expect((await readDecisions(path)).map((record) => record.seq)).toEqual([1, 2, 3, 4])
  })
  it('stay within twice the size that was asked for', () => {
    const path = join(folder, 'decisions.jsonl')
    const log = new DecisionLog()
    const file = keepDecisions(log, path, { maxBytes: 4_000 })
    for (let i = 0; i < 200; i++) log.append(decision(i * 100_000))
    file.close()
    expect(readFileSync(path).length).toBeLessThanOrEqual(4_000)
    expect(readFileSync(`${path}.1`).length).toBeLessThanOrEqual(4_000)
  })
  it('tell once that they cannot be written, and go on', () => {
    const errors: unknown[] = []
    const log = new DecisionLog()
    const file = keepDecisions(log, join(folder, 'no', 'such', 'folder'), { onError: (error) => errors.push(error) })
    expect(errors).toHaveLength(1)
    for (let i = 0; i < 5; i++) log.append(decision(i * 100_000))
    file.close()
    expect(errors).toHaveLength(1)
  })
  it('name the line that is none', async () => {
    const path = join(folder, 'bad.jsonl')
    const { writeFileSync } = await import('node:fs')
    writeFileSync(path, `${decisionLine({ seq: 1, ...decision(1) })}\n{"seq": 2}\n`)
    await expect(readDecisions(path)).rejects.toThrow('bad.jsonl:2: expected a decision')
    writeFileSync(path, '# Notes\n')
    await expect(readDecisions(path)).rejects.toThrow('bad.jsonl:1: expected a decision as JSON, got "# Notes"')
  })
})

describe('the story', () => {
  const records = [1, 2, 3].map((seq): DecisionRecord => ({ seq, ...decision(seq * 10_000) }))
  it('says what moved, why, by which numbers, against which bound, and what came of it', () => {
    const first = { ...(records[0] as DecisionRecord), predicted: 29.1, outcome: { attainmentBefore: 0.9, attainmentAfter: 0.97, samplesBefore: 80, samplesAfter: 90, comparableLoad: true, verdict: 'better' as const, reverted: false } }
    const text = explain([first])
    expect(text).toContain('cut throttle.limit 32 → 28.4 (asked for 20, stopped by max_down): latency was over the target.')
    expect(text).toContain('atMs 31.2, targetMs 30, samples 64; expected 29.1')
    expect(text).toContain('came of it: better; within targets 90.0% of 80 calls before, 97.0% of 90 calls after')
    expect(text).toContain('throttle.limit{backend=native}: 32 → 28.4 in 1 moves')
  })
  it('is of the range and the controller that was asked for', () => {
    const startMs = 1_767_225_600_000
    expect(explain(records, { fromMs: startMs + 15_000, toMs: startMs + 25_000 })).toMatch(/^1 decisions/)
    expect(explain(records, { controller: 'batching' })).toBe('No decision was logged in this range.')
  })
  it('says that a dry run turned nothing', () => {
    const text = explain([{ ...(records[0] as DecisionRecord), dry: true }])
    expect(text).toContain('would have cut throttle.limit')
    expect(text).not.toContain('in 1 moves')
  })
})
