/** A translated body in the words of one flavor. */
import type { FlavorFacts } from './flavors.ts'

type Body = Record<string, unknown>

/** Bodies of chats only: they have `messages`. */
export function adaptBody(facts: FlavorFacts, body: unknown): unknown {
  const { stream_options: streamOptions, max_tokens: maxTokens, ...rest } = body as Body
  const adapted: Body = rest
  // Where usage comes unasked, asking may be refused as an unknown field.
  if (streamOptions !== undefined && facts.streamUsage === 'asked') adapted['stream_options'] = streamOptions
  if (maxTokens !== undefined) adapted['messages' in rest ? facts.outputLimit : 'max_tokens'] = maxTokens
  return adapted
}
