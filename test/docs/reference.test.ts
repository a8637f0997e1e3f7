import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { generatedReference, root } from '../../tools/generate.ts'

it('docs/reference.md is what the declarations say (npm run generate)', async () => {
  expect(await readFile(new URL('docs/reference.md', root), 'utf8')).toBe(await generatedReference())
})
