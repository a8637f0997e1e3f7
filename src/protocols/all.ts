/** The wire protocols that come with flyball, in order of preference for clients that do not say which they speak. */
import { anthropicProtocol } from './anthropic/anthropic-protocol.ts'
import { openAiProtocol } from './openai/openai-protocol.ts'
import type { Protocol } from './protocol.ts'

export const protocols: readonly Protocol[] = [openAiProtocol, anthropicProtocol]
