/** What the gateway must know of an OpenAI request before it can queue it. */
import { FlyballError } from '../../core/errors.ts'
import type { RequestFacts } from '../protocol.ts'
import { checkBody } from '../shared/check-body.ts'
import { ASSUMED_OUTPUT_TOKENS, inputTokens, messageTokens } from '../shared/estimate-tokens.ts'
import { given } from '../shared/json-value.ts'
import { chatSchema, completionSchema, embeddingSchema } from './request-schema.ts'

export function openAiFacts(operation: string, body: unknown): RequestFacts {
  switch (operation) {
    case 'chat': {
      const request = checkBody(chatSchema, body)
      return { operation, model: request.model, ...generation(request, messageTokens(request.messages), request.max_completion_tokens ?? request.max_tokens) }
    }
    case 'completions': {
      const request = checkBody(completionSchema, body)
      return { operation, model: request.model, ...generation(request, inputTokens(request.prompt), request.max_tokens) }
    }
    case 'embeddings': {
      const request = checkBody(embeddingSchema, body)
      return { operation, model: request.model, stream: false, work: Math.max(1, inputTokens(request.input)), maxOutputTokens: 0, encoding: request.encoding_format ?? 'float', ...given('user', request.user) }
    }
  }
  throw new FlyballError('not_found', { message: `There is no operation ${operation} in this protocol.` })
}

interface Generation {
  readonly stream?: boolean | null | undefined
  readonly stream_options?: { readonly include_usage?: boolean | null | undefined } | null | undefined
  readonly n?: number | null | undefined
  readonly user?: string | null | undefined
}

function generation(request: Generation, input: number, maxTokens: number | null | undefined): Omit<RequestFacts, 'operation' | 'model'> {
  const choices = request.n ?? 1
  return {
    stream: request.stream ?? false,
    work: input + choices * (maxTokens ?? ASSUMED_OUTPUT_TOKENS),
    ...given('maxOutputTokens', maxTokens == null ? undefined : choices * maxTokens),
    includeUsage: request.stream_options?.include_usage ?? false,
    ...given('user', request.user),
  }
}
