/** Facts of OpenAI bodies, read beside the path. */
import type { Delta } from '../../core/reply.ts'
import type { SideReader } from '../protocol.ts'
import { arrayOf, numberOf, objectOf } from '../shared/json-value.ts'
import { streamSideReader, type StreamPatterns } from '../shared/stream-side-reader.ts'
import { lastObjectUnder, parseByteText, unarySideReader } from '../shared/unary-side-reader.ts'
import { readError } from './errors.ts'
import { readFinishReason } from './finish-reason.ts'
import { readUsage, usageOf } from './usage.ts'

const STREAM: StreamPatterns = {
  content: /"(?:content|text|reasoning_content|reasoning|arguments|refusal)": ?"(?!")/g,
  hot: /"(?:finish_reason|error)": ?["{]|"usage": ?\{|"object": ?"error"|"tool_calls": ?\[\{/,
}

export function openAiSideReader(operation: string, stream: boolean): SideReader {
  return stream ? streamReader() : unarySideReader({ read: (text) => unaryFacts(operation, text) })
}

function streamReader(): SideReader {
  let finished = false
  const callers = new Set<number>() // as many as choices of one reply
  return streamSideReader(STREAM, {
    complete: () => finished,
    read(document) {
      const deltas: Delta[] = []
      for (const choice of arrayOf(objectOf(document)['choices'])) {
        const { finish_reason: reason, index: at, delta } = objectOf(choice)
        const index = numberOf(at) ?? 0
        if (arrayOf(objectOf(delta)['tool_calls']).length > 0) callers.add(index)
        if (typeof reason !== 'string') continue
        finished = true
        deltas.push({ type: 'finish', index, reason: readFinishReason(reason, callers.has(index)) })
      }
      const usage = usageOf(document)
      if (usage) deltas.push({ type: 'usage', usage })
      const error = readError(document)
      if (error) deltas.push(error)
      return deltas
    },
  })
}

const TOOL_CALLS = /"tool_calls"\s*:\s*\[\s*\{/
const FINISH = /"finish_reason"\s*:\s*"([^"\\]*)"/g

function unaryFacts(operation: string, text: string): readonly Delta[] {
  // An answer has one of these early on; what has neither may be an error that calls itself a success.
  if (!text.includes('"choices"') && !text.includes('"data"')) {
    const error = readError(parseByteText(text))
    if (error) return [error]
  }
  const deltas: Delta[] = []
  if (operation !== 'embeddings') {
    let index = 0
    const calledTools = TOOL_CALLS.test(text)
    for (const match of text.matchAll(FINISH)) deltas.push({ type: 'finish', index: index++, reason: readFinishReason(match[1] as string, calledTools) })
  }
  const usage = readUsage(lastObjectUnder(text, 'usage'))
  if (usage) deltas.push({ type: 'usage', usage })
  return deltas
}
