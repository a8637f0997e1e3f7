import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

/** Tests of a time that a user waits: a neighbour on the same cores would be measured instead. */
const ALONE = ['test/e2e/warm.test.ts']

export default defineConfig({
  test: {
    // processes, not threads: tests of signals, working directories and native add-ons need a process of their own
    pool: 'forks',
    // one test file a core: the end-to-end files start servers and worker threads of their own
    maxWorkers: Math.max(1, Math.min(4, availableParallelism())),
    // two cores under load run several times slower than a quiet machine; a hung test still ends the run
    testTimeout: 20_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    // a seed in a property test's report is worth more than a second try
    retry: 0,
    restoreMocks: true,
    unstubEnvs: true,
    unstubGlobals: true,
    projects: [
      { extends: true, test: { name: 'together', include: ['test/**/*.test.ts'], exclude: ['**/node_modules/**', 'dist/**', ...ALONE] } },
      { extends: true, test: { name: 'alone', include: ALONE, maxWorkers: 1, sequence: { groupOrder: 1 } } },
    ],
  },
})
