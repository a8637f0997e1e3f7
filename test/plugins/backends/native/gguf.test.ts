import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readGguf } from '../../../../plugins/backends/native/gguf.ts'
import { ModelError } from '../../../../plugins/backends/native/model-error.ts'
import { dataPath } from '../../../support/data.ts'
import { bool, encodeValues, float32, float32s, ggufBytes, int32s, string, strings, uint32, writeGguf } from '../../../support/gguf-writer.ts'
import { need } from '../../../support/need.ts'
import { tinyModel, uniforms } from '../../../support/tiny-model.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gguf-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function file(bytes: Uint8Array): string {
  const path = join(folder, 'file.gguf')
  writeFileSync(path, bytes)
  return path
}

function errorOf(path: string): ModelError {
  try {
    readGguf(path)
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError)
    return error as ModelError
  }
  throw new Error('the file was accepted')
}

need('data').describe('malformed files of llama.cpp', () => {
  const rows = readFileSync(dataPath('gguf-bad/expected.tsv'), 'utf8').trim().split('\n').map((line) => line.split('\t'))
  it('has verdicts', () => expect(rows.length).toBe(33))
  it.each(rows)('%s: %s (%s)', (name, verdict) => {
    const path = dataPath(`gguf-bad/${name}`)
    if (verdict === 'accept') {
      expect(readGguf(path).path).toBe(path)
      return
    }
    const error = errorOf(path)
    expect(error.code).toBe('malformed')
    expect(error.message.startsWith(`${path}: `)).toBe(true)
    expect(error.message).not.toContain('\n')
  })
})

describe('reading', () => {
  it('gives back what the writer wrote', () => {
    const data = Float32Array.from({ length: 64 }, (_, index) => index / 7)
    const gguf = readGguf(
      writeGguf(
        join(folder, 'written.gguf'),
        {
          'general.architecture': string('llama'),
          'a.number': uint32(7),
          'a.float': float32(0.5),
          'a.flag': bool(true),
          'a.big': { type: 'uint64', value: 2n ** 40n },
          'a.list': strings(['one', '\ufefftwo', '']),
          'a.scores': float32s([1, -2.5]),
          'a.kinds': int32s([-1, 3]),
        },
        [
          { name: 'first', type: 'F32', shape: [2, 3], data: encodeValues('F32', data.subarray(0, 6)) },
          { name: 'second', type: 'Q8_0', shape: [32, 2], data: encodeValues('Q8_0', data) },
        ],
      ),
    )
    const { metadata, tensors } = gguf
    expect(metadata.string('general.architecture')).toBe('llama')
    expect(metadata.uint('a.number')).toBe(7)
    expect(metadata.uint('a.big')).toBe(2 ** 40)
    expect(metadata.float('a.float')).toBe(0.5)
    expect(metadata.bool('a.flag')).toBe(true)
    expect(metadata.strings('a.list')).toEqual(['one', '\ufefftwo', ''])
    expect(Array.from(metadata.numbers('a.scores') ?? [])).toEqual([1, -2.5])
    expect(metadata.string('absent')).toBeUndefined()
    expect(tensors.get('first')).toMatchObject({ type: 'F32', shape: [2, 3], values: 6, bytes: 24, offset: gguf.dataOffset })
    expect(tensors.get('second')).toMatchObject({ type: 'Q8_0', values: 64, bytes: 68, offset: gguf.dataOffset + 32 })
    expect(gguf.hasData).toBe(true)
  })

  it('names the key whose type is wrong', () => {
    const { metadata } = readGguf(file(ggufBytes({ 'a.number': { type: 'int32', value: -7 }, 'a.text': string('x') })))
    expect(() => metadata.uint('a.number')).toThrow(/"a.number": expected an unsigned integer, got int32 -7/)
    expect(() => metadata.strings('a.text')).toThrow(/"a.text": expected an array of strings, got string/)
    expect(() => metadata.bool('a.text')).toThrow(ModelError)
  })

  it('tells a file that is not there, is no file, or is no GGUF', () => {
    expect(errorOf(join(folder, 'absent')).code).toBe('unreadable')
    expect(errorOf(folder).code).toBe('unreadable')
    expect(errorOf('/dev/null').code).toBe('unreadable')
    expect(errorOf(file(new Uint8Array(0))).code).toBe('malformed')
    expect(errorOf(file(Buffer.from('GGUF'))).message).toMatch(/ends within/)
  })

  it('keeps what a hostile name contains out of the shape of the message', () => {
    const twice = Buffer.concat([ggufBytes({ [`a\n\u001b[31m${'x'.repeat(500)}`]: uint32(1) })])
    // two keys are promised, so the second is read from beyond the end
    twice.writeBigUInt64LE(2n, 16)
    const bytes = Buffer.concat([twice, twice.subarray(24)])
    const { message } = errorOf(file(bytes))
    expect(message).toMatch(/is there twice/)
    expect(message).not.toContain('\n')
    expect(message).not.toContain('\u001b')
    expect(message.length).toBeLessThan(400)
  })
})

describe('damage', () => {
  const { metadata, tensors } = tinyModel({ blockCount: 1 })
  const whole = ggufBytes(metadata, tensors)
  const headerBytes = ggufBytes(metadata).length

  it('a file cut anywhere is refused, but for one cut at the end of its header', () => {
    const path = file(whole)
    const { dataOffset } = readGguf(path)
    const random = uniforms(3)
    const cuts = [1, 4, 8, 23, 24, dataOffset + 1, whole.length - 1, ...Array.from({ length: 60 }, () => Math.floor(random() * whole.length))]
    for (const cut of cuts.sort((a, b) => b - a)) {
      truncateSync(path, cut)
      // padding behind the header belongs to it
      if (cut <= dataOffset && cut > dataOffset - 32) continue
      expect(() => readGguf(path), `cut at ${cut}`).toThrow(ModelError)
    }
  })

  it('changed bytes give a model or a ModelError, never anything else', () => {
    const random = uniforms(11)
    for (let round = 0; round < 400; round++) {
      const bytes = Buffer.from(whole)
      for (let change = 0; change < 3; change++) bytes[Math.floor(random() * headerBytes)] = Math.floor(random() * 256)
      const path = file(bytes)
      try {
        for (const tensor of readGguf(path).tensors.values()) expect(tensor.offset + tensor.bytes).toBeLessThanOrEqual(bytes.length)
      } catch (error) {
        expect(error).toBeInstanceOf(ModelError)
      }
    }
  })

  it.each([
    ['a count of arrays', 0xffffffffffffffffn],
    ['one more than fits', 1n << 33n],
  ])('%s does not allocate', (_what, count) => {
    const bytes = ggufBytes({ list: float32s([1, 2, 3]) })
    // behind the header (24), the key (8 + 4), its type (4) and the element type (4)
    bytes.writeBigUInt64LE(count, 24 + 12 + 4 + 4)
    const before = process.memoryUsage().arrayBuffers
    expect(errorOf(file(bytes)).message).toMatch(/more than the \d+ bytes left can hold/)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 << 20)
  })
})
