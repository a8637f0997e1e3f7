/** `flyball simulate`, `explain` and `fit`, from files to files. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { main } from '../../src/cli/main.ts'
import { parseSlo } from '../../src/sim/parse-slo.ts'

let folder: string
let said: string[]
let complained: string[]
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flyball-cli-'))
  said = []
  complained = []
  vi.spyOn(console, 'log').mockImplementation((text: string) => void said.push(text))
  vi.spyOn(console, 'error').mockImplementation((text: string) => void complained.push(text))
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => complained.push(String(text)) > 0)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const put = (name: string, value: unknown): string => {
  const path = join(folder, name)
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value))
  return path
}
const plant = () => put('plant.json', { kind: 'llm-server', maxSequences: 128, stepBaseMs: 10, decodeTokenMs: 0.45 })
const trace = () => {
  let atMs = 0
  return put('trace.jsonl', Array.from({ length: 600 }, (_, i) => JSON.stringify({ timestamp: (atMs += i < 300 ? 100 : 40), input_length: 100, output_length: 60 })).join('\n'))
}
const SLO = 'interactive:ttft=1000,itl=30'

describe('simulate', () => {
  it('a dry run says what turning the knobs would have given: what a run with the loops on gives', async () => {
    const [dry, on] = [join(folder, 'dry.json'), join(folder, 'on.json')]
    const args = ['simulate', '--trace', trace(), '--plant', plant(), '--slo', SLO, '--knob', 'throttle.limit=4']
    expect(await main([...args, '--loops', 'dry', '--json', dry])).toBe(0)
    expect(await main([...args, '--json', on])).toBe(0)
    const read = (path: string): { goodput: number; wouldHaveGiven?: { goodput: number } } => JSON.parse(readFileSync(path, 'utf8')) as never
    expect(read(dry).wouldHaveGiven?.goodput).toBe(read(on).goodput)
    expect(read(dry).wouldHaveGiven?.goodput).toBeGreaterThan(read(dry).goodput)
    expect(read(on).wouldHaveGiven).toBeUndefined()
    expect(said.join('\n')).toMatch(/had the loops turned the knobs: goodput \d+\.\d+% instead of/)
  })

  it('runs a trace: the same seed, the same file, byte for byte; explain tells its story', async () => {
    const [one, two, log] = [join(folder, 'one.json'), join(folder, 'two.json.gz'), join(folder, 'decisions.jsonl')]
    expect(await main(['simulate', '--trace', trace(), '--plant', plant(), '--slo', SLO, '--seed', '4', '--json', one, '--decisions', log])).toBe(0)
    expect(await main(['simulate', '--trace', trace(), '--plant', plant(), '--slo', SLO, '--seed', '4', '--json', two])).toBe(0)
    expect(gunzipSync(readFileSync(two)).toString()).toBe(readFileSync(one, 'utf8'))
    const result = JSON.parse(readFileSync(one, 'utf8')) as { offered: number; goodput: number; smoothGoodput: number; classes: Record<string, unknown>; decisions: unknown[] }
    expect(result.offered).toBe(600)
    expect(result.goodput).toBeGreaterThan(0.3)
    expect(result.smoothGoodput).toBeGreaterThanOrEqual(result.goodput)
    expect(Object.keys(result.classes)).toEqual(['interactive'])
    expect(said[0]).toContain('600 requests')
    expect(result.decisions.length).toBeGreaterThan(0)
    said = []
    expect(await main(['explain', log])).toBe(0)
    expect(said[0]).toContain(`${result.decisions.length} decisions from`)
    expect(said[0]).toMatch(/(raised|cut) throttle\.limit/)
  })
  it('asks what if: none of it, a rival, other knobs, faults', async () => {
    const faults = put('faults.json', [{ kind: 'slowdown', atMs: 5_000, factor: 4 }])
    for (const more of [['--policy', 'none'], ['--policy', 'gradient2'], ['--policy', 'throttle+priority', '--knob', 'throttle.limit=8'], ['--faults', faults, '--loops', 'dry']]) {
      expect(await main(['simulate', '--trace', trace(), '--plant', plant(), '--slo', SLO, '--limit', '200', ...more])).toBe(0)
    }
    expect(said).toHaveLength(5)
  })
  it.each([
    [['--trace', 'nowhere.csv'], /nowhere\.csv: cannot be read/],
    [[], /expected either --trace or --phases/],
    [['--phases', 'steady,apocalypse'], /--phases: expected some of .*got "apocalypse"/],
    [['--phases', 'steady', '--policy', 'magic'], /--policy: expected flyball, none, .*gradient2.*got "magic"/],
    [['--phases', 'steady', '--slo', 'interactive:speed=1'], /slo interactive: expected one of start, ttft/],
    [['--phases', 'steady', '--knob', 'x'], /--knob: expected name=number/],
  ])('says in one line what is wrong: %j', async (args, message) => {
    expect(await main(['simulate', '--plant', plant(), ...args])).toBeGreaterThan(0)
    expect(complained.join('\n')).toMatch(message)
  })
})

describe('fit', () => {
  it('learns a plant from batch spans, that simulate takes', async () => {
    const spans = Array.from({ length: 60 }, (_, i) => {
      const work = (i % 12) + 1
      const start = 1_767_225_600_000_000_000n + BigInt(i) * 1_000_000_000n
      return JSON.stringify({ name: 'batch', startTimeUnixNano: String(start), endTimeUnixNano: String(start + BigInt(30 + 5 * work) * 1_000_000n), attributes: { 'flyball.backend': 'mine', 'flyball.batch.work': work } })
    })
    const out = join(folder, 'fitted.json')
    expect(await main(['fit', put('spans.jsonl', spans.join('\n')), '--kind', 'batch-server', '--backend', 'mine', '--json', out])).toBe(0)
    expect(JSON.parse(readFileSync(out, 'utf8'))).toMatchObject({ kind: 'batch-server', baseMs: 30, perWorkMs: 5 })
    expect(await main(['simulate', '--phases', 'steady', '--capacity', '20', '--plant', out])).toBe(0)
    expect(await main(['fit', put('spans.jsonl', spans.join('\n')), '--kind', 'batch-server', '--backend', 'other'])).toBeGreaterThan(0)
    expect(complained.join('\n')).toContain('got none')
  })
})

it('service classes on one line', () => {
  expect(parseSlo('interactive:ttft=1000,itl=50,quantile=.9; batch:start=5000,priority=3')).toEqual([
    { name: 'interactive', priority: 0, quantile: 0.9, ttftMs: 1_000, itlMs: 50 },
    { name: 'batch', priority: 3, quantile: 0.95, startMs: 5_000 },
  ])
  expect(() => parseSlo('x:quantile=2')).toThrow('expected quantile to be between 0 and 1')
})
