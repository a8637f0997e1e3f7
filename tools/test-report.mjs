// @ts-check
/**
 * A vitest reporter for tools/test.mjs: writes what the closing lines need, as JSON, to FLYBALL_TEST_REPORT.
 * Vitest's own JSON has neither the notes of skipped tests nor errors outside tests.
 */
import { writeFileSync } from 'node:fs'
import { relative } from 'node:path'

/**
 * @typedef {{ name: string, note?: string, missing?: string }} SkippedTest
 * @typedef {{ passed: number, failed: number, skipped: SkippedTest[], brokenFiles: string[], otherErrors: number }} TestReport
 */

export default class TestReporter {
  /**
   * @param {ReadonlyArray<import('vitest/node').TestModule>} modules
   * @param {ReadonlyArray<unknown>} unhandledErrors
   */
  onTestRunEnd(modules, unhandledErrors) {
    /** @type {TestReport} */
    const report = { passed: 0, failed: 0, skipped: [], brokenFiles: [], otherErrors: unhandledErrors.length }
    for (const module of modules) {
      const file = relative(process.cwd(), module.moduleId)
      let failedHere = 0
      for (const test of module.children.allTests()) {
        const result = test.result()
        if (result.state === 'passed') report.passed += 1
        else if (result.state === 'failed') failedHere += 1
        else {
          /** @type {SkippedTest} */
          const skipped = { name: `${file} > ${test.fullName}` }
          if (result.state === 'skipped' && result.note !== undefined) skipped.note = result.note
          const missing = /** @type {{ missing?: string }} */ (test.meta()).missing
          if (missing !== undefined) skipped.missing = missing
          report.skipped.push(skipped)
        }
      }
      report.failed += failedHere
      // a file that does not load, or whose hooks throw, has no failed test to count
      if (module.state() === 'failed' && failedHere === 0) report.brokenFiles.push(file)
    }
    const target = process.env['FLYBALL_TEST_REPORT']
    if (target !== undefined) writeFileSync(target, JSON.stringify(report))
  }
}
