import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { closingLines } from '../../tools/test-closing.mjs'
import type { TestReport } from '../../tools/test-report.mjs'
import { repositoryRoot } from '../support/data.ts'
import { requiredNeeds } from '../support/needs.ts'

const scratch = mkdtempSync(join(tmpdir(), 'flyball-need-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))
mkdirSync(join(scratch, 'data', 'traces'), { recursive: true })
mkdirSync(join(scratch, 'data', 'models'), { recursive: true })

interface Run {
  readonly report: TestReport
  readonly status: number | null
}

let runs = 0
function runFixture(fixture: string, env: Readonly<Record<string, string>>): Run {
  runs += 1
  const file = join(scratch, `report-${runs}.json`)
  const { VITEST: _vitest, VITEST_POOL_ID: _pool, VITEST_WORKER_ID: _worker, ...outer } = process.env
  const result = spawnSync(process.execPath, [
    join(repositoryRoot, 'node_modules/vitest/vitest.mjs'), 'run', '--config', 'test/tools/fixtures/vitest.config.ts',
    '--reporter', join(repositoryRoot, 'tools/test-report.mjs'), fixture,
  ], { cwd: repositoryRoot, encoding: 'utf8', env: { ...outer, FLYBALL_REQUIRE: '', FLYBALL_TEST_REPORT: file, ...env } })
  return { report: JSON.parse(readFileSync(file, 'utf8')) as TestReport, status: result.status }
}

describe('need', () => {
  it('runs everything where the data is there', () => {
    const { report, status } = runFixture('needs-data', { FLYBALL_DATA: join(scratch, 'data'), FLYBALL_REQUIRE: 'data', EXPECT_DATA: 'yes' })
    expect(report).toEqual({ passed: 8, failed: 0, skipped: [], brokenFiles: [], otherErrors: 0 })
    expect(status).toBe(0)
  })

  it('skips by name, with the reason, where it is not', () => {
    const { report, status } = runFixture('needs-data', { FLYBALL_DATA: join(scratch, 'absent'), EXPECT_DATA: 'no' })
    expect(report.passed).toBe(1)
    expect(report.failed).toBe(0)
    expect(report.skipped.map(({ name }) => name.replace(/^.*fixture\.ts > /, ''))).toEqual([
      'a suite > needs data', 'a test', 'each %d', 'concurrent suite > needs data', 'outer > inner',
    ])
    for (const skipped of report.skipped) expect(skipped).toMatchObject({ missing: 'data', note: expect.stringContaining('FLYBALL_DATA') })
    expect(status).toBe(0)
  })

  it('fails where it is not and FLYBALL_REQUIRE names it', () => {
    const { report, status } = runFixture('needs-data', { FLYBALL_DATA: join(scratch, 'absent'), FLYBALL_REQUIRE: 'compiler, data', EXPECT_DATA: 'no' })
    expect(report).toMatchObject({ passed: 1, failed: 5, skipped: [] })
    expect(status).toBe(1)
  })

  it('refuses a FLYBALL_REQUIRE with a name that is no need', () => {
    expect(requiredNeeds(' data,compiler ,')).toEqual(['data', 'compiler'])
    expect(() => requiredNeeds('data,chrome')).toThrow('got chrome')
    expect(() => requiredNeeds('toString')).toThrow('got toString')
  })
})

describe('the closing lines', () => {
  const clean: TestReport = { passed: 3, failed: 0, skipped: [], brokenFiles: [], otherErrors: 0 }

  it('end with the counts alone on a line', () => {
    expect(closingLines(clean, 0, [])).toEqual({ lines: ['3 passed, 0 failed, 0 skipped'], exitCode: 0 })
  })

  it('name what was skipped, and for want of what', () => {
    const skipped = [
      { name: 'a.test.ts > x', note: 'needs data (get it)', missing: 'data' },
      { name: 'a.test.ts > y', note: 'needs data (get it)', missing: 'data' },
      { name: 'b.test.ts > z' },
    ]
    expect(closingLines({ ...clean, skipped }, 0, [])).toEqual({
      lines: ['skipped:', '  a.test.ts > x: needs data (get it)', '  a.test.ts > y: needs data (get it)', '  b.test.ts > z',
        'skipped: no data (2)', '3 passed, 0 failed, 3 skipped'],
      exitCode: 0,
    })
  })

  it.each<[string, TestReport | undefined, number | null, readonly string[], string]>([
    ['a failed test', { ...clean, failed: 2 }, 1, [], '3 passed, 2 failed, 0 skipped'],
    ['a file that does not load', { ...clean, brokenFiles: ['a.test.ts'] }, 1, [], '3 passed, 1 failed, 0 skipped'],
    ['an error outside of tests', { ...clean, otherErrors: 1 }, 1, [], '3 passed, 1 failed, 0 skipped'],
    ['a stale generated file', clean, 0, ['generated files differ'], '3 passed, 1 failed, 0 skipped'],
    ['no test at all', { ...clean, passed: 0 }, 0, [], '0 passed, 1 failed, 0 skipped'],
    ['only skipped tests', { ...clean, passed: 0, skipped: [{ name: 'x' }] }, 0, [], '0 passed, 1 failed, 1 skipped'],
    ['a vitest that crashed', undefined, 1, [], '0 passed, 1 failed, 0 skipped'],
    ['a vitest that was killed', clean, null, [], '3 passed, 1 failed, 0 skipped'],
    ['an exit code without a reason', clean, 1, [], '3 passed, 1 failed, 0 skipped'],
  ])('fail for %s', (_what, report, status, checks, last) => {
    const { lines, exitCode } = closingLines(report, status, checks)
    expect(exitCode).toBe(1)
    expect(lines.at(-1)).toBe(last)
  })

  it('count a file that does not load, as vitest reports it', () => {
    const { report, status } = runFixture('broken', {})
    expect(report).toMatchObject({ passed: 0, failed: 0 })
    expect(report.brokenFiles).toHaveLength(1)
    expect(status).toBe(1)
  })
})
