import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readGguf } from '../../../../plugins/backends/native/gguf.ts'
import { ModelError } from '../../../../plugins/backends/native/model-error.ts'
import { toByteCharacters } from '../../../../plugins/backends/native/tokenizer/byte-level.ts'
import { mergePieces } from '../../../../plugins/backends/native/tokenizer/merge.ts'
import { cutWords, PRE_TOKENIZERS } from '../../../../plugins/backends/native/tokenizer/pre-tokenizers.ts'
import { Tokenizer } from '../../../../plugins/backends/native/tokenizer/tokenizer.ts'
import { dataPath } from '../../../support/data.ts'
import { bool, float32s, int32s, string, strings, uint32, writeGguf } from '../../../support/gguf-writer.ts'
import type { WriterValue } from '../../../support/gguf-writer.ts'
import { need } from '../../../support/need.ts'
import { tinyVocabulary } from '../../../support/tiny-model.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tokenizer-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function tokenizer(metadata: Record<string, WriterValue>): Tokenizer {
  return new Tokenizer(readGguf(writeGguf(join(folder, 'vocabulary.gguf'), metadata)).metadata)
}

/** Bytes, some merges over them, and two special tokens. */
function byteLevelVocabulary(pre: string, merges: readonly string[], words: readonly string[] = []): Record<string, WriterValue> {
  const bytes = new Set<string>()
  for (let code = 0; code < 0x80; code++) bytes.add(toByteCharacters(String.fromCharCode(code)))
  for (let code = 0x80; code < 0x110000; code += 61) if (code < 0xd800 || code > 0xdfff) for (const byte of toByteCharacters(String.fromCodePoint(code))) bytes.add(byte)
  const plain = [...bytes, ...merges.map((merge) => merge.replace(' ', '')), ...words]
  return {
    'tokenizer.ggml.model': string('gpt2'),
    'tokenizer.ggml.pre': string(pre),
    'tokenizer.ggml.tokens': strings([...plain, '<|im_start|>', '<|im_end|>', '<think>']),
    'tokenizer.ggml.token_type': int32s([...plain.map(() => 1), 3, 3, 4]),
    'tokenizer.ggml.merges': strings(merges),
    'tokenizer.ggml.eos_token_id': uint32(plain.length + 1),
  }
}

const LIMIT = '\n__ggml_vocab_test__\n'

need('data').describe('vectors of llama.cpp', () => {
  // the folder has inputs and outputs for llama-bpe and qwen2 too, but not their vocabularies
  describe.each(['gpt-2', 'llama-spm'])('%s', (name) => {
    const path = dataPath(`tokenizer/ggml-vocab-${name}.gguf`)
    const inputs = readFileSync(`${path}.inp`, 'utf8').split(LIMIT)
    const outputs = readFileSync(`${path}.out`, 'utf8').split('\n')
    const real = new Tokenizer(readGguf(path).metadata)

    it('has as many outputs as inputs', () => {
      expect(inputs.length).toBe(47)
      expect(outputs.length).toBeGreaterThanOrEqual(inputs.length)
    })
    it.each(inputs.map((input, index) => [JSON.stringify(input), index] as const))('%s', (_shown, index) => {
      const input = inputs[index] as string
      const expected = (outputs[index] as string).split(' ').filter((token) => token !== '').map(Number)
      const tokens = real.encode(input, { addSpecial: false })
      expect(tokens).toEqual(expected)
      expect(real.decode(tokens, { textStart: true })).toBe(input)
    })
    it('any text comes back byte for byte', () => {
      fc.assert(
        fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
          expect(real.decode(real.encode(text, { addSpecial: false }), { textStart: true })).toBe(text)
        }),
        { numRuns: 300 },
      )
    })
    it('takes time in proportion to the text, repetitive or not', () => {
      for (const unit of ['a', ' ', '\u{1f999}', 'the cat sat. ']) {
        const text = unit.repeat(Math.ceil(200_000 / unit.length))
        const start = performance.now()
        real.encode(text)
        // about 0.2 s; in quadratic time it would be minutes
        expect(performance.now() - start, JSON.stringify(unit)).toBeLessThan(8000)
      }
    })
  })

  it('the golden prompts', () => {
    const model = new Tokenizer(readGguf(dataPath('models/stories260K-f32.gguf')).metadata)
    for (const line of readFileSync(dataPath('golden/stories260K-golden.jsonl'), 'utf8').trim().split('\n')) {
      const row = JSON.parse(line) as { prompt: string; prompt_tokens: number[]; greedy_tokens: number[]; greedy_text: string }
      expect(model.encode(row.prompt)).toEqual(row.prompt_tokens)
      expect(model.decode(row.greedy_tokens)).toBe(row.greedy_text)
    }
  })
})

describe('SPM', () => {
  const vocabulary = tinyVocabulary()
  it('joins by score, writes the space in front, falls back to bytes', () => {
    const tiny = tokenizer(vocabulary)
    const text = (tokens: number[]): (string | undefined)[] => tokens.map((token) => tiny.text(token))
    expect(text(tiny.encode('hello world'))).toEqual(['<s>', '\u2581hello', '\u2581world'])
    expect(text(tiny.encode('Zé', { addSpecial: false }))).toEqual(['\u2581', '<0x5A>', '<0xC3>', '<0xA9>'])
    expect(tiny.encode('', { addSpecial: false })).toEqual([])
  })

  it('reads control tokens in text only when asked', () => {
    const tiny = tokenizer(vocabulary)
    expect(tiny.encode('hello</s>', { addSpecial: false, parseSpecial: true }).at(-1)).toBe(2)
    expect(tiny.encode('hello</s>', { addSpecial: false })).not.toContain(2)
    expect(tiny.decode(tiny.encode('hello</s>', { addSpecial: false }), { textStart: true })).toBe('hello</s>')
  })

  it('follows the flags of the file', () => {
    const plain = tokenizer({ ...vocabulary, 'tokenizer.ggml.add_bos_token': bool(false), 'tokenizer.ggml.add_eos_token': bool(true), 'tokenizer.ggml.add_space_prefix': bool(false) })
    expect(plain.encode('hello').map((token) => plain.text(token))).toEqual(['hello', '</s>'])
  })

  it('keeps the space of a continuation and drops the one the encoder put in front', () => {
    const tiny = tokenizer(vocabulary)
    const tokens = tiny.encode('hello world')
    expect(tiny.decode(tokens, { textStart: true })).toBe('hello world')
    expect(tiny.decode(tokens)).toBe(' hello world')
    expect(tiny.decode(tokens, { special: true })).toBe('<s> hello world')
  })
})

describe('byte-level BPE', () => {
  it('merges by rank within words', () => {
    const bpe = tokenizer(byteLevelVocabulary('gpt-2', ['l o', 'h e', 'lo w', 'e r', '\u0120 lo', '\u0120 low']))
    const text = (value: string): (string | undefined)[] => bpe.encode(value).map((token) => bpe.text(token))
    expect(text('lower low')).toEqual(['low', 'er', '\u0120low'])
    expect(bpe.decode(bpe.encode('lower low é\u0000'))).toBe('lower low é\u0000')
  })

  it('takes whole words where the pre-tokenizer says so', () => {
    const words = { merges: ['a b'], words: ['abc'] }
    expect(tokenizer(byteLevelVocabulary('gpt-2', words.merges, words.words)).encode('abc')).toHaveLength(2)
    expect(tokenizer(byteLevelVocabulary('llama-bpe', words.merges, words.words)).encode('abc')).toHaveLength(1)
  })

  it('user-defined tokens count always, control tokens only when asked', () => {
    const bpe = tokenizer(byteLevelVocabulary('qwen2', []))
    const think = bpe.token('<think>')
    const start = bpe.token('<|im_start|>')
    expect(bpe.encode('<think>')).toEqual([think])
    expect(bpe.encode('<|im_start|>')).toHaveLength('<|im_start|>'.length)
    expect(bpe.encode('a<|im_start|>b', { parseSpecial: true })[1]).toBe(start)
    expect([...bpe.endOfGeneration]).toEqual([bpe.token('<|im_end|>')])
  })

  it('names a pre-tokenizer that it lacks', () => {
    expect(() => tokenizer(byteLevelVocabulary('viking-9', []))).toThrow(/pre-tokenizer "viking-9" is not supported, only gpt-2, /)
  })

  it('lone surrogates become U+FFFD', () => {
    const bpe = tokenizer(byteLevelVocabulary('gpt-2', []))
    expect(bpe.decode(bpe.encode('a\ud800b'))).toBe('a\ufffdb')
  })
})

describe('pre-tokenizers', () => {
  const cut = (name: string, text: string): string[] => cutWords(text, PRE_TOKENIZERS.get(name)?.stages ?? [])

  it.each([
    ['gpt-2', "I'll  go\n\n to 12345!", ['I', "'ll", ' ', ' go', '\n\n', ' to', ' 12345', '!']],
    ['llama-bpe', "I'LL  go\n\n to 12345!", ['I', "'LL", ' ', ' go', '\n\n', ' to', ' ', '123', '45', '!']],
    ['qwen2', 'x=12\n', ['x', '=', '1', '2', '\n']],
    ['smollm', ' 12 a', [' ', '1', '2', ' a']],
    ['falcon', 'a$$ 12345', ['a', '$$', ' ', '123', '45']],
    ['deepseek-coder', 'ab \n12, c', ['ab', ' ', '\n', '1', '2', ',', ' c']],
    ['deepseek-llm', 'ab é中文 12', ['ab', ' é', '中文', ' ', '12']],
    ['deepseek-v3', '12345 中文abc (x', ['123', '45', ' ', '中文', 'abc', ' (', 'x']],
    ['tekken', 'fooBar 12', ['foo', 'Bar', ' ', '1', '2']],
    ['gpt-4o', "HTTPServer's 1234", ["HTTPServer's", ' ', '123', '4']],
  ])('%s cuts %j', (name, text, words) => {
    expect(cut(name, text)).toEqual(words)
  })

  it('every one keeps the text whole, and white space is Unicode’s', () => {
    const names = [...PRE_TOKENIZERS.keys()]
    expect(names.length).toBeGreaterThan(20)
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), fc.constantFrom(...names), (text, name) => {
        expect(cut(name, text).join('')).toBe(text)
      }),
      { numRuns: 500 },
    )
    // U+0085 is white space, U+FEFF is not; JavaScript's \s has it the other way round
    expect(cut('gpt-2', 'a\u0085\u0085b')).toEqual(['a', '\u0085', '\u0085', 'b'])
    expect(cut('gpt-2', 'a\ufeff\ufeffb')).toEqual(['a', '\ufeff\ufeff', 'b'])
  })

  it('take time in proportion to the text', () => {
    for (const { stages } of new Set(PRE_TOKENIZERS.values())) {
      for (const unit of [' ', 'A', '\n \n', '1', '!']) {
        const start = performance.now()
        expect(cutWords(unit.repeat(50_000), stages).length).toBeGreaterThan(0)
        expect(performance.now() - start, `${String(stages)} ${JSON.stringify(unit)}`).toBeLessThan(5000)
      }
    }
  })
})

describe('merging', () => {
  it('does what a plain search for the best pair does', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 30 }), fc.uniqueArray(fc.stringMatching(/^[abc]{2,4}$/), { maxLength: 12 }), (pieces, vocabulary) => {
        const rank = (left: string, right: string): number | undefined => {
          const at = vocabulary.indexOf(left + right)
          return at < 0 ? undefined : Math.floor(at / 2)
        }
        const plain: string[] = [...pieces]
        for (;;) {
          let best = -1
          let bestRank = Infinity
          for (let index = 0; index + 1 < plain.length; index++) {
            const order = rank(plain[index] as string, plain[index + 1] as string) ?? Infinity
            if (order < bestRank) [best, bestRank] = [index, order]
          }
          if (best < 0) break
          plain.splice(best, 2, `${plain[best]}${plain[best + 1]}`)
        }
        expect(mergePieces(Array.from<string>(pieces), rank)).toEqual(plain)
      }),
      { numRuns: 500 },
    )
  })
})

describe('streaming', () => {
  it('holds back unfinished characters', () => {
    const tiny = tokenizer(tinyVocabulary())
    const decoder = tiny.streamDecoder()
    const bytes = [0xf0, 0x9f, 0xa6, 0x99].map((byte) => tiny.token(`<0x${byte.toString(16).toUpperCase()}>`) as number)
    expect(bytes.map((token) => decoder.push(token))).toEqual(['', '', '', '\u{1f999}'])
    expect(decoder.push(bytes[0] as number)).toBe('')
    expect(decoder.end()).toBe('\ufffd')
  })
})

describe('hostile metadata', () => {
  const vocabulary = tinyVocabulary()
  const without = (key: string): Record<string, WriterValue> => Object.fromEntries(Object.entries(vocabulary).filter(([name]) => name !== key))
  const bpe = byteLevelVocabulary('gpt-2', ['a b'])

  it.each<[string, Record<string, WriterValue>, RegExp]>([
    ['no model', without('tokenizer.ggml.model'), /tokenizer.ggml.model is missing/],
    ['unknown model', { ...vocabulary, 'tokenizer.ggml.model': string('bert') }, /tokenizer "bert" is not supported/],
    ['no tokens', without('tokenizer.ggml.tokens'), /tokenizer.ggml.tokens is missing/],
    ['empty tokens', { ...vocabulary, 'tokenizer.ggml.tokens': strings([]) }, /expected 1 to \d+ tokens, got 0/],
    ['tokens that are numbers', { ...vocabulary, 'tokenizer.ggml.tokens': int32s([1, 2]) }, /expected an array of strings, got array of int32/],
    ['too few scores', { ...vocabulary, 'tokenizer.ggml.scores': float32s([1, 2]) }, /scores has 2 elements, but there are 320 tokens/],
    ['a score that is no number', { ...vocabulary, 'tokenizer.ggml.scores': float32s(Array.from({ length: 320 }, () => NaN)) }, /token 0 has the score NaN/],
    ['too many kinds', { ...vocabulary, 'tokenizer.ggml.token_type': int32s(Array.from({ length: 999 }, () => 1)) }, /token_type has 999 elements/],
    ['an unknown kind', { ...vocabulary, 'tokenizer.ggml.token_type': int32s(Array.from({ length: 320 }, () => 77)) }, /token 0 has the unknown kind 77/],
    ['bos out of range', { ...vocabulary, 'tokenizer.ggml.bos_token_id': uint32(320) }, /bos_token_id is 320, but there are 320 tokens/],
    ['neither bytes nor unknown', { ...without('tokenizer.ggml.unknown_token_id'), 'tokenizer.ggml.tokens': strings(Array.from({ length: 320 }, (_, index) => `t${index}`)) }, /neither all 256 byte tokens/],
    ['no merges', Object.fromEntries(Object.entries(bpe).filter(([key]) => key !== 'tokenizer.ggml.merges')), /tokenizer.ggml.merges is missing/],
    ['a merge of one part', { ...bpe, 'tokenizer.ggml.merges': strings(['ab']) }, /merge 0 "ab" is not two parts/],
    ['no pre-tokenizer', Object.fromEntries(Object.entries(bpe).filter(([key]) => key !== 'tokenizer.ggml.pre')), /tokenizer.ggml.pre is missing/],
  ])('%s', (_what, metadata, message) => {
    expect(() => tokenizer(metadata)).toThrow(message)
    expect(() => tokenizer(metadata)).toThrow(ModelError)
  })
})
