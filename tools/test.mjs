// @ts-check
/**
 * `npm test [-- ARGS FOR VITEST]`, after tools/setup.mjs has built (and so type-checked) everything: vitest, then the
 * check that generated files are what their sources say, then what was skipped and why, then one line of counts.
 * FLYBALL_REQUIRE=data,compiler makes skips of these names failures (test/support/need.ts).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { requiredNeeds } from '../test/support/needs.ts'
import { closingLines } from './test-closing.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const generator = join(root, 'dist', 'tools', 'generate.js')
const vitestArgs = process.argv.slice(2)

try {
  requiredNeeds()
} catch (error) {
  process.stderr.write(`flyball: ${/** @type {Error} */ (error).message}\n`)
  process.exit(1)
}

const scratch = mkdtempSync(join(tmpdir(), 'flyball-test-'))
const reportFile = join(scratch, 'report.json')
const tests = spawnSync(
  process.execPath,
  [join('node_modules', 'vitest', 'vitest.mjs'), 'run', '--reporter=default', '--reporter=./tools/test-report.mjs', ...vitestArgs],
  { cwd: root, stdio: 'inherit', env: { ...process.env, FLYBALL_TEST_REPORT: reportFile } },
)
/** @type {import('./test-report.mjs').TestReport | undefined} */
const report = existsSync(reportFile) ? JSON.parse(readFileSync(reportFile, 'utf8')) : undefined
rmSync(scratch, { recursive: true, force: true })

/** @type {string[]} */
const failedChecks = []
// a run of some tests is somebody at work on them: the whole run checks the generated files
if (vitestArgs.length === 0 && existsSync(generator)) {
  const check = spawnSync(process.execPath, [generator, '--check'], { cwd: root, stdio: 'inherit' })
  if (check.status !== 0) failedChecks.push('generated files differ from their sources (`npm run generate`)')
}

const { lines, exitCode } = closingLines(report, tests.status, failedChecks)
process.stdout.write(`\n${lines.join('\n')}\n`)
process.exitCode = exitCode
