import { describe, expect, it } from 'vitest'
import { KeptAnswer } from '../../../../plugins/optimizers/cache/kept-answer.ts'
import type { Chunk } from '../../../../src/index.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const rawHeaders = ['Content-Type', 'text/event-stream', 'X-A', 'ü "quoted"']

describe('a kept answer', () => {
  it('gives back chunks, facts and headers as they were, as often as it is asked', () => {
    const chunks: Chunk[] = [
      { raw: bytes('data: é\n\n'), tokens: 1 },
      { raw: bytes(''), tokens: 0, deltas: [{ type: 'finish', index: 0, reason: 'stop' }] },
      { raw: Uint8Array.from([0, 255, 128]), tokens: 0, deltas: [{ type: 'usage', usage: { inputTokens: 9, outputTokens: 1, cachedInputTokens: 3 } }] },
    ]
    const answer = new KeptAnswer({ rawHeaders, chunks })
    for (let i = 0; i < 2; i++) expect(answer.open()).toEqual({ rawHeaders, chunks })
  })

  it('lets go of memory that only held it', () => {
    const page = new Uint8Array(65_536)
    page.set(bytes('{"a":1}'), 40_000)
    const { chunks } = new KeptAnswer({ rawHeaders: [], chunks: [{ raw: page.subarray(40_000, 40_007), tokens: 0 }] }).open()
    expect(chunks[0]?.raw).toEqual(bytes('{"a":1}'))
    expect(chunks[0]?.raw?.buffer.byteLength).toBe(7)
  })

  it('keeps what has no bytes as it is: no text has every value', () => {
    const chunks: Chunk[] = [{ tokens: 0, deltas: [{ type: 'embedding', index: 0, vector: Float32Array.from([0.5]) }] }, { tokens: 0, deltas: [{ type: 'value', value: new Date(5) }] }]
    expect(new KeptAnswer({ rawHeaders, chunks }).open()).toEqual({ rawHeaders, chunks })
    expect(new KeptAnswer({ rawHeaders, chunks: [{ raw: bytes('a'), tokens: 1 }, ...chunks] }).open().chunks).toHaveLength(3)
  })
})
