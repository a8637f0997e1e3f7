/** Finds special tokens that text names, such as `<|im_end|>`. */
import type { Vocabulary } from './vocabulary.ts'

/** A stretch of plain text, or a token. */
export type Fragment = string | number

/**
 * Longest token first, each wherever it occurs in what is still text: llama.cpp's order, which decides overlaps.
 * @param control whether control and unknown tokens count; user-defined ones always do
 */
export function splitSpecialTokens(text: string, special: Vocabulary['special'], control: boolean): Fragment[] {
  let fragments: Fragment[] = text === '' ? [] : [text]
  for (const candidate of special) {
    if ((candidate.control && !control) || !text.includes(candidate.text)) continue
    fragments = fragments.flatMap((fragment) => (typeof fragment === 'string' ? splitOne(fragment, candidate) : [fragment]))
  }
  return fragments
}

function splitOne(text: string, { token, text: name }: { readonly token: number; readonly text: string }): Fragment[] {
  const fragments: Fragment[] = []
  let end = 0
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, end)) {
    if (at > end) fragments.push(text.slice(end, at))
    fragments.push(token)
    end = at + name.length
  }
  if (end < text.length) fragments.push(text.slice(end))
  return fragments
}
