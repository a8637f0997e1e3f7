/** Damaged model files on the C++ engine: a clear error or a model that runs, never a signal. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { CpuEngine } from '../../../../plugins/backends/native/engine.ts'
import { GREEDY } from '../../../../plugins/backends/native/engine-contract.ts'
import { ModelError } from '../../../../plugins/backends/native/model-error.ts'
import { dataPath } from '../../../support/data.ts'
import { ggufBytes, writeGguf } from '../../../support/gguf-writer.ts'
import { need } from '../../../support/need.ts'
import { tinyModel } from '../../../support/tiny-model.ts'

const forever = new AbortController().signal
let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'engine-files-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

need('native', 'data').it.each(['gguf-bad', 'tokenizer'])('no file of %s opens, and each says why in one line', async (name) => {
  const files = readdirSync(dataPath(name)).filter((file) => file.endsWith('.gguf'))
  expect(files.length).toBeGreaterThan(1)
  for (const file of files) {
    // none of them holds a whole model, sound or not
    const error: unknown = await CpuEngine.open(dataPath(join(name, file))).then((engine) => engine.close(), (reason: unknown) => reason)
    expect(error, file).toBeInstanceOf(ModelError)
    expect((error as ModelError).message).toMatch(/^[^\n]+$/)
  }
})

need('native').describe('weights that are no numbers', () => {
  it('fail the request, not the process', async () => {
    const { metadata, tensors } = tinyModel()
    const bytes = ggufBytes(metadata, tensors)
    bytes.fill(255, bytes.length - 320 * 64 * 4) // the output matrix: NaN
    writeFileSync(join(folder, 'nan.gguf'), bytes)
    const engine = await CpuEngine.open(join(folder, 'nan.gguf'))
    const read = async (): Promise<void> => {
      for await (const step of engine.generate({ promptTokens: [1, 2, 3], maxTokens: 5, sampling: { ...GREEDY, temperature: 1 }, stopTokens: [], stopStrings: [], logprobs: 2 }, forever)) expect(step.finish).toBeUndefined()
    }
    await expect(read()).rejects.toMatchObject({ code: 'backend_failed' })
    await engine.close()
  })

  it('a sound model beside it still runs', async () => {
    const { metadata, tensors } = tinyModel()
    const engine = await CpuEngine.open(writeGguf(join(folder, 'sound.gguf'), metadata, tensors))
    const tokens: number[] = []
    for await (const step of engine.generate({ promptTokens: [1, 2, 3], maxTokens: 5, sampling: GREEDY, stopTokens: [], stopStrings: [] }, forever)) tokens.push(...step.tokens)
    expect(tokens).toHaveLength(5)
    await engine.close()
  })
})
