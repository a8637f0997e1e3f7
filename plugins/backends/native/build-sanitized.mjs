// @ts-check
/**
 * Builds the engine's own test program with AddressSanitizer and UndefinedBehaviorSanitizer, then with ThreadSanitizer,
 * and runs both. `npm run test:asan [-- SEED]`; exit 2 where there is no compiler.
 */
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const seed = process.argv[2] ?? String(Math.floor(Math.random() * 2 ** 31))

for (const kind of ['address', 'thread']) {
  const build = spawnSync(process.execPath, [join(here, 'build.mjs'), '--program', 'native_test', '--sanitize', kind], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  const output = /^output: (.+)$/m.exec(build.stdout)?.[1]
  if (build.status !== 0 || output === undefined) process.exit(build.status ?? 1)
  process.stdout.write(`${kind} sanitizer, seed ${seed}\n`)
  const run = spawnSync(join(here, '..', '..', '..', output), kind === 'thread' ? [seed, 'brief'] : [seed], { stdio: 'inherit', env: { ...process.env, UBSAN_OPTIONS: 'print_stacktrace=1', TSAN_OPTIONS: 'halt_on_error=1' } })
  if (run.status !== 0) {
    process.stderr.write(`native_test failed under the ${kind} sanitizer with ${run.status ?? run.signal}\n`)
    process.exit(1)
  }
}
