/** Log probabilities: a list of objects in chats, parallel arrays in completions. */
import type { TokenLogprob } from '../../core/reply.ts'
import { arrayOf, isObject, numberOf, objectOf, stringOf } from '../shared/json-value.ts'

export function readLogprobs(value: unknown): readonly TokenLogprob[] | undefined {
  if (!isObject(value)) return undefined
  if (Array.isArray(value['content'])) {
    const list = value['content'].map((entry) => {
      const { token, logprob, top_logprobs: top } = objectOf(entry)
      return { token: stringOf(token) ?? '', logprob: numberOf(logprob) ?? 0, top: arrayOf(top).map((other) => ({ token: stringOf(objectOf(other)['token']) ?? '', logprob: numberOf(objectOf(other)['logprob']) ?? 0 })) }
    })
    return list.length === 0 ? undefined : list
  }
  if (!Array.isArray(value['tokens'])) return undefined
  const logprobs = arrayOf(value['token_logprobs'])
  const tops = arrayOf(value['top_logprobs'])
  return value['tokens'].map((token, i) => ({ token: stringOf(token) ?? '', logprob: numberOf(logprobs[i]) ?? 0, top: Object.entries(objectOf(tops[i])).map(([name, logprob]) => ({ token: name, logprob: numberOf(logprob) ?? 0 })) }))
}

const bytesOf = (token: string): number[] => [...Buffer.from(token, 'utf8')]

export function writeChatLogprobs(logprobs: readonly TokenLogprob[]): object {
  return {
    content: logprobs.map(({ token, logprob, top }) => ({ token, logprob, bytes: bytesOf(token), top_logprobs: (top ?? []).map((other) => ({ ...other, bytes: bytesOf(other.token) })) })),
    refusal: null,
  }
}

/** `offset`: characters of the choice's text before these tokens. */
export function writeCompletionLogprobs(logprobs: readonly TokenLogprob[], offset: number): object {
  const offsets: number[] = []
  let at = offset
  for (const { token } of logprobs) {
    offsets.push(at)
    at += token.length
  }
  return {
    tokens: logprobs.map(({ token }) => token),
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    top_logprobs: logprobs.map(({ top }) => Object.fromEntries((top ?? []).map(({ token, logprob }) => [token, logprob]))),
    text_offset: offsets,
  }
}
