/**
 * How BPE vocabularies cut text into words before merging, by the name in `tokenizer.ggml.pre`. Each stage cuts every
 * piece of the stage before: matches and the gaps between them become pieces. The expressions are facts of the models
 * (their published `tokenizer.json`), written with Unicode's White_Space, since JavaScript's `\s` differs from it in
 * U+0085 and U+FEFF. Behaviour is llama.cpp's, which the names come from.
 */
export interface PreTokenizer {
  readonly stages: readonly RegExp[]
  /** A word that is in the vocabulary as a whole is taken without merging. */
  readonly wholeWords: boolean
  /** Whether a sequence begins with the BOS token where the file does not say. */
  readonly addBos: boolean
}

const S = '\\p{White_Space}'
const N = '\\P{White_Space}'

const stage = (expression: string): RegExp =>
  new RegExp(expression.replaceAll('[^\\s', `[^${S}`).replaceAll('\\s', S).replaceAll('\\S', N), 'gu')

const contractions = "'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])"
const spaces = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

const gpt2Words = stage("'(?:s|t|re|ve|m|ll|d)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+")
/** The family of cl100k: a word takes one leading character that is no letter, digit or line break. */
const modernWords = (digits: string): RegExp =>
  stage(`${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${spaces}`)

const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
/** The family of o200k: words also end where capitals begin. */
const casedWords = (digits: string, suffix: string): RegExp =>
  stage(
    `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+${suffix}|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*${suffix}|${digits}` +
      `| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${spaces}`,
  )

/** Chinese, from U+0800 up to U+9FA5, and Korean syllables: one range each in DeepSeek's expression. */
const deepSeekIdeographs = stage('[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+')

/** Cased letters as DeepSeek LLM lists them (Unicode 11, without Georgian lower case, Cherokee supplements and such). */
const deepSeekLetters = [
  'A-Za-z\\u{b5}\\u{c0}-\\u{d6}\\u{d8}-\\u{f6}\\u{f8}-\\u{1ba}\\u{1bc}-\\u{1bf}\\u{1c4}-\\u{293}\\u{295}-\\u{2af}\\u{370}-\\u{373}',
  '\\u{376}\\u{377}\\u{37b}-\\u{37d}\\u{37f}\\u{386}\\u{388}-\\u{38a}\\u{38c}\\u{38e}-\\u{3a1}\\u{3a3}-\\u{3f5}\\u{3f7}-\\u{481}',
  '\\u{48a}-\\u{52f}\\u{531}-\\u{556}\\u{10a0}-\\u{10c5}\\u{13a0}-\\u{13f5}\\u{13f8}-\\u{13fd}\\u{1c90}-\\u{1cba}\\u{1cbd}-\\u{1cbf}',
  '\\u{1d00}-\\u{1d2b}\\u{1d6b}-\\u{1d77}\\u{1d79}-\\u{1d9a}\\u{1e00}-\\u{1f15}\\u{1f18}-\\u{1f1d}\\u{1f20}-\\u{1f45}',
  '\\u{1f48}-\\u{1f4d}\\u{1f50}-\\u{1f57}\\u{1f59}\\u{1f5b}\\u{1f5d}\\u{1f5f}-\\u{1f7d}\\u{1f80}-\\u{1fb4}\\u{1fb6}-\\u{1fbc}\\u{1fbe}',
  '\\u{1fc2}-\\u{1fc4}\\u{1fc6}-\\u{1fcc}\\u{1fd0}-\\u{1fd3}\\u{1fd6}-\\u{1fdb}\\u{1fe0}-\\u{1fec}\\u{1ff2}-\\u{1ff4}\\u{1ff6}-\\u{1ffc}',
  '\\u{2102}\\u{2107}\\u{210a}-\\u{2113}\\u{2115}\\u{2119}-\\u{211d}\\u{2124}\\u{2126}\\u{2128}\\u{212a}-\\u{212d}\\u{212f}-\\u{2134}',
  '\\u{2139}\\u{213c}-\\u{213f}\\u{2145}-\\u{2149}\\u{214e}\\u{2183}\\u{2184}\\u{2c00}-\\u{2c7b}\\u{2c7e}-\\u{2ce4}\\u{2ceb}-\\u{2cee}',
  '\\u{2cf2}\\u{2cf3}\\u{a640}-\\u{a66d}\\u{a680}-\\u{a69b}\\u{a722}-\\u{a76f}\\u{a771}-\\u{a787}\\u{a78b}-\\u{a78e}\\u{ab70}-\\u{abbf}',
  '\\u{fb00}-\\u{fb06}\\u{fb13}-\\u{fb17}\\u{ff21}-\\u{ff3a}\\u{ff41}-\\u{ff5a}\\u{10400}-\\u{1044f}\\u{104b0}-\\u{104d3}',
  '\\u{104d8}-\\u{104fb}\\u{10c80}-\\u{10cb2}\\u{10cc0}-\\u{10cf2}\\u{118a0}-\\u{118df}\\u{1e900}-\\u{1e943}',
].join('')

const merged = (...stages: RegExp[]): PreTokenizer => ({ stages, wholeWords: false, addBos: false })

const gpt2 = merged(gpt2Words)
const llama3: PreTokenizer = { stages: [modernWords('\\p{N}{1,3}')], wholeWords: true, addBos: true }
const qwen2 = merged(modernWords('\\p{N}'))
const starcoder = merged(stage('\\p{N}'), gpt2Words)
const falcon = merged(stage('[\\p{P}$+<=>^~|`]+'), gpt2Words, stage('[0-9][0-9][0-9]'))
const deepSeekLlm = merged(
  stage('[\\r\\n]'),
  stage(`\\s?[${deepSeekLetters}]+`),
  stage('\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+'),
  stage('\\s+$'),
  deepSeekIdeographs,
  stage('\\p{N}+'),
)
const deepSeekCoder = merged(stage('[\\r\\n]'), stage('\\s?\\p{L}+'), stage('\\s?\\p{P}+'), deepSeekIdeographs, stage('\\p{N}'))
const deepSeekV3 = merged(
  stage('\\p{N}{1,3}'),
  stage('[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+'),
  stage(
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+' +
      `| ?[\\p{P}\\p{S}]+[\\r\\n]*|${spaces}`,
  ),
)
const tekken: PreTokenizer = { stages: [casedWords('\\p{N}', '')], wholeWords: true, addBos: true }
const gpt4o = merged(casedWords('\\p{N}{1,3}', `(?:${contractions})?`))

const byName = new Map<string, PreTokenizer>([
  ['gpt-2', gpt2],
  ['phi-2', gpt2],
  ['mpt', gpt2],
  ['olmo', gpt2],
  ['jais', gpt2],
  ['gigachat', gpt2],
  ['llama3', llama3],
  ['llama-v3', llama3],
  ['llama-bpe', llama3],
  ['qwen2', qwen2],
  ['deepseek-r1-qwen', qwen2],
  ['stablelm2', qwen2],
  ['starcoder', starcoder],
  ['refact', starcoder],
  ['command-r', starcoder],
  ['smollm', starcoder],
  ['codeshell', starcoder],
  ['exaone', starcoder],
  ['falcon', falcon],
  ['deepseek-llm', deepSeekLlm],
  ['deepseek-coder', deepSeekCoder],
  ['deepseek-v3', deepSeekV3],
  ['tekken', tekken],
  ['gpt-4o', gpt4o],
])

export const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = byName

/** Cuts the text into words; joined, they are the text again. */
export function cutWords(text: string, stages: readonly RegExp[]): string[] {
  let pieces = [text]
  for (const expression of stages) {
    const finer: string[] = []
    for (const piece of pieces) {
      let end = 0
      for (const match of piece.matchAll(expression)) {
        if (match.index > end) finer.push(piece.slice(end, match.index))
        finer.push(match[0])
        end = match.index + match[0].length
      }
      if (end < piece.length) finer.push(piece.slice(end))
    }
    pieces = finer
  }
  return pieces
}
