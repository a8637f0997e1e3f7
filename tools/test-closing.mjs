// @ts-check
/** The last lines of `npm test`, and its exit code. */

/** Skipped tests are named one by one up to here. */
const maxNamed = 200

/**
 * @param {import('./test-report.mjs').TestReport | undefined} report undefined when vitest ended without one
 * @param {number | null} vitestStatus its exit code, null when a signal ended it
 * @param {readonly string[]} failedChecks failures of checks beside the tests, one line each
 * @returns {{ lines: string[], exitCode: number }}
 */
export function closingLines(report, vitestStatus, failedChecks) {
  const { passed, failed, skipped, brokenFiles, otherErrors } =
    report ?? { passed: 0, failed: 0, skipped: [], brokenFiles: [], otherErrors: 0 }
  /** @type {string[]} */
  const lines = []
  if (skipped.length > 0) {
    lines.push('skipped:')
    for (const test of skipped.slice(0, maxNamed)) lines.push(`  ${test.name}${test.note ? `: ${test.note}` : ''}`)
    if (skipped.length > maxNamed) lines.push(`  and ${skipped.length - maxNamed} more`)
    /** @type {Map<string, number>} */
    const byNeed = new Map()
    for (const { missing } of skipped) if (missing !== undefined) byNeed.set(missing, (byNeed.get(missing) ?? 0) + 1)
    for (const [missing, count] of byNeed) lines.push(`skipped: no ${missing.replaceAll(',', ', no ')} (${count})`)
  }
  const otherFailures = [
    ...brokenFiles.map((file) => `${file} did not load or its hooks failed`),
    ...(otherErrors > 0 ? [`${otherErrors} errors outside of tests`] : []),
    ...failedChecks,
  ]
  if (passed + failed === 0 && otherFailures.length === 0) otherFailures.push('no test ran')
  if (vitestStatus !== 0 && failed === 0 && otherFailures.length === 0) {
    otherFailures.push(vitestStatus === null ? 'vitest was stopped' : `vitest ended with exit code ${vitestStatus}`)
  }
  for (const failure of otherFailures) lines.push(`failed: ${failure}`)
  const failures = failed + otherFailures.length
  lines.push(`${passed} passed, ${failures} failed, ${skipped.length} skipped`)
  return { lines, exitCode: failures === 0 ? 0 : 1 }
}
