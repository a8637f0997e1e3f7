/** What must be right in a request for us to serve it. Fields that are not named here pass: upstream may know them. */
import { z } from 'zod'

const optional = <T extends z.ZodType>(type: T) => type.nullish()
const tokenLimit = optional(z.number().int().min(1))
const model = z.string().min(1).max(512)
const stop = optional(z.union([z.string(), z.array(z.string())]))
const stream = { stream: optional(z.boolean()), stream_options: optional(z.looseObject({ include_usage: optional(z.boolean()) })) }
const sampling = {
  temperature: optional(z.number()),
  top_p: optional(z.number()),
  n: optional(z.number().int().min(1).max(128)),
  seed: optional(z.number().int()),
  presence_penalty: optional(z.number()),
  frequency_penalty: optional(z.number()),
  stop,
  max_tokens: tokenLimit,
  user: optional(z.string()),
}
const textOrTokens = z.union([z.string(), z.array(z.union([z.string(), z.number().int(), z.array(z.number().int())])).min(1)])

const message = z.looseObject({
  role: z.string(),
  content: optional(z.union([z.string(), z.array(z.looseObject({ type: z.string() }))])),
  tool_calls: optional(z.array(z.looseObject({ function: z.looseObject({ name: z.string(), arguments: z.string() }).optional() }))),
})

export const chatSchema = z.looseObject({
  model,
  messages: z.array(message).min(1),
  ...stream,
  ...sampling,
  max_completion_tokens: tokenLimit,
  tools: optional(z.array(z.looseObject({ type: z.string() }))),
})

export const completionSchema = z.looseObject({ model, prompt: textOrTokens, ...stream, ...sampling, echo: optional(z.boolean()), suffix: optional(z.string()) })

export const embeddingSchema = z.looseObject({ model, input: textOrTokens, dimensions: optional(z.number().int().min(1)), encoding_format: optional(z.enum(['float', 'base64'])), user: optional(z.string()) })

