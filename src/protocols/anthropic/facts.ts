/** What the gateway must know of an Anthropic request before it can queue it. */
import { FlyballError } from '../../core/errors.ts'
import type { RequestFacts } from '../protocol.ts'
import { checkBody } from '../shared/check-body.ts'
import { contentTokens, messageTokens } from '../shared/estimate-tokens.ts'
import { given } from '../shared/json-value.ts'
import { countTokensSchema, messagesSchema } from './request-schema.ts'

export function anthropicFacts(operation: string, body: unknown): RequestFacts {
  switch (operation) {
    case 'messages': {
      const request = checkBody(messagesSchema, body)
      const input = messageTokens(request.messages) + contentTokens(request.system)
      return { operation, model: request.model, stream: request.stream ?? false, work: input + request.max_tokens, maxOutputTokens: request.max_tokens, includeUsage: true, ...given('user', request.metadata?.user_id) }
    }
    case 'count_tokens': {
      const request = checkBody(countTokensSchema, body)
      return { operation, model: request.model, stream: false, work: Math.max(1, messageTokens(request.messages) + contentTokens(request.system)), maxOutputTokens: 0, includeUsage: true }
    }
  }
  throw new FlyballError('not_found', { message: `There is no operation ${operation} in this protocol.` })
}
