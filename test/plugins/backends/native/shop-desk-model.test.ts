/** The embedded model on our engine: what its golden outputs say, and what each weight type does to its sums. */
import { mkdtemp, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { GREEDY } from '../../../../plugins/backends/native/engine-contract.ts'
import { CpuEngine } from '../../../../plugins/backends/native/engine.ts'
import { openModel, type OpenModel } from '../../../../plugins/backends/native/open-engine.ts'
import { runQuantize } from '../../../../plugins/backends/native/quantize.ts'
import { need } from '../../../support/need.ts'

const folder = fileURLToPath(new URL('../../../../examples/shop-desk/model/', import.meta.url))
const rows = async <T>(name: string): Promise<T[]> => (await readFile(join(folder, name), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as T)

async function generate({ engine, tokenizer }: OpenModel, promptTokens: readonly number[], maxTokens: number): Promise<number[]> {
  const tokens: number[] = []
  for await (const step of engine.generate({ promptTokens, maxTokens, sampling: GREEDY, stopTokens: [...tokenizer.endOfGeneration], stopStrings: [] }, new AbortController().signal)) tokens.push(...step.tokens)
  return tokens
}

interface Golden {
  promptTokens: number[]
  tokens: number[]
  minTop2LogprobMargin: number
}
interface Sum {
  kind: string
  prompt: string
  expected: string
}

async function sumsRight(file: string, sums: readonly Sum[]): Promise<number> {
  const model = await openModel(file)
  const right = await Promise.all(
    sums.map(async ({ prompt, expected }) => {
      const tokens = await generate(model, model.template.encode({ messages: [{ role: 'user', content: prompt }], nowMs: 0 }), 24)
      return model.tokenizer.decode(tokens).trim() === expected.trim()
    }),
  )
  await model.engine.close()
  return right.filter(Boolean).length / sums.length
}

describe('the embedded model', () => {
  for (const kind of ['reference', 'cpu'] as const) {
    const at = kind === 'cpu' ? need('native') : { it }
    at.it(`${kind}: greedy outputs are those of the trainer, where its margin is above 1e-3`, async () => {
      const model = await openModel(join(folder, 'shop-desk-f32.gguf'), { engine: kind })
      for (const row of await rows<Golden>('golden.jsonl')) {
        // The longest prompt is the C++ engine's: the reference would take seconds.
        if (row.minTop2LogprobMargin <= 1e-3 || (kind === 'reference' && row.promptTokens.length > 500)) continue
        expect(await generate(model, row.promptTokens, 48)).toEqual(row.tokens)
      }
      await model.engine.close()
    }, 120_000)
  }

  need('native').it('does sums as well in 8 and 4 bits as in 32', async () => {
    const sums = (await rows<Sum>('eval.jsonl')).filter(({ kind }) => kind === 'sum')
    const home = await mkdtemp(join(tmpdir(), 'flyball-'))
    const f32 = join(folder, 'shop-desk-f32.gguf')
    const files: Record<string, string> = { f32, 'qat q4_0': join(folder, 'shop-desk-qat-q4_0.gguf') }
    for (const type of ['q8_0', 'q4_0'] as const) {
      files[type] = join(home, `${type}.gguf`)
      await runQuantize({ input: f32, output: files[type] as string, type })
    }
    const accuracy: Record<string, number> = {}
    for (const [name, file] of Object.entries(files)) accuracy[name] = await sumsRight(file, sums)
    process.stdout.write(`exact sums of ${sums.length} held out: ${Object.entries(accuracy).map(([name, share]) => `${name} ${(100 * share).toFixed(1)}%`).join(', ')}\n`)
    expect(CpuEngine.available()).toBe(true)
    expect(accuracy['f32']).toBeGreaterThanOrEqual(0.95)
    for (const name of ['q8_0', 'q4_0', 'qat q4_0']) expect(accuracy[name], name).toBeGreaterThanOrEqual(0.9)
  }, 120_000)
})
