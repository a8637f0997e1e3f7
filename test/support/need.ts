/**
 * Tests that need something from outside the repository say so, and skip by name where it is missing:
 *
 *     const data = need('data')
 *     data.describe('azure trace', () => { ... })
 *     data.it('reads the model', async () => { ... })
 *
 * Missing: one skipped test stands for it, with the reason in the closing list of `npm test`; the body of a `describe`
 * is not even called. Missing and named in FLYBALL_REQUIRE: that one test fails.
 */
import { describe, it } from 'vitest'
import type { SuiteAPI, TestAPI } from 'vitest'
import { findNeed, needs, requiredNeeds } from './needs.ts'
import type { NeedName } from './needs.ts'

declare module 'vitest' {
  interface TaskMeta {
    /** The needs that were missing, for the closing list. */
    missing?: string
  }
}

export interface Needed {
  readonly describe: SuiteAPI
  readonly it: TestAPI
  readonly available: boolean
}

/** Vitest's own `describe` and `it` where all of the needs are there, stand-ins that skip or fail where not. */
export function need(...names: readonly [NeedName, ...NeedName[]]): Needed {
  const required = requiredNeeds()
  const missing = names.filter((name) => findNeed(name) === undefined)
  if (missing.length === 0) return { describe, it, available: true }
  const reason = `needs ${missing.map((name) => `${name} (${needs[name].howToGet})`).join(' and ')}`
  const mustFail = missing.some((name) => required.includes(name))

  const standInTest = (title: string): void => {
    it(title, { retry: 0 }, (context) => {
      if (mustFail) throw new Error(`${reason}, and FLYBALL_REQUIRE says that it must be here`)
      context.task.meta.missing = missing.join(',')
      context.skip(reason)
    })
  }
  const standInSuite = (title: string): void => {
    describe(title, () => standInTest(`needs ${missing.join(' and ')}`))
  }
  return {
    describe: standIn(standInSuite) as unknown as SuiteAPI,
    it: standIn(standInTest) as unknown as TestAPI,
    available: false,
  }
}

/** Parts of vitest's chain that take arguments before the title. */
const takesArguments = new Set(['each', 'for', 'skipIf', 'runIf', 'extend'])

/** Understands vitest's chains (`it.only`, `it.each([...])('...')`, `describe.concurrent`): each registers one stand-in. */
function standIn(register: (title: string) => void): unknown {
  const call = (title: unknown): void => register(typeof title === 'function' ? title.name : String(title))
  const chain: unknown = new Proxy(call, {
    get: (target, key) => {
      if (typeof key === 'symbol' || key === 'length' || key === 'name') return Reflect.get(target, key)
      return takesArguments.has(key) ? () => chain : chain
    },
  })
  return chain
}
