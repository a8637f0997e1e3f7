/** Token counts as OpenAI-compatible servers report them, and as we write them. */
import type { Usage } from '../../core/settlement.ts'
import { countOf, given, isObject, objectOf } from '../shared/json-value.ts'

/**
 * Reads what any provider behind this protocol sends: OpenAI and its Responses API, DeepSeek, Groq, Mistral, xAI, Cohere.
 * Undefined when there are no counts in it.
 */
export function readUsage(value: unknown): Usage | undefined {
  if (!isObject(value)) return undefined
  const counts = isObject(value['tokens']) ? value['tokens'] : value // Cohere nests them
  const input = countOf(counts['prompt_tokens']) ?? countOf(counts['input_tokens'])
  let output = countOf(counts['completion_tokens']) ?? countOf(counts['output_tokens'])
  if (input === undefined && output === undefined) return undefined
  const inputDetails = objectOf(counts['prompt_tokens_details'] ?? counts['input_tokens_details'])
  const outputDetails = objectOf(counts['completion_tokens_details'] ?? counts['output_tokens_details'])
  const cached = countOf(inputDetails['cached_tokens']) ?? countOf(counts['prompt_cache_hit_tokens'])
  const reasoning = countOf(outputDetails['reasoning_tokens'])
  const total = countOf(counts['total_tokens'])
  // xAI counts reasoning beside the completion, the others inside it; the total tells which.
  if (reasoning && total !== undefined && total === (input ?? 0) + (output ?? 0) + reasoning) output = (output ?? 0) + reasoning
  return { inputTokens: input ?? 0, outputTokens: output ?? 0, ...given('cachedInputTokens', cached), ...given('reasoningTokens', reasoning) }
}

/** The usage that an event or a document carries, wherever its provider puts it. */
export function usageOf(document: unknown): Usage | undefined {
  if (!isObject(document)) return undefined
  return readUsage(document['usage']) ?? readUsage(objectOf(document['response'])['usage']) ?? readUsage(objectOf(document['delta'])['usage'])
}

export function writeUsage(usage: Usage): object {
  return {
    prompt_tokens: usage.inputTokens,
    completion_tokens: usage.outputTokens,
    total_tokens: usage.inputTokens + usage.outputTokens,
    ...(usage.cachedInputTokens === undefined ? {} : { prompt_tokens_details: { cached_tokens: usage.cachedInputTokens } }),
    ...(usage.reasoningTokens === undefined ? {} : { completion_tokens_details: { reasoning_tokens: usage.reasoningTokens } }),
  }
}
