/** The hub's request: what any chat, completion or embedding request says, whatever its protocol. */

export type Part =
  | { type: 'text'; text: string; cacheControl?: CacheControl }
  /** `url` may be a data URL; `base64` images carry their media type. */
  | { type: 'image'; url?: string; base64?: string; mediaType?: string; detail?: string; cacheControl?: CacheControl }
  | { type: 'tool-call'; id: string; name: string; input: string; cacheControl?: CacheControl }
  | { type: 'tool-result'; id: string; content: readonly Part[]; isError?: boolean; cacheControl?: CacheControl }
  | { type: 'reasoning'; text: string; signature?: string; redacted?: string }
  | { type: 'refusal'; text: string }

export interface CacheControl {
  readonly ttl?: string
}

export interface Message {
  readonly role: 'system' | 'user' | 'assistant' | 'tool'
  readonly content: readonly Part[]
  readonly name?: string
  /** Where it stands in the client's request, for `param` of errors; where this protocol splits or adds messages. */
  readonly at?: string
}

export interface Tool {
  readonly name: string
  readonly description?: string
  /** JSON Schema. */
  readonly parameters: unknown
  readonly strict?: boolean
}

export type ToolChoice = 'auto' | 'none' | 'required' | { readonly name: string }

export interface Sampling {
  readonly maxTokens?: number
  readonly temperature?: number
  readonly topP?: number
  readonly topK?: number
  readonly minP?: number
  readonly repetitionPenalty?: number
  readonly frequencyPenalty?: number
  readonly presencePenalty?: number
  readonly seed?: number
  readonly stop?: readonly string[]
  /** Choices. */
  readonly n?: number
  /** Number of alternatives per token; 0: only the chosen one's. Undefined: none. */
  readonly topLogprobs?: number
  readonly logitBias?: Readonly<Record<string, number>>
}

interface Common {
  readonly model: string
  readonly stream: boolean
  readonly user?: string
}

export interface ChatRequest extends Common {
  readonly kind: 'chat'
  readonly messages: readonly Message[]
  readonly tools?: readonly Tool[]
  readonly toolChoice?: ToolChoice
  readonly parallelToolCalls?: boolean
  readonly sampling: Sampling
  /** `json`: any object; `schema`: this JSON Schema. */
  readonly responseFormat?: { readonly type: 'json' } | { readonly type: 'schema'; readonly name: string; readonly schema: unknown; readonly strict?: boolean }
  /** Only the number of input tokens is wanted, no answer. */
  readonly countTokens?: boolean
  /** How hard to think: `none`, `minimal`, `low`, `medium`, `high`, … as providers name it. */
  readonly reasoningEffort?: string
  /** The caller asked for usage in its stream. */
  readonly includeUsage: boolean
}

export interface CompletionRequest extends Common {
  readonly kind: 'completion'
  /** Texts, or token ids. */
  readonly prompts: readonly (string | readonly number[])[]
  readonly echo?: boolean
  readonly suffix?: string
  readonly sampling: Sampling
  readonly includeUsage: boolean
}

export interface EmbeddingRequest extends Common {
  readonly kind: 'embedding'
  readonly inputs: readonly (string | readonly number[])[]
  readonly dimensions?: number
  readonly encoding: 'float' | 'base64'
}

export type CanonicalRequest = ChatRequest | CompletionRequest | EmbeddingRequest

/** The same request without prompt-cache marks. */
export function withoutCacheControl(request: CanonicalRequest): CanonicalRequest {
  if (request.kind !== 'chat') return request
  return { ...request, messages: request.messages.map((message) => ({ ...message, content: message.content.map(unmarked) })) }
}

function unmarked(part: Part): Part {
  const { cacheControl: _, ...rest } = part as Part & { cacheControl?: CacheControl }
  return rest.type === 'tool-result' ? { ...rest, content: rest.content.map(unmarked) } : rest
}
