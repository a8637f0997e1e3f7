/** Token counts of the Messages API: what was read from and written to its cache is counted beside `input_tokens`. */
import type { Usage } from '../../core/settlement.ts'
import { countOf, given, isObject, objectOf, type JsonObject } from '../shared/json-value.ts'

export function readUsage(value: unknown): Usage | undefined {
  if (!isObject(value)) return undefined
  const input = countOf(value['input_tokens'])
  const output = countOf(value['output_tokens'])
  if (input === undefined && output === undefined) return undefined
  const read = countOf(value['cache_read_input_tokens'])
  const written = countOf(value['cache_creation_input_tokens'])
  return {
    inputTokens: (input ?? 0) + (read ?? 0) + (written ?? 0),
    outputTokens: output ?? 0,
    ...given('cachedInputTokens', read),
    ...given('cacheWriteTokens', written),
    ...given('reasoningTokens', countOf(objectOf(value['output_tokens_details'])['thinking_tokens'])),
  }
}

/** Counts come in two events: the later one is cumulative, but need not repeat everything. */
export class UsageFold {
  #counts: JsonObject = {}

  add(usage: unknown): Usage | undefined {
    if (!isObject(usage)) return undefined
    this.#counts = { ...this.#counts, ...Object.fromEntries(Object.entries(usage).filter(([, value]) => value !== null)) }
    return readUsage(this.#counts)
  }
}

export function writeUsage(usage: Usage): { input_tokens: number; output_tokens: number; cache_read_input_tokens: number; cache_creation_input_tokens: number } {
  const read = usage.cachedInputTokens ?? 0
  const written = usage.cacheWriteTokens ?? 0
  return { input_tokens: Math.max(0, usage.inputTokens - read - written), cache_creation_input_tokens: written, cache_read_input_tokens: read, output_tokens: usage.outputTokens }
}
