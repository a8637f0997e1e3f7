import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CpuEngine } from '../../../../plugins/backends/native/engine.ts'
import { dequantize } from '../../../../plugins/backends/native/gguf-dequantize.ts'
import { readGguf } from '../../../../plugins/backends/native/gguf.ts'
import { runQuantize } from '../../../../plugins/backends/native/quantize.ts'
import { Q4_0, Q8_0 } from '../../../../plugins/backends/native/quantize-blocks.ts'
import { dataPath } from '../../../support/data.ts'
import { writeGguf } from '../../../support/gguf-writer.ts'
import { need } from '../../../support/need.ts'
import { gaussian, tinyModel } from '../../../support/tiny-model.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'quantize-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const roundTrip = (encoder: typeof Q8_0, x: Float32Array, importance?: Float32Array): { back: Float32Array; saturated: number } => {
  const bytes = new Uint8Array(encoder.blockBytes)
  const saturated = encoder.encode(x, 0, new DataView(bytes.buffer), 0, importance, 0)
  const back = new Float32Array(32)
  dequantize(encoder.name, bytes, back)
  return { back, saturated }
}
const squares = (x: Float32Array, back: Float32Array, weight?: Float32Array): number => x.reduce((sum, value, i) => sum + (value - (back[i] as number)) ** 2 * (weight?.[i] ?? 1), 0)

describe('block encoders', () => {
  it('stay within half a step, zeros stay zeros', () => {
    const next = gaussian(3)
    for (let round = 0; round < 200; round++) {
      const x = Float32Array.from({ length: 32 }, () => next() * 10 ** ((round % 5) - 1))
      const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
      const { back, saturated } = roundTrip(Q8_0, x)
      expect(saturated).toBe(0)
      x.forEach((value, i) => expect(Math.abs(value - (back[i] as number))).toBeLessThanOrEqual((largest / 127) * 0.57 + 2 ** -24))
    }
    for (const encoder of [Q8_0, Q4_0]) expect(Array.from(roundTrip(encoder, new Float32Array(32)).back)).toEqual(Array.from({ length: 32 }, () => 0))
  })

  it('Q4_0: the searched scale is never worse than the plain one, and importance moves errors where they matter less', () => {
    const next = gaussian(5)
    let better = 0
    for (let round = 0; round < 100; round++) {
      const x = Float32Array.from({ length: 32 }, next)
      const extreme = x.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0)
      const scale = extreme / -8
      const plain = x.map((value) => Math.max(-8, Math.min(7, Math.round(value / scale))) * scale)
      const weight = Float32Array.from({ length: 32 }, (_, i) => (i < 4 ? 100 : 1))
      expect(squares(x, roundTrip(Q4_0, x).back)).toBeLessThanOrEqual(squares(x, plain) * 1.01)
      const [with_, without] = [squares(x, roundTrip(Q4_0, x, weight).back, weight), squares(x, roundTrip(Q4_0, x).back, weight)]
      expect(with_).toBeLessThanOrEqual(without + 1e-6)
      if (with_ < without * 0.9) better++
    }
    expect(better).toBeGreaterThan(20)
  })

  it('count what was cut', () => {
    // all but the first are exact at a scale for which the first, of no importance, is a code too far
    const x = new Float32Array(32).fill((8 / 9) * 3)
    x[0] = -8
    const importance = new Float32Array(32).fill(1)
    importance[0] = 1e-9
    expect(roundTrip(Q4_0, x, importance).saturated).toBe(1)
  })
})

describe('quantize', () => {
  it('writes a model that runs, smaller, with the same metadata', async () => {
    const { metadata, tensors } = tinyModel({ feedForwardLength: 84 })
    const input = writeGguf(join(folder, 'in.gguf'), metadata, tensors)
    for (const type of ['q8_0', 'q4_0'] as const) {
      const output = join(folder, `${type}.gguf`)
      const report = await runQuantize({ input, output, type, evaluate: 'hello world, hello world. '.repeat(8) })
      const made = readGguf(output)
      expect(report.bytes.after).toBeLessThan(report.bytes.before)
      expect(made.fileBytes).toBe(report.bytes.after)
      // ffn_down has rows of 84: no whole blocks
      expect(report.tensors).toEqual({ F32: 5, F16: 2, ...(type === 'q8_0' ? { Q8_0: 14 } : { Q4_0: 13, Q8_0: 1 }) })
      expect(made.tensors.get('blk.0.ffn_down.weight')?.type).toBe('F16')
      expect(report.relativeError).toBeLessThan({ q8_0: 0.008, q4_0: 0.1 }[type])
      expect(report.saturated).toBeLessThan(report.quantised / 20)
      expect(report.before?.tokens).toBe(report.after?.tokens)
      expect(Math.abs(Math.log((report.after?.perplexity ?? NaN) / (report.before?.perplexity ?? NaN)))).toBeLessThan({ q8_0: 0.02, q4_0: 0.4 }[type])
      for (const [key, value] of readGguf(input).metadata.entries()) expect(made.metadata.has(key) && JSON.stringify([...made.metadata.entries()].find(([name]) => name === key)?.[1])).toBe(JSON.stringify(value))
    }
    await expect(runQuantize({ input: join(folder, 'q8_0.gguf'), output: join(folder, 'again.gguf'), type: 'q4_0' })).rejects.toThrow(/is Q8_0 already/)
    await expect(runQuantize({ input, output: join(folder, 'x.gguf'), type: 'q8_0', signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(/enough/)
    expect(existsSync(join(folder, 'again.gguf'))).toBe(false)
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  need('native').it('calibrates on a text', async () => {
    const { metadata, tensors } = tinyModel()
    const input = writeGguf(join(folder, 'plain.gguf'), metadata, tensors)
    const report = await runQuantize({ input, output: join(folder, 'calibrated.gguf'), type: 'q4_0', calibrate: 'hello world, how are you today? '.repeat(20) })
    expect(report.calibrated).toBe(true)
    expect(readFileSync(join(folder, 'calibrated.gguf')).length).toBe(report.bytes.after)
    const engine = await CpuEngine.open(join(folder, 'calibrated.gguf'))
    expect(engine.info.parameters).toBeGreaterThan(0)
    await engine.close()
  })

  need('data', 'native').it('a trained model: Q8_0 keeps its perplexity within 1%, calibrated Q4_0 beats plain Q4_0', async () => {
    const input = dataPath('models/stories260K-f32.gguf')
    const text = 'Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it. '.repeat(6)
    const other = 'Tom and his dog went to the park. The dog saw a cat and ran to it. Tom was sad. He said, "Come back!" The dog was happy to see Tom again, and they played with a ball. '.repeat(4)
    const eight = await runQuantize({ input, output: join(folder, 's8.gguf'), type: 'q8_0', evaluate: other })
    expect((eight.after?.perplexity ?? NaN) / (eight.before?.perplexity ?? NaN)).toBeLessThan(1.01)
    const plain = await runQuantize({ input, output: join(folder, 's4.gguf'), type: 'q4_0', evaluate: other })
    const calibrated = await runQuantize({ input, output: join(folder, 's4c.gguf'), type: 'q4_0', calibrate: text, evaluate: other })
    expect(calibrated.after?.perplexity).toBeLessThan(plain.after?.perplexity ?? NaN)
  })
})
