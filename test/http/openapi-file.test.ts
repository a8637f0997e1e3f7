import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { adminOpenApi } from '../../src/http/admin-openapi.ts'
import { repositoryRoot } from '../support/data.ts'

it('docs/admin-openapi.json is what the endpoints say (else: npm run generate)', async () => {
  expect(JSON.parse(await readFile(join(repositoryRoot, 'docs/admin-openapi.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(adminOpenApi())))
})
