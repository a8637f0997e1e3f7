/** Everything that OpenAI bodies say, as deltas. */
import type { Delta, TokenLogprob } from '../../core/reply.ts'
import type { DeltaReader } from '../protocol.ts'
import { arrayOf, given, isObject, numberOf, objectOf, stringOf, type JsonObject } from '../shared/json-value.ts'
import { streamDeltaReader, unaryDeltaReader } from '../shared/stream-delta-reader.ts'
import { readError } from './errors.ts'
import { readFinishReason } from './finish-reason.ts'
import { readLogprobs } from './logprobs.ts'
import { usageOf } from './usage.ts'

export function openAiDeltaReader(operation: string, stream: boolean): DeltaReader {
  if (operation === 'embeddings') return unaryDeltaReader(embeddings)
  const reader = choiceReader()
  if (!stream) return unaryDeltaReader((document) => [...reader.head(document), ...reader.document(document, 'message')])
  let started = false
  return streamDeltaReader({
    complete: reader.finished,
    event(document) {
      const head = started ? [] : reader.head(document)
      started = true
      return [...head, ...reader.document(document, 'delta')]
    },
  })
}

interface OpenCall {
  readonly id: string | undefined
  readonly call: number
}

/** Choices of a chat or a completion; `message` (unary) and `delta` (stream) carry the same fields. */
function choiceReader() {
  /** Per choice, by upstream's index: not all count from 0, some count all calls as 0. */
  const open = new Map<number, Map<number, OpenCall>>() // as many as choices and tool calls of one reply
  const calls = new Map<number, number>() // as many as choices of one reply
  let finished = false

  function toolCall(index: number, position: number, value: unknown, deltas: Delta[]): void {
    const entry = objectOf(value)
    const fn = objectOf(entry['function'])
    const at = numberOf(entry['index']) ?? position
    const id = stringOf(entry['id']) || undefined
    let byIndex = open.get(index)
    if (!byIndex) open.set(index, (byIndex = new Map()))
    let current = byIndex.get(at)
    if (!current || (id !== undefined && current.id !== undefined && id !== current.id)) {
      const call = calls.get(index) ?? 0
      calls.set(index, call + 1)
      current = { id, call }
      byIndex.set(at, current)
      deltas.push({ type: 'tool-start', index, call, id: id ?? `call_${index}_${call}`, name: stringOf(fn['name']) ?? '' })
    }
    const written = fn['arguments']
    const json = isObject(written) ? JSON.stringify(written) : stringOf(written) // TGI's are no text
    if (json) deltas.push({ type: 'tool-input', index, call: current.call, json })
  }

  function content(index: number, value: unknown, logprobs: readonly TokenLogprob[] | undefined, deltas: Delta[]): void {
    if (typeof value === 'string') {
      if (value !== '' || logprobs) deltas.push({ type: 'text', index, text: value, ...given('logprobs', logprobs) })
      return
    }
    // Mistral: parts, thinking among them.
    for (const part of arrayOf(value)) {
      const { type, text, thinking } = objectOf(part)
      if (type === 'thinking') {
        const thought = arrayOf(thinking).map((piece) => stringOf(objectOf(piece)['text']) ?? '').join('')
        if (thought !== '') deltas.push({ type: 'reasoning', index, text: thought })
      } else if (typeof text === 'string' && text !== '') deltas.push({ type: 'text', index, text })
    }
  }

  function choice(value: unknown, position: number, field: 'message' | 'delta', deltas: Delta[]): void {
    if (!isObject(value)) return
    const index = numberOf(value['index']) ?? position
    const body = objectOf(value[field])
    const logprobs = readLogprobs(value['logprobs'])
    const reasoning = stringOf(body['reasoning_content']) ?? stringOf(body['reasoning'])
    if (reasoning) deltas.push({ type: 'reasoning', index, text: reasoning })
    content(index, body['content'] ?? value['text'], logprobs, deltas)
    const refusal = stringOf(body['refusal'])
    if (refusal) deltas.push({ type: 'refusal', index, text: refusal })
    arrayOf(body['tool_calls']).forEach((entry, at) => toolCall(index, at, entry, deltas))
    const reason = stringOf(value['finish_reason'])
    if (reason === undefined) return
    finished = true
    const stop = stringOf(value['stop_reason']) // vLLM names the stop sequence
    deltas.push({ type: 'finish', index, reason: readFinishReason(reason, calls.has(index)), ...given('stopSequence', stop) })
  }

  return {
    finished: () => finished,
    head: (document: JsonObject): readonly Delta[] => [{ type: 'start', ...given('id', stringOf(document['id'])), ...given('model', stringOf(document['model'])) }],
    document(document: JsonObject, field: 'message' | 'delta'): readonly Delta[] {
      const deltas: Delta[] = []
      arrayOf(document['choices']).forEach((value, at) => choice(value, at, field, deltas))
      const usage = usageOf(document)
      if (usage) deltas.push({ type: 'usage', usage })
      const error = readError(document)
      if (error) deltas.push(error)
      return deltas
    },
  }
}

function embeddings(document: JsonObject): readonly Delta[] {
  const error = readError(document)
  if (error) return [error]
  const deltas: Delta[] = [{ type: 'start', ...given('model', stringOf(document['model'])) }]
  arrayOf(document['data']).forEach((value, at) => {
    const { index, embedding } = objectOf(value)
    deltas.push({ type: 'embedding', index: numberOf(index) ?? at, vector: typeof embedding === 'string' ? decodeVector(embedding) : (arrayOf(embedding) as readonly number[]) })
  })
  const usage = usageOf(document)
  if (usage) deltas.push({ type: 'usage', usage: { ...usage, outputTokens: 0 } })
  return deltas
}

/** Base64 of little-endian 32-bit floats. */
function decodeVector(base64: string): Float32Array {
  const bytes = Buffer.from(base64, 'base64')
  const vector = new Float32Array(bytes.length >> 2)
  for (let i = 0; i < vector.length; i++) vector[i] = bytes.readFloatLE(i * 4)
  return vector
}
